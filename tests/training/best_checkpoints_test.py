"""The best checkpoints of a run of one variable, evaluated by hand."""

import json
import math
import pathlib

import pytest
import tensorflow as tf

from mtl_ssl_tf.training import averaged_weights, best_checkpoints, stopping


class Run:
  """A weight that is the step, and the two best of its checkpoints."""

  def __init__(self, folder: pathlib.Path, comparison: str = "higher", num_kept: int = 2):
    self.folder = folder
    self.weight = tf.Variable(0.0)
    self.best = best_checkpoints.BestCheckpoints(str(folder), "mAP", comparison, num_kept)

  def evaluate(self, step: int, figure: float, **others: float) -> bool:
    self.weight.assign(step)
    checkpoint = averaged_weights.Checkpoint(None, weight=self.weight)
    return self.best.maybe_export_checkpoint(checkpoint, {"mAP": figure, **others}, step)

  def steps(self) -> list[int]:
    return [kept.step for kept in self.best.kept]

  def saved_weights(self) -> dict[str, float]:
    found = {}
    for path in sorted(self.folder.glob("*.index")):
      key = "weight/.ATTRIBUTES/VARIABLE_VALUE"
      found[path.stem] = float(tf.train.load_variable(str(path.with_suffix("")), key))
    return found


def test_the_two_best_are_kept_and_the_best_is_the_latest(tmp_path):
  run = Run(tmp_path)
  assert [run.evaluate(*one) for one in ((1, 0.3), (2, 0.5), (3, 0.4), (4, 0.1))] == [
    True,
    True,
    True,
    False,
  ]
  assert run.steps() == [2, 3]
  assert run.saved_weights() == {"best_ckpt-2": 2.0, "best_ckpt-3": 3.0}
  assert sorted(path.name for path in tmp_path.glob("*.data-*")) == [
    "best_ckpt-2.data-00000-of-00001",
    "best_ckpt-3.data-00000-of-00001",
  ]
  assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "best_ckpt-2")
  assert run.best.best_ckpt_logs == {"mAP": 0.5}


def test_lower_is_better(tmp_path):
  run = Run(tmp_path, "lower")
  for step, figure in ((1, 0.3), (2, 0.5), (3, 0.4)):
    run.evaluate(step, figure)
  assert run.steps() == [1, 3]


def test_of_equals_the_earlier_is_better(tmp_path):
  run = Run(tmp_path)
  for step in (1, 2, 3):
    run.evaluate(step, 0.5)
  assert run.steps() == [1, 2]


def test_info_names_the_best_and_all_that_are_kept(tmp_path):
  run = Run(tmp_path)
  run.evaluate(1, 0.5, other=math.nan)
  run.evaluate(2, 0.25, other=1.0)
  assert json.loads((tmp_path / "info.json").read_text()) == {
    "mAP": 0.5,
    "other": None,
    "best_ckpt_global_step": 1,
    "kept": [
      {"checkpoint": "best_ckpt-1", "step": 1, "figure": 0.5},
      {"checkpoint": "best_ckpt-2", "step": 2, "figure": 0.25},
    ],
  }


def test_no_number_is_never_the_best(tmp_path):
  run = Run(tmp_path)
  assert not run.evaluate(1, math.nan)
  assert math.isnan(run.best.best_ckpt_logs["mAP"])
  assert run.evaluate(2, 0.0)
  assert not run.evaluate(3, math.nan)
  assert run.steps() == [2]


def test_an_evaluation_that_is_repeated_changes_nothing(tmp_path):
  run = Run(tmp_path)
  run.evaluate(1, 0.5)
  run.evaluate(2, 0.25)
  before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("best_ckpt*")}
  again = Run(tmp_path)
  assert again.evaluate(2, 0.25)
  assert again.steps() == [1, 2]
  assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("best_ckpt*")} == before


def test_another_course_of_the_same_step_replaces_it(tmp_path):
  run = Run(tmp_path)
  run.evaluate(1, 0.5)
  run.evaluate(2, 0.25)
  again = Run(tmp_path)
  again.weight.assign(20.0)
  checkpoint = averaged_weights.Checkpoint(None, weight=again.weight)
  assert again.best.maybe_export_checkpoint(checkpoint, {"mAP": 0.75}, 2)
  assert [(kept.step, kept.figure) for kept in again.best.kept] == [(2, 0.75), (1, 0.5)]
  assert again.saved_weights() == {"best_ckpt-1": 1.0, "best_ckpt-2": 20.0}


def test_killed_before_info_was_written(tmp_path, monkeypatch):
  run = Run(tmp_path)
  run.evaluate(1, 0.25)
  monkeypatch.setattr(run.best, "_write", lambda: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    run.evaluate(2, 0.5)
  again = Run(tmp_path)
  assert again.steps() == [1]
  again.weight.assign(20.0)
  checkpoint = averaged_weights.Checkpoint(None, weight=again.weight)
  again.best.maybe_export_checkpoint(checkpoint, {"mAP": 0.5}, 2)
  assert again.steps() == [2, 1]
  # Not the file of the killed process, whose course may have been another one.
  assert again.saved_weights()["best_ckpt-2"] == 20.0


def test_a_checkpoint_that_is_gone_is_forgotten(tmp_path):
  run = Run(tmp_path)
  run.evaluate(1, 0.5)
  run.evaluate(2, 0.25)
  (tmp_path / "best_ckpt-1.index").unlink()
  assert Run(tmp_path).steps() == [2]


def test_folder_of_an_earlier_version(tmp_path):
  checkpoint = tf.train.Checkpoint(weight=tf.Variable(40.0))
  tf.train.CheckpointManager(checkpoint, tmp_path, 1, checkpoint_name="best_ckpt").save()
  (tmp_path / "info.json").write_text(json.dumps({"mAP": 0.4, "best_ckpt_global_step": 40.0}))
  run = Run(tmp_path)
  assert [(kept.checkpoint, kept.step) for kept in run.best.kept] == [("best_ckpt-1", 40)]
  run.evaluate(50, 0.3)
  run.evaluate(60, 0.5)
  assert run.steps() == [60, 40]
  assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "best_ckpt-60")


@pytest.mark.parametrize(
  "text",
  [
    "{",
    "[]",
    "[" * 10_000,
    '{"mAP": 0.5}',
    '{"best_ckpt_global_step": 1}',
    '{"mAP": "high", "best_ckpt_global_step": 1}',
    '{"mAP": 0.5, "best_ckpt_global_step": 1e300, "kept": {}}',
    '{"mAP": 0.5, "best_ckpt_global_step": 1, "kept": [7]}',
    '{"mAP": 0.5, "best_ckpt_global_step": 1, "kept": [{"checkpoint": "best_ckpt-1"}]}',
  ],
)
def test_info_that_cannot_be_used(tmp_path, text, capsys):
  (tmp_path / "info.json").write_text(text)
  run = Run(tmp_path)
  assert run.steps() == []
  assert capsys.readouterr().err.startswith(f"warning: {tmp_path}/info.json ")
  assert run.evaluate(1, 0.5)


def test_weights_that_are_not_finite_take_no_place(tmp_path):
  run = Run(tmp_path)
  run.evaluate(1, 0.5)
  before = {path: path.read_bytes() for path in tmp_path.iterdir()}
  model = tf.Module()
  model.weight = tf.Variable(math.nan)
  checkpoint = averaged_weights.Checkpoint(None, model=model)
  with pytest.raises(stopping.RunError) as error:
    run.best.maybe_export_checkpoint(checkpoint, {"mAP": 0.75}, 2)
  assert str(error.value).startswith(
    f"checkpoint {tmp_path}/best_ckpt-2 is not saved, as 1 of 1 variables hold numbers that are "
    f"not finite, such as model/weight; the best one so far is {tmp_path}/best_ckpt-1. To change: "
  )
  assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["../mine/ckpt-1", "{folder}/mine/ckpt-1", "ckpt-*", "*", ""])
def test_no_files_elsewhere_are_dropped(tmp_path, name, capsys):
  mine = tmp_path / "mine"
  mine.mkdir()
  for file in ("ckpt-1.index", "ckpt-1.data-00000-of-00001"):
    (mine / file).write_text("mine")
  run = Run(tmp_path / "best")
  run.evaluate(1, 0.5)
  kept = [{"checkpoint": name.replace("{folder}", str(tmp_path)), "step": 9, "figure": 0.9}]
  info = {"mAP": 0.9, "best_ckpt_global_step": 9, "kept": kept}
  (tmp_path / "best/info.json").write_text(json.dumps(info))
  run = Run(tmp_path / "best", num_kept=1)
  assert capsys.readouterr().err.startswith(f"warning: {tmp_path}/best/info.json cannot be used (")
  run.evaluate(2, 1.0)
  assert sorted(path.read_text() for path in mine.iterdir()) == ["mine", "mine"]
  assert run.steps() == [2]


def test_a_state_file_names_nothing_else(tmp_path):
  (tmp_path / "mine.index").write_text("mine")
  (tmp_path / "checkpoint").write_text('model_checkpoint_path: "mine"\n')
  (tmp_path / "info.json").write_text(json.dumps({"mAP": 0.4, "best_ckpt_global_step": 40}))
  run = Run(tmp_path, num_kept=1)
  run.evaluate(50, 0.5)
  assert (tmp_path / "mine.index").read_text() == "mine"
