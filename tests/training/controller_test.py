"""Steps at which a run saves, evaluates and ends, with a trainer that only counts."""

import pathlib

import orbit
import pytest
import tensorflow as tf

from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.training import (
  averaged_weights,
  checkpointing,
  controller,
  early_stopping,
  nonfinite,
  stopping,
)


class Worker(orbit.AbstractTrainer, orbit.AbstractEvaluator):
  """Counts steps; its figures are given beforehand, by step."""

  def __init__(self, step: tf.Variable, figures: dict[int, float]):
    self.step, self.figures = step, figures
    self.trained_to: list[int] = []
    self.evaluated: list[int] = []
    self.stop_at = self.stop_evaluation_at = self.bad_step = None
    self.guard = nonfinite.Guard(step, 1e6)
    self.stop = stopping.StopRequest()

  def train(self, num_steps):
    for _ in range(int(num_steps)):
      if int(self.step) == self.stop_at:
        raise stopping.StoppedError("SIGTERM")
      if int(self.step) == self.bad_step:
        raise nonfinite.NonFiniteError(self.bad_step)
      self.step.assign_add(1)
    self.trained_to.append(int(self.step))
    return {"training_loss": tf.constant(1.0)}

  def evaluate(self, num_steps):
    del num_steps
    step = int(self.step)
    if step == self.stop_evaluation_at:
      raise stopping.StoppedError("SIGTERM")
    self.evaluated.append(step)
    return {"figure": tf.constant(self.figures.get(step, 0.0))}


class Run:
  """One process of a run: 20 steps, checkpoints every 4, loops of 3, evaluations every 5."""

  def __init__(self, folder: pathlib.Path, figures=None, patience: int = 0, recover=None):
    self.folder = folder
    self.step = tf.Variable(0, dtype=tf.int64)
    self.worker = Worker(self.step, figures or {})
    self.early_stopping = early_stopping.EarlyStopping(patience, "higher")
    checkpoint = averaged_weights.Checkpoint(
      None, global_step=self.step, early_stopping=self.early_stopping
    )
    restore_from = run_checkpoints.newest_usable(str(folder))
    manager = checkpointing.RunCheckpoints(
      checkpoint, str(folder), restore_from, self.step, 4, 100, lambda: None
    )
    self.controller = controller.ResumableController(
      trainer=self.worker,
      evaluator=self.worker,
      global_step=self.step,
      steps_per_loop=3,
      checkpoint_manager=manager,
      summary_dir=str(folder / "summaries"),
      report=lambda figures, at: f"figure {figures['figure']:.0f} at {at}",
      metric="figure",
      early_stopping=self.early_stopping,
      recover=recover,
    )

  def go(self, steps: int = 20):
    return self.controller.train_and_evaluate(steps, eval_interval=5)

  def saved(self) -> list[int]:
    return sorted(run_checkpoints.numbered(str(self.folder)))


def test_straight_run(tmp_path):
  run = Run(tmp_path)
  run.go(18)
  assert run.worker.evaluated == [5, 10, 15, 18]
  assert run.saved() == [4, 8, 12, 16, 18]
  # Ends of loops, of checkpoint intervals and of evaluation intervals.
  assert run.worker.trained_to == [3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 18]


@pytest.mark.parametrize("mode", ["train", "train_and_evaluate"])
def test_asked_to_end_while_training(tmp_path, mode):
  run = Run(tmp_path)
  run.worker.stop_at = 7
  with pytest.raises(stopping.StoppedError):
    run.go() if mode == "train_and_evaluate" else run.controller.train(20)
  assert run.saved() == [4, 7]


def test_grid_after_an_interruption_is_that_of_a_straight_run(tmp_path):
  run = Run(tmp_path)
  run.worker.stop_at = 7
  with pytest.raises(stopping.StoppedError):
    run.go()
  run = Run(tmp_path)
  run.go(18)
  assert run.worker.evaluated == [10, 15, 18]
  assert run.saved() == [4, 7, 8, 12, 16, 18]


def test_asked_to_end_while_evaluating(tmp_path):
  run = Run(tmp_path)
  run.worker.stop_evaluation_at = 10
  with pytest.raises(stopping.StoppedError):
    run.go()
  assert run.saved() == [4, 8, 10]
  run = Run(tmp_path)
  run.go(18)
  # What was cut short comes first.
  assert run.worker.evaluated == [10, 15, 18]


def test_an_evaluation_that_is_in_the_checkpoint_is_not_repeated(tmp_path):
  run = Run(tmp_path)
  run.worker.stop_at = 10
  with pytest.raises(stopping.StoppedError):
    run.go()
  assert (run.worker.evaluated, run.saved()) == ([5, 10], [4, 8, 10])
  run = Run(tmp_path)
  run.go(12)
  assert run.worker.evaluated == [12]


def test_a_finished_run_is_evaluated_again(tmp_path, capsys):
  Run(tmp_path).go(8)
  run = Run(tmp_path)
  assert run.go(8)["figure"] == 0.0
  assert (run.worker.evaluated, run.worker.trained_to) == ([8], [])
  assert "figure 0 at 8" in capsys.readouterr().out


def test_ends_early_and_stays_so(tmp_path, capsys):
  figures = {5: 0.3, 10: 0.3, 15: 0.2}
  run = Run(tmp_path, figures, patience=2)
  run.go(40)
  assert run.worker.evaluated == [5, 10, 15]
  line = (
    "the run ends early, at step 15; early stopping: 2 of 2 evaluations without improvement "
    "since step 5"
  )
  assert line in capsys.readouterr().out.splitlines()
  assert run.saved()[-1] == 15
  run = Run(tmp_path, figures, patience=2)
  assert run.go(40) is None
  assert (run.worker.evaluated, run.worker.trained_to) == ([], [])
  assert capsys.readouterr().out.splitlines()[-1] == line


def test_a_bad_step_that_nobody_takes_care_of(tmp_path):
  run = Run(tmp_path)
  run.worker.bad_step = 7
  with pytest.raises(nonfinite.NonFiniteError):
    run.go()
  assert run.saved() == [4]


def test_recovery_goes_back_and_evaluates_again(tmp_path):
  def recover(error, manager):
    assert error.step == 11
    assert manager.restore_or_initialize() == str(tmp_path / "ckpt-8")
    run.worker.bad_step = None

  run = Run(tmp_path, recover=recover)
  run.worker.bad_step = 11
  run.go(15)
  assert run.worker.evaluated == [5, 10, 10, 15]
  assert run.saved() == [4, 8, 12, 15]


def test_no_checkpoint_of_a_step_that_was_not_applied(tmp_path):
  run = Run(tmp_path)
  run.worker.guard._first_bad_step.assign(6)
  run.worker.stop_at = 7
  with pytest.raises(stopping.StoppedError):
    run.go()
  assert run.saved() == [4]


class TestContinuousEvaluation:
  """Of checkpoints of the steps 4 and 8, and of those that come while they are evaluated."""

  @pytest.fixture(name="run")
  def _run(self, tmp_path, monkeypatch):
    monkeypatch.setattr(controller, "_SECONDS_BETWEEN_LOOKS", 0.0)
    Run(tmp_path).controller.train(8)
    return Run(tmp_path)

  def test_a_damaged_newest_one_is_reported_and_the_older_one_evaluated(self, run, capsys):
    (run.folder / "ckpt-8.data-00000-of-00001").unlink()
    run.controller.evaluate_continuously(timeout=0.0)
    assert run.worker.evaluated == [4]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"warning: checkpoint {run.folder}/ckpt-8 is left out, as it cannot")

  def test_the_state_file_decides_nothing(self, run):
    (run.folder / "checkpoint").unlink()
    run.controller.evaluate_continuously(timeout=0.0)
    assert run.worker.evaluated == [8]

  def test_each_that_comes_is_evaluated(self, run):
    asked = []

    def is_over():
      asked.append(int(run.step))
      if len(asked) == 1:
        Run(run.folder).go(12)
      return len(asked) == 3

    run.controller.evaluate_continuously(timeout=0.0, timeout_fn=is_over)
    assert run.worker.evaluated == [8, 12]
    assert asked == [8, 12, 12]

  def test_a_request_to_end_is_heard_while_it_waits(self, tmp_path):
    run = Run(tmp_path)
    run.worker.stop.reason = "SIGTERM"
    with pytest.raises(stopping.StoppedError):
      run.controller.evaluate_continuously()
