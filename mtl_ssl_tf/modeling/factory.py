"""Configuration to components to model; no arithmetic here."""

import functools
from collections.abc import Callable

import tensorflow as tf
import tf_keras
from official.modeling import performance

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import detections, detector, normalization, proposals, refinement, regions
from mtl_ssl_tf.modeling.backbones import base, registry
from mtl_ssl_tf.modeling.heads import foreground_head, rfcn_heads, roi_heads, rpn_head


def build_backbone(config: detector_config.Backbone) -> base.Backbone:
  """Returns the backbone that `config.type` names.

  Raises:
    ValueError: for an unknown type.
  """
  return registry.build(config.type, functools.partial(_norm, config.norm), config)


def _norm(config: detector_config.Norm, channels: int, train_affine: bool = True, **options):
  if config.train_affine is not None:
    train_affine = config.train_affine
  return normalization.make_norm(
    config.type, channels, config.momentum, config.groups, train_affine=train_affine, **options
  )


def build_detector(
  config: detector_config.MtlDetection,
  num_classes: int,
  crop_method: str = "native",
  precision: str = "float32",
) -> detector.Detector:
  """Returns a detector with all its variables, the auxiliary stages copied from the main one.

  Args:
    config: the task's configuration.
    num_classes: int, C, background included.
    crop_method: how regions are cut out, see `crop_ops`; `matmul` compiles under XLA. With
      `native`, boxes are suppressed by a native kernel, too.
    precision: type that the stages compute in: `float32`, `bfloat16` or `float16`. Variables are
      float32 in any case.

  Raises:
    ValueError: if `roi_head.convolution` does not go with this precision.
  """
  # Layers take Keras' global policy when they are made; nobody else is to find it changed.
  policy = tf_keras.mixed_precision.global_policy()
  performance.set_mixed_precision_policy(precision)
  try:
    return _build_detector(config, num_classes, crop_method, precision)
  finally:
    tf_keras.mixed_precision.set_global_policy(policy)


def _build_detector(
  config: detector_config.MtlDetection, num_classes: int, crop_method: str, precision: str
) -> detector.Detector:
  backbone = build_backbone(config.backbone)
  anchor_grid = proposals.AnchorGrid(
    backbone.stride,
    config.anchors.base_size_px,
    tuple(config.anchors.scales),
    tuple(config.anchors.aspect_ratios),
  )
  auxiliary = config.auxiliary
  # Where one native kernel runs, so does the other.
  nms_method = "native" if crop_method == "native" else "loop"
  box_head, multi_object_head, closeness_head = _region_heads(
    config, backbone, num_classes, crop_method
  )
  norm = config.backbone.norm.type
  model = detector.Detector(
    backbone=backbone,
    num_classes=num_classes,
    anchor_grid=anchor_grid,
    rpn=rpn_head.RpnHead(anchor_grid.anchors_per_cell, config.rpn.depth, name="rpn"),
    proposal_generator=proposals.ProposalGenerator(
      config.rpn.nms_iou, config.rpn.num_proposals, config.rpn.pre_nms_top_k or None, nms_method
    ),
    box_head=box_head,
    multi_object_head=multi_object_head,
    closeness_head=closeness_head,
    foreground=_foreground_head(auxiliary.foreground),
    refiner=build_refiner(config.refinement, num_classes),
    detection_generator=detections.DetectionGenerator(
      config.detections.score_threshold,
      config.detections.nms_iou,
      config.detections.max_per_class,
      config.detections.max_total,
      nms_method,
    ),
    crop=_crop(config.roi_head, crop_method),
    num_refinement_windows=config.refinement.num_windows,
    closeness_mean=config.refinement.closeness_mean,
    stop_gradient_shared=auxiliary.stop_gradient_shared,
    stop_gradient_foreground=(
      auxiliary.stop_gradient_shared and auxiliary.stop_gradient_includes_foreground
    ),
    min_object_score=config.refinement.min_object_score,
    max_refined=config.refinement.max_proposals,
    rows_are_independent=norm in normalization.INDEPENDENT_NORM_TYPES,
    name="detector",
  )
  heads = (box_head, multi_object_head, closeness_head)
  for stage in (model.stage1, *(head.stage2 for head in heads if hasattr(head, "stage2"))):
    stage.recompute = config.backbone.recompute
  if _by_fourier(config, crop_method, precision):
    for head in heads:
      if isinstance(head, roi_heads.CropClassifier):
        head.stage2.fourier_side = config.roi_head.crop_size // config.roi_head.max_pool
  freeze = config.backbone.freeze
  model.stage1.freeze(backbone.default_freeze if freeze is None else freeze)
  model.build_variables()
  if auxiliary.init_from == "main_stage2":
    model.start_auxiliary_heads_like_main()
  return model


def _by_fourier(config: detector_config.MtlDetection, crop_method: str, precision: str) -> bool:
  """Decides `roi_head.convolution`.

  Raises:
    ValueError: if it is `fourier` in mixed precision.
  """
  convolution = config.roi_head.convolution
  if convolution == "fourier" and precision != "float32":
    raise ValueError(
      f"task.roi_head.convolution is 'fourier'; accepted: auto or direct in {precision}, which"
      " would lose too much in the transform"
    )
  if convolution != "auto":
    return convolution == "fourier"
  # A GPU's library and XLA have such methods themselves, and bfloat16 is faster still.
  suits = crop_method == "native" and precision == "float32"
  on_cpu = not tf.config.list_logical_devices("GPU")
  return suits and on_cpu and config.backbone.norm.type != "group"


def _region_heads(
  config: detector_config.MtlDetection,
  backbone: base.Backbone,
  num_classes: int,
  crop_method: str,
) -> tuple:
  """Returns the main, the multi-object and the closeness head; None where one is left out."""
  roi_head, auxiliary = config.roi_head, config.auxiliary
  weights = {
    "multi_object": auxiliary.multi_object.loss_weight,
    "closeness": auxiliary.closeness.loss_weight,
  }

  def stage2() -> base.Stage:
    return backbone.make_stage2("stage2")

  def pooling(config: detector_config.Rfcn | detector_config.SharedMap) -> rfcn_heads.Pooling:
    return rfcn_heads.Pooling(
      config.reduce_depth, config.num_bins, config.crop_size, crop_method, roi_head.keep_border
    )

  if roi_head.type == "rfcn":
    box_head = rfcn_heads.MapBoxHead(stage2(), num_classes, pooling(roi_head.rfcn), name="box_head")
  else:
    box_head = roi_heads.BoxHead(stage2(), num_classes, roi_head.initializer, name="box_head")

  def make(name: str) -> tf_keras.layers.Layer:
    if auxiliary.trunk == "classifier_features":
      return roi_heads.FeatureClassifier(
        box_head, num_classes, auxiliary.stop_gradient_shared, name=name
      )
    if auxiliary.trunk == "shared_map":
      return _shared_map_head(backbone, auxiliary.shared_map, num_classes, pooling, name)
    if roi_head.type == "rfcn":
      return rfcn_heads.MapClassifier(stage2(), num_classes, pooling(roi_head.rfcn), name=name)
    return roi_heads.CropClassifier(stage2(), num_classes, name=name)

  return box_head, *(make(name) if weight else None for name, weight in weights.items())


def _shared_map_head(
  backbone: base.Backbone,
  config: detector_config.SharedMap,
  num_classes: int,
  make_pooling: Callable[[detector_config.SharedMap], rfcn_heads.Pooling],
  name: str,
) -> rfcn_heads.MapClassifier:
  """Returns an auxiliary head whose maps have every `config.stride`-th cell of the shared map.

  Raises:
    ValueError: the second stage has no form with so small a stride.
  """
  steps, rest = divmod(config.stride, backbone.stage2_stride)
  dense = bool(rest)
  try:
    # A backbone without a stride in its second stage need not know of dense forms.
    stage2 = backbone.make_stage2("stage2", dense) if dense else backbone.make_stage2("stage2")
  except ValueError as error:
    raise ValueError(
      f"task.auxiliary.shared_map.stride is {config.stride}; accepted: {backbone.stage2_stride}"
      f" with this backbone: {error}"
    ) from error
  return rfcn_heads.MapClassifier(
    stage2,
    num_classes,
    make_pooling(config),
    config.stride if dense else steps,
    dense,
    name=name,
  )


def _crop(config: detector_config.RoiHead, method: str) -> regions.Crop | None:
  if config.type == "rfcn":
    return None
  return regions.Crop(config.crop_size, config.max_pool, method, config.keep_border)


def _foreground_head(
  config: detector_config.Foreground,
) -> foreground_head.ForegroundHead | None:
  if not config.loss_weight:
    return None
  return foreground_head.ForegroundHead(config.head, config.logit_activation, name="foreground")


def build_refiner(
  config: detector_config.Refinement, num_classes: int
) -> refinement.Refinement | None:
  """Returns the refinement layer, or None where there is to be none."""
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
