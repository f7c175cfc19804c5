"""Features of boxes on a feature pyramid: crops of the level that suits a box, and layers on them.

Heads that take `pooling.CropFeatures` take `PyramidFeatures` (`roi_heads`).
"""

import dataclasses

import tensorflow as tf

from mtl_ssl_tf.modeling.heads import pooling
from mtl_ssl_tf.ops import box_ops, gradient_ops, pyramid_ops


@dataclasses.dataclass(frozen=True)
class PyramidCropper:
  """Cuts boxes out of the level of a pyramid that suits their size; see `pyramid_ops`.

  Attributes:
    min_level, max_level: of the maps that boxes are cut from; a pyramid may have coarser ones.
    size: rows and columns of a crop.
    canonical_size_px: side of the square box that is cut from level 4.
    num_samples: samples a side of each cell of a crop.
    method: one of `crop_ops.METHODS`.
  """

  min_level: int
  max_level: int
  size: int
  canonical_size_px: float
  num_samples: int
  method: str = "native"

  def pack(self, maps: tuple[tf.Tensor, ...], image_size_px: tf.Tensor) -> pyramid_ops.PackedMaps:
    """Returns the maps of a pyramid over images of size `image_size_px` [B, 2] for a call."""
    num_levels = self.max_level - self.min_level + 1
    return pyramid_ops.pack(maps, image_size_px, self.min_level, num_levels, self.method)

  def __call__(
    self, packed: pyramid_ops.PackedMaps, boxes_norm: tf.Tensor, image_size_px: tf.Tensor
  ) -> tf.Tensor:
    """Returns crops [B R, s, s, c] of packed maps at boxes [B, R, 4]."""
    boxes_px = box_ops.denormalize(boxes_norm, image_size_px)
    levels = pyramid_ops.box_levels(
      boxes_px, self.min_level, self.max_level, self.canonical_size_px
    )
    return self.at_levels(packed, boxes_px, levels, image_size_px)

  def at_levels(
    self,
    packed: pyramid_ops.PackedMaps,
    boxes_px: tf.Tensor,
    levels: tf.Tensor,
    image_size_px: tf.Tensor,
  ) -> tf.Tensor:
    """Returns crops [B R, s, s, c] of boxes [B, R, 4] from given levels, int32 [B, R]."""
    crops = pyramid_ops.crop(
      packed,
      boxes_px,
      levels,
      image_size_px,
      min_level=self.min_level,
      crop_size=self.size,
      num_samples=self.num_samples,
    )  # [B, R, s, s, c]
    return tf.reshape(crops, [-1, self.size, self.size, crops.shape[-1]])  # [B R, s, s, c]


@dataclasses.dataclass(frozen=True)
class PyramidFeatures(pooling.CropFeatures):
  """Crop and second stage, whose output is a vector of features for each box.

  Attributes:
    cropper: cuts out the boxes.
    stage: from crops [B R, s, s, c] to features [B R, depth], a `box_stages.BoxStage`.
    gradient_share: of the crops' gradient, what the maps get.
  """

  cropper: PyramidCropper
  gradient_share: float = 1.0

  def __call__(
    self,
    prepared: pyramid_ops.PackedMaps,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool,
  ) -> tf.Tensor:
    crops = self.cropper(prepared, boxes_norm, image_size_px)  # [B R, s, s, c]
    if self.gradient_share != 1.0:
      crops = gradient_ops.scale_gradient(crops, self.gradient_share)
    return tf.cast(self.stage(crops, training=training), tf.float32)
