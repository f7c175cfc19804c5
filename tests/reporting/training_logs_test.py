"""Curves of a run, from event files or from what its evaluations left."""

import json
import os

import pytest
import tensorflow as tf

from mtl_ssl_tf.reporting import figure_sections, training_logs


def test_event_files(tmp_path):
  for split, values in (
    (
      "train",
      {
        "training_loss": 3.0,
        "rpn_box": 1.0,
        "learning_rate": 0.1,
        "dropped_boxes": 0.0,
        "time/step_ms/input": 5.0,
      },
    ),
    (
      "validation",
      {
        "voc/mAP50_area": 0.5,
        "voc/AP50_area/cat": 0.4,
        "coco/AP": 0.2,
        "coco/AR1": 0.1,
        "validation/loss": 4.0,
        "validation/rpn_box_loss": 2.0,
      },
    ),
  ):
    with tf.summary.create_file_writer(str(tmp_path / split)).as_default():
      for step in (5, 10):
        for name, value in values.items():
          tf.summary.scalar(name, value, step)
  logs = training_logs.read(tmp_path)
  assert logs.source == "TensorBoard event files"
  assert logs.figures.curves == {"voc/mAP50_area": ([5, 10], [0.5, 0.5])} | {
    "coco/AP": ([5, 10], [tf.constant(0.2).numpy()] * 2)
  }
  assert list(logs.loss.curves) == ["training: training_loss", "validation: loss"]
  assert {panel.title: list(panel.curves) for panel in logs.rest} == {
    "rpn_box": ["training", "validation"],
    "learning_rate": ["training"],
  }


def test_evaluations(tmp_path):
  for step, value in ((10, 0.5), (5, 0.25)):
    content = {"step": step, "voc/mAP50_area": value, "voc/AP50_area/cat": None}
    (tmp_path / f"evaluation-{step}.json").write_text(json.dumps(content))
  other = {"step": 10, "voc/mAP50_area": 0.9}
  (tmp_path / "evaluation-10-01234567.json").write_text(json.dumps(other))
  logs = training_logs.read(tmp_path)
  assert logs.figures.curves == {"voc/mAP50_area": ([5, 10], [0.25, 0.5])}
  assert logs.loss is None and logs.rest == []


@pytest.mark.parametrize(
  ("content", "reason"),
  [
    ("{", ": no JSON (Expecting property name enclosed in double quotes"),
    ("[" * 100_000, ": no JSON (objects and lists in each other; at most 32 levels)"),
    ("[1.5]", " is [1.5]; accepted: an object"),
    ('{"voc/mAP50_area": 0.5}', ": step is missing; accepted: a whole number of 64 bits"),
    ('{"step": "\\n"}', r": step is '\n'; accepted: a whole number of 64 bits"),
    ('{"step": 1e400}', ": step is inf; accepted: a whole number of 64 bits"),
    (None, ": cannot be read (a pipe and no regular file)"),
  ],
)
def test_an_evaluation_that_cannot_be_read_is_left_out(tmp_path, capsys, content, reason):
  path = tmp_path / "evaluation-7.json"
  if content is None:
    os.mkfifo(path)
  else:
    path.write_text(content)
  assert training_logs.read(tmp_path) is None
  (warning,) = capsys.readouterr().err.splitlines()
  assert warning.startswith(f"warning: left out of the curves: {path}{reason}")
  (tmp_path / "evaluation-5.json").write_text('{"step": 5, "voc/mAP50_area": 0.25}')
  assert training_logs.read(tmp_path).figures.curves == {"voc/mAP50_area": ([5], [0.25])}


def test_odd_values_are_drawn_or_left_out(tmp_path):
  # Names that no encoding has, and numbers at the ends of float64.
  for step, value in (
    (-(2**63), "-1.7e308"),
    (0, "Infinity"),
    (1, "5e-324"),
    (2**63 - 1, "1.7e308"),
  ):
    figures = f'"voc/mAP50_area": {value}, "voc/mAP\\ud800": {value}, "loss": {value}, "x": [0.5]'
    (tmp_path / f"evaluation-{abs(step)}.json").write_text(f'{{"step": {step}, {figures}}}')
  for step, value in ((3, "5e-324"), (4, "0.0")):
    (tmp_path / f"evaluation-{step}.json").write_text(f'{{"step": {step}, "coco/AP": {value}}}')
  logs = training_logs.read(tmp_path)
  assert logs.figures.curves["voc/mAP50_area"][0] == [-(2**63), 1, 2**63 - 1]
  assert logs.figures.curves["coco/AP"] == ([3, 4], [5e-324, 0.0])
  assert figure_sections.training(logs).html().encode().count(b"<svg") == 1


def test_nothing(tmp_path):
  assert training_logs.read(tmp_path) is None


def test_long_curves_are_thinned_and_keep_their_end(tmp_path):
  steps = list(range(1001))
  kept, values = training_logs._thinned((steps, [float(step) for step in steps]))
  assert len(kept) <= 200 and kept[-1] == 1000 and values == [float(step) for step in kept]
