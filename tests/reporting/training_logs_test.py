"""Curves of a run, from event files or from what its evaluations left."""

import json

import tensorflow as tf

from mtl_ssl_tf.reporting import training_logs


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


def test_nothing(tmp_path):
  assert training_logs.read(tmp_path) is None


def test_long_curves_are_thinned_and_keep_their_end(tmp_path):
  steps = list(range(1001))
  kept, values = training_logs._thinned((steps, [float(step) for step in steps]))
  assert len(kept) <= 200 and kept[-1] == 1000 and values == [float(step) for step in kept]
