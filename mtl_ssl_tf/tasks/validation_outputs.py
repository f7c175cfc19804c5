"""Outputs of the validation step for the host: ground truth, detections, auxiliary outputs."""

import tensorflow as tf

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.labels import auxiliary as auxiliary_labels
from mtl_ssl_tf.losses import batch_sum
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.ops import box_ops
from mtl_ssl_tf.tasks import training_losses

# Begins the names of losses.
LOSS = "validation/"
# Begins the names of detections by scores without refinement.
UNREFINED = "unrefined/"
# Seeds the sampling of losses, so that evaluations can be compared.
LOSS_STEP = 0


def validation_outputs(
  model: detector.Detector,
  config: detector_config.MtlDetection,
  inputs: tuple[tf.Tensor, dict[str, tf.Tensor]],
  targets: auxiliary_labels.AuxiliaryTargets | None,
) -> dict[str, tf.Tensor]:
  """Returns ground truth, detections in file pixels, losses, and what the auxiliary metrics need.

  Where auxiliary costs are configured and there is refinement, also `unrefined/detection_...`, the
  detections without it.

  Args:
    model: the detector.
    config: of the task.
    inputs: images and labels, see `data/pipeline/detection_parser.py`; what `filled_up` returns
      where there are losses.
    targets: the batch's auxiliary labels; None where neither auxiliary metrics nor losses are
      configured.
  """
  images, labels = inputs
  image_size_px = labels["image_size_px"]
  first = model.first_stage(images, image_size_px)
  outputs, final_logits, box_deltas = model.score_proposals(first, image_size_px)
  boxes = (box_deltas, outputs["proposals_px"], first.proposals.valid, image_size_px)
  outputs |= model.detect(final_logits, *boxes)
  losses = {}
  if config.evaluation.losses:
    losses = _losses(model, config, first, labels, targets)
  scale = tf.tile(labels["image_info"][:, 2], [1, 2])[:, tf.newaxis]  # [B, 1, 4]
  logs = {
    name: labels[name]
    for name in (
      "gt_boxes_orig",
      "gt_classes",
      "gt_difficult",
      "gt_is_crowd",
      "gt_area_orig",
      "num_dropped_boxes",
      "example_valid",
      "example_index",
      "annotated_classes",
    )
    if name in labels
  }
  logs |= _detections(outputs, scale)
  if config.evaluation.auxiliary_costs and model.refiner is not None:
    unrefined = _detections(model.detect(outputs["class_logits"], *boxes), scale)
    logs |= {f"{UNREFINED}{name}": values for name, values in unrefined.items()}
  if config.evaluation.auxiliary_metrics and targets is not None:
    logs.update(_auxiliary_outputs(model, config, outputs, labels, targets))
  return logs | losses


def _detections(outputs: dict[str, tf.Tensor], scale: tf.Tensor) -> dict[str, tf.Tensor]:
  """Detections in file pixels; `scale` float32 [B, 1, 4] is that of the network input."""
  return {
    "detection_boxes_orig": outputs["detection_boxes_px"] / scale,
    "detection_scores": outputs["detection_scores"],
    "detection_classes": outputs["detection_classes"],
  }


def filled_up(
  inputs: tuple[tf.Tensor, dict[str, tf.Tensor]],
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """Returns a batch with its images again in the place of rows that only fill it up.

  So losses, which are means over a batch, are those of images. `example_valid` stays.
  """
  images, labels = inputs
  valid = labels["example_valid"]
  num_valid = tf.maximum(tf.reduce_sum(tf.cast(valid, tf.int32)), 1)
  first = tf.argsort(tf.cast(~valid, tf.int32), stable=True)  # [B], valid rows first
  rows = tf.range(tf.shape(valid)[0])
  rows = tf.where(valid, rows, tf.gather(first, rows % num_valid))  # [B]
  repeated = tf.nest.map_structure(lambda values: tf.gather(values, rows), (images, labels))
  return repeated[0], repeated[1] | {"example_valid": valid}


def _losses(
  model: detector.Detector,
  config: detector_config.MtlDetection,
  first: detector.FirstStage,
  labels: dict[str, tf.Tensor],
  targets: auxiliary_labels.AuxiliaryTargets,
) -> dict[str, tf.Tensor]:
  """The losses of a training step on this batch, at inference: each float32 [B], one value."""
  anchors = model.anchors_in_losses(first.features, labels["image_size_px"])
  parts = training_losses.replica_losses(
    model,
    config,
    first._replace(anchors=anchors),
    labels,
    targets,
    tf.constant(LOSS_STEP),
    training=False,
  )
  parts["weight_decay"] = training_losses.weight_decay(model, config.regularization)
  losses = {
    f"{LOSS}{name}_loss": part.local_loss() if isinstance(part, batch_sum.BatchSum) else part
    for name, part in parts.items()
  }
  losses[f"{LOSS}loss"] = tf.add_n(list(losses.values()))
  batch_size = tf.shape(labels["example_valid"])[:1]
  return {name: tf.broadcast_to(loss, batch_size) for name, loss in losses.items()}


def _auxiliary_outputs(
  model: detector.Detector,
  config: detector_config.MtlDetection,
  outputs: dict[str, tf.Tensor],
  labels: dict[str, tf.Tensor],
  targets: auxiliary_labels.AuxiliaryTargets,
) -> dict[str, tf.Tensor]:
  """Predictions and labels of the auxiliary tasks, named as `AuxiliaryEvaluator.update` asks."""
  image_size_px, features = labels["image_size_px"], outputs["features"]
  logs = {}
  if model.multi_object_head is not None:
    logits = model.classify_windows(features, targets.windows_px, image_size_px)
    logs["window_probabilities"] = tf.nn.softmax(logits)
    logs["window_labels"] = targets.window_labels
    logs["window_weights"] = targets.window_weights
  if model.closeness_head is not None:
    overlaps = box_ops.pairwise_iou(labels["gt_boxes_px"], outputs["proposals_px"])
    best = tf.argmax(overlaps, axis=-1, output_type=tf.int32)  # [B, N]
    probabilities = tf.nn.softmax(outputs["closeness_logits"])  # [B, P, C]
    logs["closeness_probabilities"] = tf.gather(probabilities, best, batch_dims=1)
    logs["closeness_labels"] = targets.closeness_labels
    matched = tf.reduce_max(overlaps, axis=-1) >= config.roi_head.positive_iou
    logs["closeness_valid"] = matched & (labels["gt_classes"] > 0)  # [B, N]
  if model.foreground_head is not None:
    logits = training_losses.foreground_logits(model, config, features, image_size_px)
    logs["foreground_probabilities"] = tf.nn.softmax(logits)[..., 1]  # [B, h, w]
    logs["foreground_labels"] = targets.foreground_mask
  return {f"auxiliary/{name}": values for name, values in logs.items()}
