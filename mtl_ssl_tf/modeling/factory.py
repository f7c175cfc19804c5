"""Configuration to components to model; no arithmetic here."""

import functools

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import detections, detector, normalization, proposals, refinement
from mtl_ssl_tf.modeling.backbones import base, mobilenet_v1
from mtl_ssl_tf.modeling.heads import foreground_head, roi_heads, rpn_head


def build_backbone(config: detector_config.Backbone) -> base.Backbone:
  """Returns the backbone that `config.type` names.

  Raises:
    ValueError: for an unknown type.
  """
  norm_fn = functools.partial(
    _norm, config.norm.type, momentum=config.norm.momentum, groups=config.norm.groups
  )
  if config.type == "mobilenet_v1":
    return mobilenet_v1.MobileNetV1(norm_fn, config.depth_multiplier)
  raise ValueError(f"task.backbone.type is {config.type!r}; accepted is mobilenet_v1")


def _norm(norm_type: str, channels: int, *, momentum: float, groups: int):
  return normalization.make_norm(norm_type, channels, momentum, groups)


def build_detector(config: detector_config.MtlDetection, num_classes: int) -> detector.Detector:
  """Returns a detector with all its variables, the auxiliary stages copied from the main one.

  Args:
    config: the task's configuration.
    num_classes: int, C, background included.
  """
  backbone = build_backbone(config.backbone)
  anchor_grid = proposals.AnchorGrid(
    backbone.stride,
    config.anchors.base_size_px,
    tuple(config.anchors.scales),
    tuple(config.anchors.aspect_ratios),
  )
  auxiliary = config.auxiliary

  def crop_classifier(loss_weight: float, name: str) -> roi_heads.CropClassifier | None:
    if not loss_weight:
      return None
    return roi_heads.CropClassifier(backbone.make_stage2("stage2"), num_classes, name=name)

  model = detector.Detector(
    backbone=backbone,
    num_classes=num_classes,
    anchor_grid=anchor_grid,
    rpn=rpn_head.RpnHead(anchor_grid.anchors_per_cell, config.rpn.depth, name="rpn"),
    proposal_generator=proposals.ProposalGenerator(
      config.rpn.nms_iou, config.rpn.num_proposals, config.rpn.pre_nms_top_k or None
    ),
    box_head=roi_heads.BoxHead(backbone.make_stage2("stage2"), num_classes, name="box_head"),
    multi_object_head=crop_classifier(auxiliary.multi_object.loss_weight, "multi_object"),
    closeness_head=crop_classifier(auxiliary.closeness.loss_weight, "closeness"),
    foreground=_foreground_head(auxiliary.foreground),
    refiner=_refiner(config.refinement, num_classes),
    detection_generator=detections.DetectionGenerator(
      config.detections.score_threshold,
      config.detections.nms_iou,
      config.detections.max_per_class,
      config.detections.max_total,
    ),
    crop=detector.Crop(config.roi_head.crop_size, config.roi_head.max_pool),
    num_refinement_windows=config.refinement.num_windows,
    closeness_mean=config.refinement.closeness_mean,
    stop_gradient_shared=auxiliary.stop_gradient_shared,
    stop_gradient_foreground=(
      auxiliary.stop_gradient_shared and auxiliary.stop_gradient_includes_foreground
    ),
    name="detector",
  )
  model.build_variables()
  if auxiliary.init_from == "main_stage2":
    model.start_auxiliary_heads_like_main()
  return model


def _foreground_head(
  config: detector_config.Foreground,
) -> foreground_head.ForegroundHead | None:
  if not config.loss_weight:
    return None
  return foreground_head.ForegroundHead(config.head, config.logit_activation, name="foreground")


def _refiner(config: detector_config.Refinement, num_classes: int) -> refinement.Refinement | None:
  if not config.enabled:
    return None
  return refinement.Refinement(
    num_classes,
    config.residual,
    config.stop_gradient_residual,
    config.use_bias,
    config.input,
    name="refinement",
  )
