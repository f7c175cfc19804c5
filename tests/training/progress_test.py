"""The lines of a run, by a clock that the test sets."""

import orbit
import pytest
import tensorflow as tf

from mtl_ssl_tf.training import progress

OUTPUT = {
  "rpn_box": 0.25,
  "roi_class": 1.5,
  "dropped_boxes": 0.0,
  "training_loss": 1.75,
  "learning_rate": 0.0123,
}


class Run:
  """A progress line, its step and its clock."""

  def __init__(self, step: int = 0, train_steps: int = 100, images_per_step: int = 2):
    self.step = tf.Variable(step, dtype=tf.int64)
    self.seconds = 0.0
    self.lines: list[str] = []
    self.line = progress.ProgressLine(
      self.step,
      train_steps,
      images_per_step,
      counters=("dropped_boxes",),
      count_warning=lambda values: "too many" if values.get("dropped_boxes") else None,
      write=self.lines.append,
      clock=lambda: self.seconds,
    )

  def work(self, steps: int, seconds: float, **output) -> None:
    self.step.assign_add(steps)
    self.seconds += seconds
    self.line({**OUTPUT, **output})


def test_line():
  run = Run()
  run.work(steps=10, seconds=5.0)
  # 10 steps of 2 images in 5 s, and 90 steps to go.
  assert run.lines == [
    "step 10/100 | loss 1.750 (rpn_box 0.250 roi_class 1.500) | rate 0.012 | 4.0 images/s | "
    "0:45 left"
  ]


def test_words_of_the_task_come_after_the_losses():
  lines = []
  line = progress.ProgressLine(
    tf.Variable(5, dtype=tf.int64),
    5,
    1,
    counters=("dropped_boxes", "found"),
    describe=lambda values: f"found {values['found']:.1f}" if "found" in values else "",
    write=lines.append,
  )
  line({**OUTPUT, "found": tf.constant(2.0)})
  line(OUTPUT)
  assert [
    "(rpn_box 0.250 roi_class 1.500) | found 2.0 | rate 0.012 |" in text for text in lines
  ] == [
    True,
    False,
  ]
  assert "roi_class 1.500) | rate 0.012 |" in lines[1]


def test_lines_are_some_seconds_apart_and_the_last_is_never_left_out():
  run = Run(train_steps=50)
  for _ in range(5):
    run.work(steps=10, seconds=2.0)
  # After 2, 4, 6, 8 and 10 seconds; the second line is due at 7.
  assert [line.split()[1] for line in run.lines] == ["10/50", "40/50", "50/50"]
  assert run.lines[-1].endswith(" 0:00 left")


def test_building_the_graph_is_forgotten():
  run = Run()
  run.work(steps=10, seconds=100.0)
  run.work(steps=10, seconds=10.0)
  assert run.lines[0].endswith("| 0.2 images/s | 15:00 left")
  assert run.lines[1].endswith("| 2.0 images/s | 1:20 left")


def test_rate_is_smoothed():
  run = Run()
  run.work(steps=10, seconds=100.0)
  run.work(steps=10, seconds=10.0)
  run.work(steps=10, seconds=5.0)
  # 1 step a second, and three tenths of the way to 2; 70 steps / 1.3.
  assert run.lines[2].endswith("| 2.6 images/s | 0:54 left")


def test_time_between_trainings_does_not_count():
  run = Run()
  run.work(steps=10, seconds=10.0)
  run.seconds += 1000.0
  run.line.resume()
  run.work(steps=10, seconds=10.0)
  assert "| 2.0 images/s |" in run.lines[-1]


def test_steps_of_a_restored_checkpoint_do_not_count():
  run = Run()
  run.step.assign(50)
  run.line.resume()
  run.work(steps=10, seconds=10.0)
  assert run.lines == [
    "step 60/100 | loss 1.750 (rpn_box 0.250 roi_class 1.500) | rate 0.012 | 2.0 images/s | "
    "0:40 left"
  ]


def test_counts_are_warned_of_once(capsys):
  run = Run()
  for dropped in (0.0, 0.5, 3.0):
    run.work(steps=10, seconds=10.0, dropped_boxes=dropped)
  assert capsys.readouterr().err == "warning: too many\n"


def test_lines_go_to_standard_output(capsys):
  step = tf.Variable(5, dtype=tf.int64)
  progress.ProgressLine(step, 5, 1)(OUTPUT)
  captured = capsys.readouterr()
  assert captured.out.startswith("step 5/5 | loss 1.750")
  assert captured.err == ""


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (0.0, "0:00"),
    (59.4, "0:59"),
    (59.6, "1:00"),
    (754.0, "12:34"),
    (3600.0, "1:00:00"),
    (100_000.0, "27:46:40"),
  ],
)
def test_format_seconds(seconds, text):
  assert progress.format_seconds(seconds) == text


class Worker(orbit.AbstractTrainer, orbit.AbstractEvaluator):
  """Counts steps, and returns the number of evaluations so far."""

  def __init__(self, step: tf.Variable):
    self.step = step
    self.num_evaluations = 0

  def train(self, num_steps):
    self.step.assign_add(tf.cast(num_steps, tf.int64))
    return {name: tf.constant(value) for name, value in OUTPUT.items()}

  def evaluate(self, num_steps):
    del num_steps
    self.num_evaluations += 1
    return {"figure": tf.constant(float(self.num_evaluations))}


def make_controller(step: tf.Variable, tmp_path, **kwargs):
  worker = Worker(step)
  controller = progress.ReportingController(
    trainer=worker,
    evaluator=worker,
    global_step=step,
    steps_per_loop=2,
    summary_dir=str(tmp_path),
    report=lambda figures, at: f"figure {figures['figure']:.0f} at {at}",
    **kwargs,
  )
  return worker, controller


def test_controller_reports_each_evaluation(tmp_path, capsys):
  run = Run(train_steps=6)
  _, controller = make_controller(run.step, tmp_path, progress=run.line, train_actions=[run.line])
  controller.train_and_evaluate(train_steps=6, eval_interval=4)
  lines = capsys.readouterr().out.splitlines()
  # At the end too, although 6 is no multiple of 4.
  assert [line for line in lines if line.startswith("figure")] == ["figure 1 at 4", "figure 2 at 6"]
  assert sum(line.startswith("evaluation at step ") for line in lines) == 2
  # Nothing of Orbit's, whose account of every loop would stand next to ours.
  assert len(lines) == 4
  assert [line.split()[1] for line in run.lines] == ["2/6", "6/6"]


def test_controller_starts_the_clock_with_training(tmp_path):
  run = Run(train_steps=60)
  _, controller = make_controller(run.step, tmp_path, progress=run.line, train_actions=[run.line])
  # As Orbit restores a checkpoint, after the line was made.
  run.step.assign(50)
  run.seconds = 1000.0
  controller.train(52)
  assert run.lines[0].startswith("step 52/60 ")
  # Two steps in no time: the time before training does not count.
  assert run.lines[0].endswith(" 0:00 left")
