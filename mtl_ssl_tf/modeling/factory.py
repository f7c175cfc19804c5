"""Configuration to components to model, and the choice of their accelerated forms."""

import dataclasses
import functools

import tensorflow as tf
import tf_keras
from official.modeling import performance

from mtl_ssl_tf.configs import auxiliary as auxiliary_config
from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import (
  detections,
  detector,
  normalization,
  proposals,
  pyramid_factory,
  refinement,
  window_evidence,
)
from mtl_ssl_tf.modeling.acceleration import folding, resnet_stage2
from mtl_ssl_tf.modeling.backbones import base, layers, registry, resnet
from mtl_ssl_tf.modeling.heads import base as heads_base
from mtl_ssl_tf.modeling.heads import (
  foreground_head,
  pooling,
  rfcn_heads,
  roi_heads,
  rpn_head,
)


def build_backbone(
  config: detector_config.Backbone, norm_fn: layers.NormFn | None = None
) -> base.Backbone:
  """Returns the backbone that `config.type` names.

  Args:
    config: its settings.
    norm_fn: makes the normalisation layers; None makes those of `config.norm`.

  Raises:
    ValueError: for an unknown type.
  """
  norm_fn = norm_fn or functools.partial(_norm, config.norm)
  backbone = registry.build(config.type, norm_fn, config)
  return backbone.with_conv_norm(folding.conv_norm)


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
  """Returns a detector with all its variables, the auxiliary stages as `auxiliary.init_from` says.

  Args:
    config: the task's configuration.
    num_classes: int, C, background included.
    crop_method: how regions are cut out, see `crop_ops`; `matmul` compiles under XLA. With
      `native`, non-maximum suppression runs by a native kernel, too.
    precision: type that the stages compute in: `float32`, `bfloat16` or `float16`. Variables are
      float32 in any case.

  Raises:
    ValueError: if `roi_head.convolution` does not go with this precision, the backbone is unknown,
      or has no maps for a pyramid or no second stage with so small an
      `auxiliary.shared_map.stride`.
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
  auxiliary = config.auxiliary
  # Where one native kernel runs, so does the other.
  nms_method = "native" if crop_method == "native" else "loop"
  first_stage = _first_stage_parts(config, backbone, crop_method, nms_method)
  box_head, multi_object_head, closeness_head = _RegionHeads(
    config, backbone, num_classes, crop_method, _by_fourier(config, crop_method, precision)
  ).make_all()
  model = detector.Detector(
    backbone=backbone,
    **first_stage,
    box_head=box_head,
    multi_object_head=multi_object_head,
    closeness_head=closeness_head,
    foreground=_foreground_head(auxiliary.foreground),
    refinement_stage=_refinement_stage(config.refinement, num_classes),
    detection_generator=detections.DetectionGenerator(
      config.detections.score_threshold,
      config.detections.nms_iou,
      config.detections.max_per_class,
      config.detections.max_total,
      nms_method,
    ),
    stop_gradient_shared=auxiliary.stop_gradient_shared,
    stop_gradient_foreground=(
      auxiliary.stop_gradient_shared and auxiliary.stop_gradient_includes_foreground
    ),
    rows_are_independent=all(
      norm in (*normalization.INDEPENDENT_NORM_TYPES, "none")
      for norm in detector_config.norm_types(config)
    ),
    name="detector",
  )
  freeze = config.backbone.freeze
  model.stage1.freeze(backbone.default_freeze if freeze is None else freeze)
  model.build_variables()
  if auxiliary.init_from == "main_stage2":
    model.start_auxiliary_heads_like_main()
  return model


def _first_stage_parts(
  config: detector_config.MtlDetection, backbone: base.Backbone, crop_method: str, nms_method: str
) -> dict[str, object]:
  """Returns the arguments of `Detector` that are others on a pyramid, but for heads on boxes."""
  rpn = config.rpn
  if config.roi_head.type == "fpn":
    pyramid_factory.check_backbone(backbone)
    parts = pyramid_factory.PyramidParts(config, crop_method, nms_method)
    anchor_grid = parts.anchor_grid()
    return {
      "pyramid": parts.pyramid(),
      "pyramid_cropper": parts.cropper(),
      "anchor_grid": anchor_grid,
      "rpn": rpn_head.PyramidRpnHead(
        anchor_grid.anchors_per_cell, rpn.depth, rpn.num_convs, name="rpn"
      ),
      "proposal_generator": parts.proposal_generator(),
    }
  anchor_grid = proposals.AnchorGrid(
    backbone.stride,
    config.anchors.base_size_px,
    tuple(config.anchors.scales),
    tuple(config.anchors.aspect_ratios),
    config.anchors.whole_px,
  )
  return {
    "anchor_grid": anchor_grid,
    "rpn": rpn_head.RpnHead(anchor_grid.anchors_per_cell, rpn.depth, rpn.num_convs, name="rpn"),
    "proposal_generator": proposals.ProposalGenerator(
      rpn.nms_iou, rpn.num_proposals, rpn.pre_nms_top_k or None, nms_method
    ),
  }


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


@dataclasses.dataclass(frozen=True)
class _RegionHeads:
  """Makes the main, the multi-object and the closeness head."""

  config: detector_config.MtlDetection
  backbone: base.Backbone
  num_classes: int
  crop_method: str
  by_fourier: bool

  def make_all(
    self,
  ) -> tuple[heads_base.MainHead, heads_base.AuxiliaryHead | None, heads_base.AuxiliaryHead | None]:
    """Returns the three heads in this order; None where one is left out."""
    auxiliary = self.config.auxiliary
    main = self._main()
    heads = {"multi_object": auxiliary.multi_object, "closeness": auxiliary.closeness}
    return main, *(
      self._auxiliary(name, main) if task.loss_weight else None for name, task in heads.items()
    )

  def _main(self) -> heads_base.MainHead:
    roi_head = self.config.roi_head
    if roi_head.type == "rfcn":
      depth, stage2 = roi_head.rfcn.reduce_depth, self._stage2()
      pooler = self._pooler(roi_head.rfcn)
      return rfcn_heads.MapBoxHead(stage2, self.num_classes, pooler, depth, name="box_head")
    if self._on_pyramid is not None and roi_head.cascade.enabled:
      return self._on_pyramid.cascade_head(self.num_classes)
    return roi_heads.BoxHead(
      self._crop_features(),
      self.num_classes,
      roi_head.initializer,
      roi_head.class_agnostic_boxes,
      name="box_head",
    )

  def _auxiliary(self, name: str, main: heads_base.MainHead) -> heads_base.AuxiliaryHead:
    roi_head, auxiliary = self.config.roi_head, self.config.auxiliary
    if auxiliary.features == "main_head":
      return roi_heads.FeatureClassifier(
        main.crop_features, self.num_classes, auxiliary.stop_gradient_shared, name=name
      )
    if auxiliary.features == "shared_map":
      if self._on_pyramid is not None:
        return self._on_pyramid.map_head(name, self.num_classes)
      return self._shared_map_head(name)
    if roi_head.type == "rfcn":
      depth, stage2 = roi_head.rfcn.reduce_depth, self._stage2()
      pooler = self._pooler(roi_head.rfcn)
      return rfcn_heads.MapClassifier(stage2, self.num_classes, pooler, depth, name=name)
    return roi_heads.CropClassifier(self._crop_features(), self.num_classes, name=name)

  def _shared_map_head(self, name: str) -> rfcn_heads.MapClassifier:
    """Returns an auxiliary head whose maps have every `config.stride`-th cell of the shared map.

    Raises:
      ValueError: the second stage has no form with so small a stride.
    """
    config = self.config.auxiliary.shared_map
    stride, rest = divmod(config.stride, self.backbone.stage2_stride)
    dense = bool(rest)
    stride = config.stride if dense else stride
    try:
      # A backbone without a stride in its second stage need not know of dense forms.
      stage2 = self.backbone.make_stage2("stage2", dense) if dense else self._stage2()
    except ValueError as error:
      raise ValueError(
        f"task.auxiliary.shared_map.stride is {config.stride}; accepted:"
        f" {self.backbone.stage2_stride} with this backbone: {error}"
      ) from error
    pooler = self._pooler(config, stride, dense)
    return rfcn_heads.MapClassifier(
      stage2, self.num_classes, pooler, config.reduce_depth, stride, name=name
    )

  @property
  def _on_pyramid(self) -> pyramid_factory.PyramidParts | None:
    if self.config.roi_head.type != "fpn":
      return None
    return pyramid_factory.PyramidParts(self.config, self.crop_method, "loop")

  def _stage2(self) -> base.Stage:
    return self.backbone.make_stage2("stage2")

  def _pooler(
    self,
    config: detector_config.Rfcn | auxiliary_config.SharedMap,
    stride: int = 1,
    dense: bool = False,
  ) -> pooling.PsRoiPooler:
    return pooling.PsRoiPooler(
      self.backbone.stride * stride,
      config.num_bins,
      config.crop_size,
      self.crop_method,
      self.config.roi_head.keep_border,
      None if dense else self.backbone.stage2_cells,
    )

  def _crop_features(self) -> pooling.CropFeatures:
    """Returns features by a second stage of their own, as accelerated as is configured."""
    if self._on_pyramid is not None:
      return self._on_pyramid.box_features()
    config = self.config.roi_head
    cropper = pooling.Cropper(
      self.backbone.stride, config.crop_size, config.max_pool, self.crop_method, config.keep_border
    )
    stage2 = self._stage2()
    if not isinstance(stage2, resnet.ResNetStage2):
      return pooling.CropFeatures(cropper, stage2)
    return resnet_stage2.AcceleratedCropFeatures(
      cropper,
      stage2,
      # Basic blocks do not begin with 1 x 1 convolutions, and max-pooling of a crop cannot change
      # places with them.
      projects=stage2.has_bottlenecks and config.max_pool == 1,
      fourier_side=config.crop_size // config.max_pool if self.by_fourier else None,
    )


def _foreground_head(
  config: auxiliary_config.Foreground,
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
    config.zeroed_input,
    name="refinement",
  )


def _refinement_stage(
  config: detector_config.Refinement, num_classes: int
) -> refinement.RefinementStage | None:
  layer = build_refiner(config, num_classes)
  if layer is None:
    return None
  return refinement.RefinementStage(
    layer,
    window_evidence.WindowEvidence(num_classes, config.num_windows),
    config.closeness_mean,
    config.min_object_score,
    config.max_proposals,
  )
