"""Features of boxes: crops of the shared map, and position-sensitive means of score maps."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.ops import crop_ops, psroi_ops


@dataclasses.dataclass(frozen=True)
class Cropper:
  """Cuts boxes out of a map of the image.

  Attributes:
    stride: pixels from one cell of the map to the next.
    size: rows and columns of a crop.
    max_pool: side and stride of the max-pooling after it, 1 for none.
    method, keep_border: see `crop_ops`.
  """

  stride: int
  size: int
  max_pool: int = 1
  method: str = "native"
  keep_border: bool = True

  def __call__(self, maps: tf.Tensor, boxes_norm: tf.Tensor, image_size_px: tf.Tensor) -> tf.Tensor:
    """Returns crops [B R, s, s, c] of maps [B, h, w, c] at boxes [B, R, 4]."""
    crops = crop_ops.crop_and_resize(
      maps,
      boxes_norm,
      image_size_px,
      self.stride,
      (self.size, self.size),
      self.method,
      self.keep_border,
    )  # [B, R, s, s, c]
    crops = tf.reshape(crops, [-1, self.size, self.size, maps.shape[-1]])  # [B R, s, s, c]
    if self.max_pool == 1:
      return crops
    return tf.nn.max_pool2d(crops, self.max_pool, self.max_pool, "VALID")


@dataclasses.dataclass(frozen=True)
class CropFeatures:
  """Crop, second stage, mean: one vector of features for each box.

  `acceleration` has a faster way to the same features.

  Attributes:
    cropper: cuts out the boxes.
    stage: the second stage.
  """

  cropper: Cropper
  stage: base.Stage

  def prepare(self, features: tf.Tensor) -> Any:
    """Returns what a call takes in place of the shared map [B, h, w, c]: here the map itself."""
    return features

  def __call__(
    self, prepared: Any, boxes_norm: tf.Tensor, image_size_px: tf.Tensor, training: bool
  ) -> tf.Tensor:
    """Returns float32 [B R, depth] of boxes [B, R, 4]; `prepared` is of `prepare`."""
    crops = self.cropper(prepared, boxes_norm, image_size_px)  # [B R, s, s, c]
    net = self.stage(crops, training=training)  # [B R, s', s', depth]
    return tf.reduce_mean(tf.cast(net, tf.float32), axis=[1, 2])


@dataclasses.dataclass(frozen=True)
class PsRoiPooler:
  """Position-sensitive pooling of boxes on score maps (Dai et al., "R-FCN", 2016).

  Attributes:
    stride: pixels from one cell that the second stage sees to the next.
    num_bins: a side of a box.
    crop_size: samples a side of a box.
    method, keep_border: see `crop_ops`.
    stage2_cells: rows or columns of the second stage's output, given those of its input; None for
      equal.
  """

  stride: int
  num_bins: int
  crop_size: int
  method: str = "native"
  keep_border: bool = True
  stage2_cells: Callable[[tf.Tensor], tf.Tensor] | None = None

  def map_size(self, image_size_px: tf.Tensor) -> tf.Tensor:
    """Returns float32 [B, 2], rows and columns of the score maps that belong to the content."""
    cells = tf.math.ceil(image_size_px / self.stride)
    return cells if self.stage2_cells is None else self.stage2_cells(cells)

  def __call__(
    self, score_maps: tf.Tensor, boxes_norm: tf.Tensor, image_size_px: tf.Tensor
  ) -> tf.Tensor:
    """Returns [B, R, d] of score maps [B, h', w', bins d]; float32 in mixed precision too.

    Only what is pooled, the mean of many samples, needs all its bits. The maps are the larger part
    of the work.
    """
    pooled = psroi_ops.position_sensitive_pool(
      tf.cast(score_maps, tf.float32),
      boxes_norm,
      self.map_size(image_size_px),
      self.num_bins,
      self.crop_size,
      self.method,
      self.keep_border,
    )
    # The number of boxes is static, which the native kernel forgets.
    return tf.reshape(pooled, [-1, boxes_norm.shape[1], pooled.shape[-1]])
