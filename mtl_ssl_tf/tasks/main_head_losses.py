"""Losses of the main head, or of each stage of a cascade of them."""

import tensorflow as tf

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.labels import annotated_classes, mining, roi_targets
from mtl_ssl_tf.losses import detection_losses
from mtl_ssl_tf.modeling import detector


def names(config: detector_config.RoiHead) -> list[str]:
  """Returns the names of the losses: `roi_class` and `roi_box`, then `roi_class_2` and so on."""
  return [_name(kind, i) for i in range(num_stages(config)) for kind in ("roi_class", "roi_box")]


def num_stages(config: detector_config.RoiHead) -> int:
  """Returns how many main heads there are."""
  return len(config.cascade.ious) if config.cascade.enabled else 1


def main_head_losses(
  config: detector_config.RoiHead,
  second: detector.BoxStage,
  rois: roi_targets.RoiTargets,
  labels: dict[str, tf.Tensor],
) -> tuple[dict[str, tf.Tensor], roi_targets.RoiTargets]:
  """Returns the losses by name, weighted, and the targets of the boxes that `second` is of.

  Each stage of a cascade learns from the boxes that the one before it moved the sampled ones to,
  matched again at its own IoU; none is sampled again. Its deltas are compared as it predicts them,
  larger by its factor.

  Args:
    config: of the second stage.
    second: of the sampled boxes, in training.
    rois: the sampled boxes with their targets.
    labels: the batch's ground truth.
  """
  if not second.cascade:
    return _losses(config, second.class_logits, second.box_deltas, rois, labels), rois
  losses, cascade = {}, config.cascade
  stages = zip(
    second.cascade, cascade.ious, cascade.delta_factors, cascade.loss_weights, strict=True
  )
  for i, (stage, iou, factor, weight) in enumerate(stages):
    if i:
      rois = roi_targets.rematched(
        stage.boxes_px, rois.valid, labels["gt_boxes_px"], labels["gt_classes"], iou
      )
    own = rois._replace(box_deltas=factor * rois.box_deltas)
    found = _losses(config, stage.class_logits, factor * stage.box_deltas, own, labels)
    losses |= {_name(kind, i): weight * loss for kind, loss in found.items()}
  return losses, rois


def _losses(
  config: detector_config.RoiHead,
  class_logits: tf.Tensor,
  box_deltas: tf.Tensor,
  rois: roi_targets.RoiTargets,
  labels: dict[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
  annotated = annotated_classes.of_boxes(labels, rois.boxes_px)  # [B, K, C]
  classes = detection_losses.roi_class_loss(class_logits, rois.classes, rois.valid, annotated)
  boxes = detection_losses.roi_box_loss(
    box_deltas,
    rois.classes,
    rois.box_deltas,
    mining.with_box_target(labels, rois.is_positive, rois.gt_indices),
    rois.valid,
    config.box_loss_sigma,
  )
  return {
    "roi_class": config.class_loss_weight * classes,
    "roi_box": config.box_loss_weight * boxes,
  }


def _name(kind: str, stage: int) -> str:
  return f"{kind}_{stage + 1}" if stage else kind
