"""Parts of a small detector, compared with the whole."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.cost import experiment, parts, rows

NUM_PROPOSALS = 4
TINY = {
  "task": {
    "backbone": {"depth_multiplier": 0.125},
    "rpn": {"depth": 16, "num_proposals": NUM_PROPOSALS},
    "roi_head": {"batch_size": 4},
    "auxiliary": {"multi_object": {"num_windows": 4}, "foreground": {"mask_size": 16}},
    "train_data": {"max_num_boxes": 6},
  }
}
# Closeness from all sampled boxes, so that every layer has its way back.
ALL_TRAINED = {"task": {"roi_head": {"positive_fraction": 1.0}}}
SETUP = rows.Setup(
  "voc07_frcnn_mobilenet_mtl",
  rows.merged(rows.merged(TINY, ALL_TRAINED), rows.PARTS_OVERRIDE),
  height=64,
  width=96,
  num_classes=3,
)


@pytest.fixture(scope="module")
def built():
  return experiment.Experiment(SETUP)


def test_batch_is_padded_as_the_input_pipeline_does(built):
  boxes_px = built.labels["gt_boxes_px"].numpy()
  assert boxes_px.shape == (1, 6, 4)
  assert (boxes_px[0, 5:] == -1.0).all()
  assert (boxes_px[0, :5, 2:] > boxes_px[0, :5, :2]).all()
  assert (boxes_px[0, :5] >= 0.0).all()
  assert (boxes_px[0, :5] <= [64, 96, 64, 96]).all()
  classes = built.labels["gt_classes"].numpy()[0]
  assert set(classes[:5]) <= {1, 2, 3}
  assert classes[5] == -1


def test_optimizer_is_as_large_as_its_slots(built):
  slots = built.optimizer.variables()[1:]  # The first one counts the steps.
  num_bytes = sum(v.shape.num_elements() * v.dtype.size for v in slots)
  assert built.optimizer_mib == pytest.approx(num_bytes / 2**20, rel=1e-3)


def test_parts_add_up_to_the_whole(built):
  found = parts.measure(built, repeats=1)
  inference, training = found["inference"], found["training"]
  assert list(inference) == [
    "stage 1",
    "RPN",
    "proposals",
    "second stage",
    "second stage: its crops",
    "closeness head",
    "closeness head: its crops",
    "windows of refinement",
    "windows of refinement: its crops",
    "refinement layer",
    "detections",
    "all",
  ]
  counted = sum(part["flops"] for name, part in inference.items() if name != "all")
  # Missing is the box layer, from a depth of 1024 / 8 to 4 codes of 3 classes, as no output of the
  # detector shows it.
  box_layer = 2 * NUM_PROPOSALS * 128 * 4 * 3
  assert counted + box_layer == inference["all"]["flops"]
  assert all(part["seconds"][0] > 0.0 for part in inference.values())

  assert list(training) == ["labels", "forward, with labels", "optimizer", "backward", "all"]
  whole = training["all"]
  pieces = [training[name] for name in ("forward, with labels", "optimizer", "backward")]
  for quantity in ("flops", "bytes"):
    assert sum(piece[quantity] for piece in pieces) == whole[quantity]
  # No gradient passes the windows, as many as at inference. Every other layer has a gradient
  # by its kernel, and all but the first one by their input.
  trained = training["forward, with labels"]["flops"] - inference["windows of refinement"]["flops"]
  assert 1.9 < training["backward"]["flops"] / trained < 2.0


def test_part_computes_what_the_whole_does(built):
  arguments = (built.images, built.labels["image_size_px"])
  trace = parts.Trace(built.model.__call__, arguments)
  outputs = trace.outputs
  names = ["features", "proposals_px", "proposals_valid"]
  whole = trace.between(trace.inputs, [*(outputs[name] for name in names), outputs["class_logits"]])
  *given, expected = whole(*arguments)
  part = trace.between(
    [trace.inputs[1], *(outputs[name] for name in names)], [outputs["class_logits"]]
  )
  (logits,) = part(arguments[1], *given)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_step_that_is_not_finite_is_no_measurement(built, monkeypatch):
  monkeypatch.setattr(built, "train_step", lambda *_: {built.task.loss: tf.constant(np.nan)})
  with pytest.raises(FloatingPointError, match="the loss of a training step is nan"):
    built.take_step()


def test_unknown_field_of_a_row_is_reported():
  setup = rows.Setup("voc07_frcnn_mobilenet_mtl", {"task": {"nonsense": 1}})
  with pytest.raises(ValueError, match="nonsense"):
    experiment.Experiment(setup)
