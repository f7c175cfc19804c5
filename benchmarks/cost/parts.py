"""Times inference and the training step part by part, with FLOP and bytes of each.

Parts are cut out of the traced function itself: a part's graph is what lies between the tensors
that go into it and those that come out, so it does what it does in the whole.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.cost import experiment, measuring, operations
from mtl_ssl_tf.labels import roi_targets, rpn_targets
from mtl_ssl_tf.modeling import detections, proposals
from mtl_ssl_tf.ops import seed_ops

_STEP = 0


def measure(built: experiment.Experiment, repeats: int) -> dict[str, dict[str, dict]]:
  """Returns, for `inference` and `training`, the figures of each part by name.

  A part has what `measuring.timed` returns and `flops` and `bytes`; those that are not measured but
  left over have a single time.
  """
  return {
    "inference": _inference(built, repeats),
    "training": _training(built, repeats),
  }


class Trace:
  """A traced function, of which parts can be cut out.

  Attributes:
    inputs: the graph's own tensors of the arguments.
    outputs: those of the result, in its structure.
  """

  def __init__(self, function: Callable[..., Any], arguments: Sequence[tf.Tensor]):
    """Traces a function of tensors that returns a structure of tensors."""

    def traced(*inputs):
      self.inputs, self.outputs = list(inputs), function(*inputs)
      return tf.nest.flatten(self.outputs)

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in arguments]
    self._wrapped = tf.compat.v1.wrap_function(traced, specs)

  def between(
    self, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]
  ) -> Callable[..., list[tf.Tensor]]:
    """Returns the part from tensors of the graph to others, as a function of the former."""
    part = self._wrapped.prune(list(inputs), list(outputs))
    return lambda *values: tf.nest.flatten(part(*values))

  def measure(
    self,
    inputs: Sequence[tf.Tensor],
    outputs: Sequence[tf.Tensor],
    values: Sequence[tf.Tensor],
    repeats: int,
  ) -> dict[str, Any]:
    """Returns the figures of the part `between`, run on `values`."""
    # The part's own graph has lost the shapes of what comes out of calls.
    counted = operations.count(self._wrapped.graph, inputs, outputs)
    part = self.between(inputs, outputs)
    return _figures(lambda: part(*values), repeats, counted)

  def of_type(
    self, kind: str, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]
  ) -> list[tf.Operation]:
    """Returns the ops of a type in the part `between`."""
    return operations.of_type(self._wrapped.graph, kind, inputs, outputs)


def _figures(
  call: Callable[[], Any], repeats: int, counted: operations.Count | None = None
) -> dict[str, Any]:
  """Times a call until its tensors are there, and adds what was counted in it."""

  def finish():
    for value in tf.nest.flatten(call()):
      if isinstance(value, tf.Tensor):
        value.numpy()

  counted = counted or operations.Count()
  return {
    **measuring.timed(finish, repeats),
    "flops": counted.flops,
    "bytes": counted.num_bytes,
  }


def _inference(built: experiment.Experiment, repeats: int) -> dict[str, dict]:
  arguments = (built.images, built.labels["image_size_px"])
  parts = _first_stage(built, arguments, repeats)
  parts.update(_second_stage(built, arguments, repeats))
  counted = operations.count(built.detect.get_concrete_function(*arguments).graph)
  parts["all"] = _figures(built.take_detections, repeats, counted)
  return parts


def _first_stage(
  built: experiment.Experiment, arguments: Sequence[tf.Tensor], repeats: int
) -> dict[str, dict]:
  trace = Trace(built.model.first_stage, arguments)
  first, size = trace.outputs, trace.inputs[1]
  rpn = [first.rpn.logits, first.rpn.deltas]
  features, *rpn_values = trace.between(trace.inputs, [first.features, *rpn])(*arguments)
  found = first.proposals
  return {
    "stage 1": trace.measure(trace.inputs, [first.features], arguments, repeats),
    "RPN": trace.measure([first.features], rpn, [features], repeats),
    "proposals": trace.measure(
      [size, *rpn], [found.boxes_px, found.valid], [arguments[1], *rpn_values], repeats
    ),
  }


def _second_stage(
  built: experiment.Experiment, arguments: Sequence[tf.Tensor], repeats: int
) -> dict[str, dict]:
  trace = Trace(built.model.__call__, arguments)
  size, outputs = trace.inputs[1], trace.outputs
  flat = trace.between(trace.inputs, list(outputs.values()))(*arguments)
  values = dict(zip(outputs, flat, strict=True))
  known = ["features", "proposals_px", "proposals_valid", "proposals_scores"]
  parts = {}
  for name, wanted in (
    ("second stage", "class_logits"),
    ("closeness head", "closeness_logits"),
    ("windows of refinement", "window_logits"),
    ("refinement layer", "refined_logits"),
  ):
    if wanted not in outputs:
      continue
    inputs = [size, *(outputs[key] for key in known)]
    given = [arguments[1], *(values[key] for key in known)]
    parts[name] = trace.measure(inputs, [outputs[wanted]], given, repeats)
    crops = trace.of_type("CropAndResize", inputs, [outputs[wanted]])
    if crops:
      parts[f"{name}: its crops"] = _crops(crops, repeats)
    known.append(wanted)
  parts["detections"] = _detections(built, values, repeats)
  return parts


def _crops(found: Sequence[tf.Operation], repeats: int) -> dict[str, Any]:
  """The crop operations by themselves, on values of the same shapes."""
  rng = np.random.default_rng(0)
  calls = []
  for op in found:
    maps, boxes, _, _ = (tensor.shape.as_list() for tensor in op.inputs)
    corners = np.sort(rng.uniform(0.0, 1.0, [boxes[0], 2, 2]), axis=1).reshape([-1, 4])
    calls.append(
      {
        "image": tf.constant(rng.standard_normal(maps), op.inputs[0].dtype),
        "boxes": tf.constant(corners, tf.float32),
        "box_ind": tf.zeros([boxes[0]], tf.int32),
        "crop_size": tf.constant(op.outputs[0].shape.as_list()[1:3]),
      }
    )

  return _figures(lambda: [tf.raw_ops.CropAndResize(**call) for call in calls], repeats)


def _detections(built: experiment.Experiment, values: dict, repeats: int) -> dict[str, Any]:
  config, logits = built.params.task.detections, values["class_logits"]
  generator = detections.DetectionGenerator(
    config.score_threshold, config.nms_iou, config.max_per_class, config.max_total
  )
  batch_size, num_boxes, num_classes = logits.shape
  deltas = tf.random.stateless_normal([batch_size, num_boxes, num_classes - 1, 4], [0, 0])
  arguments = (
    values.get("refined_logits", logits),
    0.1 * deltas,
    values["proposals_px"],
    values["proposals_valid"],
    built.labels["image_size_px"],
  )
  detect = tf.function(generator, autograph=False)
  return _figures(lambda: detect(*arguments), repeats)


def _training(built: experiment.Experiment, repeats: int) -> dict[str, dict]:
  images, labels = built.images, built.labels
  parts = {"labels": _labels(built, repeats)}
  flat = [images, *tf.nest.flatten(labels)]

  def step(*inputs):
    batch = (inputs[0], tf.nest.pack_sequence_as(labels, inputs[1:]))
    return built.task.train_step(batch, built.model, built.optimizer)

  trace = Trace(step, flat)
  loss = trace.outputs[built.task.loss]
  parts["forward, with labels"] = trace.measure(trace.inputs, [loss], flat, repeats)
  gradients = [
    (1e-6 * tf.ones_like(variable), variable) for variable in built.model.trainable_variables
  ]

  @tf.function(autograph=False)
  def apply():
    built.optimizer.apply_gradients(gradients)
    return tf.constant(0)

  parts["optimizer"] = _figures(apply, repeats)
  counted = operations.count(built.train_step.get_concrete_function(images, labels).graph)
  whole = _figures(built.take_step, repeats, counted)
  forward = parts["forward, with labels"]
  parts["backward"] = _rest(whole, [forward, parts["optimizer"]])
  parts["all"] = whole
  return parts


def _rest(whole: dict[str, Any], known: Sequence[dict[str, Any]]) -> dict[str, Any]:
  left = float(np.median(whole["seconds"]))
  left -= sum(float(np.median(part["seconds"])) for part in known)
  return {
    "seconds": [left],
    "first_s": 0.0,
    "other_cores": whole["other_cores"],
    "flops": whole["flops"] - sum(part["flops"] for part in known),
    "bytes": whole["bytes"] - sum(part["bytes"] for part in known),
  }


def _labels(built: experiment.Experiment, repeats: int) -> dict[str, Any]:
  """Auxiliary labels and windows, RPN targets and sampled boxes."""
  config, labels = built.params.task, built.labels
  first = tf.function(
    lambda: built.model.first_stage(built.images, labels["image_size_px"], training=True),
    autograph=False,
  )()
  step = tf.constant(_STEP, tf.int64)

  def targets(anchors: proposals.Anchors, proposed: proposals.Proposals):
    auxiliary = built.task.auxiliary_targets(labels, step)
    ground_truth = (labels["gt_boxes_px"], labels["gt_classes"])
    keys = labels["image_key"]
    rpn = rpn_targets.rpn_targets(
      anchors.boxes_px,
      anchors.is_candidate,
      *ground_truth,
      seed_ops.image_seeds(config.seed, seed_ops.RPN_SAMPLING, step, keys),
      num_samples=config.rpn.batch_size,
      positive_fraction=config.rpn.positive_fraction,
      positive_iou=config.rpn.positive_iou,
      negative_iou=config.rpn.negative_iou,
    )
    rois = roi_targets.roi_targets(
      proposed.boxes_px,
      proposed.valid,
      *ground_truth,
      seed_ops.image_seeds(config.seed, seed_ops.ROI_SAMPLING, step, keys),
      num_samples=config.roi_head.batch_size,
      positive_fraction=config.roi_head.positive_fraction,
      positive_iou=config.roi_head.positive_iou,
      append_gt=config.roi_head.append_ground_truth,
    )
    return auxiliary, rpn, rois

  make = tf.function(targets, autograph=False)
  return _figures(lambda: make(first.anchors, first.proposals), repeats)
