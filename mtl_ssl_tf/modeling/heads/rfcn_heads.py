"""Position-sensitive heads (R-FCN): stage 2 runs on the whole map, regions are pooled afterwards.

Every head has its own second stage, reduced map and score maps, as the Faster R-CNN heads have
their own second stage (`roi_heads.py`).
"""

from typing import NamedTuple

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.ops import psroi_ops

INIT_STDDEV = 0.01


class MapRegions(NamedTuple):
  """Regions of a shared map: what these heads take in the place of crops.

  Attributes:
    features: float32 [B, h, w, c], the shared map of the canvas.
    boxes_norm: float32 [B, R, 4], fractions of the image content.
    map_size: float32 [B, 2], rows and columns of stage 2's map that belong to the content.
  """

  features: tf.Tensor
  boxes_norm: tf.Tensor
  map_size: tf.Tensor


class Pooling(NamedTuple):
  """Channels of the reduced map; bins and samples a side of a region; the rest as in `crop_ops`."""

  reduce_depth: int
  num_bins: int
  crop_size: int
  method: str = "native"
  keep_border: bool = True


def _conv(channels: int, activation: str | None, name: str) -> tf_keras.layers.Layer:
  initializer = tf_keras.initializers.TruncatedNormal(stddev=INIT_STDDEV)
  return tf_keras.layers.Conv2D(
    channels, 1, activation=activation, kernel_initializer=initializer, name=name
  )


class MapClassifier(tf_keras.layers.Layer):
  """A second stage of its own, score maps and class logits.

  Attributes:
    stage2: the second stage.
    reduce: 1 x 1 convolution with ReLU to `reduce_depth` channels.
    classifier: 1 x 1 convolution to C score maps for each bin.
  """

  def __init__(self, stage2: base.Stage, num_classes: int, pooling: Pooling, **kwargs):
    # Boxes must not be rounded to the precision of the maps.
    super().__init__(autocast=False, **kwargs)
    self.stage2 = stage2
    self._pooling = pooling
    self.reduce = _conv(pooling.reduce_depth, "relu", "reduce")
    self.classifier = _conv(pooling.num_bins**2 * num_classes, None, "class")

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [self.reduce.kernel, self.classifier.kernel]

  def reduced_map(self, regions: MapRegions, training: bool) -> tf.Tensor:
    """Returns the map [B, h', w', reduce_depth] that score maps are made from."""
    return self.reduce(self.stage2(regions.features, training=training))

  def pool(self, score_maps: tf.Tensor, regions: MapRegions) -> tf.Tensor:
    """Returns [B R, d] of score maps [B, h', w', bins d]; float32 in mixed precision too.

    Only what is pooled, the mean of many samples, needs all its bits. The maps are the larger part
    of the work.
    """
    pooled = psroi_ops.position_sensitive_pool(
      tf.cast(score_maps, tf.float32),
      regions.boxes_norm,
      regions.map_size,
      self._pooling.num_bins,
      self._pooling.crop_size,
      self._pooling.method,
      self._pooling.keep_border,
    )  # [B, R, d]
    return tf.reshape(pooled, [-1, pooled.shape[-1]])

  def call(self, regions: MapRegions, training: bool = False) -> tf.Tensor:
    """Returns logits [B R, C]."""
    return self.pool(self.classifier(self.reduced_map(regions, training)), regions)


class MapBoxHead(MapClassifier):
  """The main head: class logits and class-specific box codes.

  Attributes:
    box: 1 x 1 convolution to 4 (C - 1) maps for each bin.
  """

  def __init__(self, stage2: base.Stage, num_classes: int, pooling: Pooling, **kwargs):
    super().__init__(stage2, num_classes, pooling, **kwargs)
    self._num_codes = 4 * (num_classes - 1)
    self.box = _conv(pooling.num_bins**2 * self._num_codes, None, "box")

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [*super().last_kernels, self.box.kernel]

  def call(self, regions: MapRegions, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns logits [B R, C] and box codes [B R, C - 1, 4]."""
    reduced = self.reduced_map(regions, training)  # [B, h', w', reduce_depth]
    deltas = self.pool(self.box(reduced), regions)  # [B R, 4 (C - 1)]
    deltas = tf.reshape(deltas, [-1, self._num_codes // 4, 4])  # [B R, C - 1, 4]
    return self.pool(self.classifier(reduced), regions), deltas
