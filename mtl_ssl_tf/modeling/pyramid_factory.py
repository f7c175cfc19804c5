"""Configuration to the parts of a detector on a feature pyramid, for `factory`."""

import dataclasses
import functools
from collections.abc import Callable

import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import normalization, proposals, pyramid, pyramid_proposals
from mtl_ssl_tf.modeling.backbones import base, layers
from mtl_ssl_tf.modeling.heads import (
  box_stages,
  cascade_head,
  pyramid_heads,
  pyramid_pooling,
  roi_heads,
)

# Of each level, where `rpn.pre_nms_top_k` is 0: as published.
PRE_NMS_TOP_K = 1000
# As torchvision's and detectron2's layers have it.
NORM_EPSILON = 1e-5


def check_backbone(
  backbone: base.Backbone,
  field: str = "task.roi_head.type",
  accepted: str = "faster_rcnn or rfcn",
) -> None:
  """Refuses backbones without maps for a pyramid, which `field` asks for, naming the `accepted`.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  try:
    _ = backbone.map_depths
  except ValueError as error:
    raise ValueError(
      f"{field} is 'fpn'; accepted: {accepted} with this backbone: {error}"
    ) from error


@dataclasses.dataclass(frozen=True)
class PyramidParts:
  """Makes the parts of a detector that are others on a pyramid.

  Attributes:
    config: the task's configuration.
    crop_method: one of `crop_ops.METHODS`.
    nms_method: one of `nms_ops.METHODS`.
    make_norm: makes a normalisation of a type, as `normalization.make_norm`.
  """

  config: detector_config.MtlDetection
  crop_method: str
  nms_method: str
  make_norm: Callable[..., tf_keras.layers.Layer] = normalization.make_norm

  def pyramid(self) -> pyramid.FeaturePyramid:
    """Returns the pyramid."""
    fpn = self.config.fpn
    return pyramid.FeaturePyramid(
      fpn.depth,
      fpn.min_level,
      fpn.max_level,
      fpn.coarser,
      self._norm_fn(fpn.norm),
      name="pyramid",
    )

  def anchor_grid(self) -> pyramid_proposals.PyramidAnchorGrid:
    """Returns the anchors, of the same shapes in cells on every level."""
    anchors, fpn = self.config.anchors, self.config.fpn
    grids = [
      proposals.AnchorGrid(
        2**level,
        anchors.cells * 2**level,
        tuple(anchors.level_scales),
        tuple(anchors.aspect_ratios),
        anchors.whole_px,
      )
      for level in range(fpn.min_level, fpn.max_level + 1)
    ]
    return pyramid_proposals.PyramidAnchorGrid(tuple(grids))

  def proposal_generator(self) -> pyramid_proposals.PyramidProposalGenerator:
    """Returns what makes proposals of all levels."""
    rpn = self.config.rpn
    return pyramid_proposals.PyramidProposalGenerator(
      rpn.nms_iou, rpn.num_proposals, rpn.pre_nms_top_k or PRE_NMS_TOP_K, self.nms_method
    )

  def cropper(self) -> pyramid_pooling.PyramidCropper:
    """Returns what crops boxes for second stages."""
    fpn, roi_head = self.config.fpn, self.config.roi_head
    return pyramid_pooling.PyramidCropper(
      fpn.min_level,
      min(fpn.max_level, pyramid.TOP_MAP_LEVEL),
      roi_head.crop_size,
      roi_head.fpn.canonical_size_px,
      roi_head.fpn.samples,
      self.crop_method,
    )

  def box_features(self) -> pyramid_pooling.PyramidFeatures:
    """Returns features of boxes by a second stage of their own."""
    return pyramid_pooling.PyramidFeatures(self.cropper(), self.box_stage())

  def box_stage(self) -> box_stages.BoxStage:
    """Returns a second stage."""
    head = self.config.roi_head.fpn
    return box_stages.BoxStage(
      head.layers, head.dense_depth, head.conv_depth, self._norm_fn(head.norm), name="stage2"
    )

  def cascade_head(self, num_classes: int) -> cascade_head.CascadeHead:
    """Returns a cascade of main heads, each with a second stage of its own."""
    roi_head = self.config.roi_head
    factors = roi_head.cascade.delta_factors
    features = [self.box_features() for _ in factors]
    heads = [
      roi_heads.BoxHead(
        # So maps learn as much from all stages together as from a head that is alone.
        dataclasses.replace(features[i], gradient_share=1.0 / len(factors)),
        num_classes,
        roi_head.initializer,
        class_agnostic=True,
        name=f"stage_{i + 1}",
      )
      for i in range(len(factors))
    ]
    return cascade_head.CascadeHead(heads, factors, features[-1], name="box_head")

  def map_head(self, name: str, num_classes: int) -> pyramid_heads.PyramidMapClassifier:
    """Returns an auxiliary head that runs once over every map."""
    shared_map = self.config.auxiliary.shared_map
    cropper = dataclasses.replace(self.cropper(), size=shared_map.crop_size, num_samples=1)
    depth = shared_map.reduce_depth or self.config.fpn.depth
    return pyramid_heads.PyramidMapClassifier(cropper, num_classes, depth, name=name)

  def _norm_fn(self, norm_type: str) -> layers.NormFn | None:
    if norm_type == "none":
      return None
    norm = self.config.backbone.norm
    return functools.partial(
      self.make_norm,
      norm_type,
      momentum=norm.momentum,
      groups=norm.groups,
      epsilon=NORM_EPSILON,
    )
