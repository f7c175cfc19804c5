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
  """Regions of an image's maps: what these heads take in the place of crops.

  Attributes:
    maps: what the head's `view` returned.
    boxes_norm: float32 [B, R, 4], fractions of the image content.
    map_size: float32 [B, 2], rows and columns of the maps that belong to the content.
  """

  maps: tf.Tensor | tuple[tf.Tensor, ...]
  boxes_norm: tf.Tensor
  map_size: tf.Tensor


class Pooling(NamedTuple):
  """Channels of the reduced map, 0 for the second stage's own output; bins and samples a side of a
  region; the rest as in `crop_ops`.
  """

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

  Besides R-FCN's own heads, the auxiliary heads of `auxiliary.trunk: shared_map` are of this kind.

  Attributes:
    stage2: the second stage.
    stride: the second stage sees every so many-th row and column of the shared map.
    dense: whether the second stage is of the dense form (`base.Backbone.make_stage2`).
    reduce: 1 x 1 convolution with ReLU to `reduce_depth` channels, or None.
    classifier: 1 x 1 convolution to C score maps for each bin.
  """

  def __init__(
    self,
    stage2: base.Stage,
    num_classes: int,
    pooling: Pooling,
    stride: int = 1,
    dense: bool = False,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.stage2 = stage2
    self.stride = stride
    self.dense = dense
    self._pooling = pooling
    self.reduce = None
    if pooling.reduce_depth:
      self.reduce = _conv(pooling.reduce_depth, "relu", "reduce")
    self.classifier = _conv(pooling.num_bins**2 * num_classes, None, "class")

  @property
  def last_kernels(self) -> list[tf.Variable]:
    layers = (self.classifier,) if self.reduce is None else (self.reduce, self.classifier)
    return [layer.kernel for layer in layers]

  def reduced_map(self, features: tf.Tensor, training: bool) -> tf.Tensor:
    """Returns the map [B, h', w', d] that score maps are made from.

    With a stride, a 1 x 1 convolution with that stride, as second stages of ResNet begin, would see
    just these cells.
    """
    seen = features[:, :: self.stride, :: self.stride]
    maps = self.stage2(seen, training=training)  # [B, h', w', depth]
    return maps if self.reduce is None else self.reduce(maps)

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

  def view(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Returns the maps that `look` pools, once an image."""
    return self(features, training=training)

  def look(self, regions: MapRegions, training: bool = False) -> tf.Tensor:
    """Returns logits [B R, C]."""
    del training  # That was a matter of the view.
    return self.pool(regions.maps, regions)

  def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Returns score maps [B, h', w', bins C] of the shared map [B, h, w, c]."""
    return self.classifier(self.reduced_map(features, training))


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

  def look(self, regions: MapRegions, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns logits [B R, C] and box codes [B R, C - 1, 4]."""
    del training
    class_maps, box_maps = regions.maps
    deltas = self.pool(box_maps, regions)  # [B R, 4 (C - 1)]
    deltas = tf.reshape(deltas, [-1, self._num_codes // 4, 4])  # [B R, C - 1, 4]
    return self.pool(class_maps, regions), deltas

  def call(self, features: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns score maps [B, h', w', bins C] and box maps [B, h', w', bins 4 (C - 1)]."""
    reduced = self.reduced_map(features, training)  # [B, h', w', reduce_depth]
    return self.classifier(reduced), self.box(reduced)
