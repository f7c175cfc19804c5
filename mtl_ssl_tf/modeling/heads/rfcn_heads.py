"""Position-sensitive heads (R-FCN): stage 2 runs on the whole map, boxes are pooled afterwards.

Every head has its own second stage, reduced map and score maps, as the Faster R-CNN heads have
their own second stage (`roi_heads.py`).
"""

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base as backbone_base
from mtl_ssl_tf.modeling.heads import base, pooling

INIT_STDDEV = 0.01


def _conv(channels: int, activation: str | None, name: str) -> tf_keras.layers.Layer:
  initializer = tf_keras.initializers.TruncatedNormal(stddev=INIT_STDDEV)
  return tf_keras.layers.Conv2D(
    channels, 1, activation=activation, kernel_initializer=initializer, name=name
  )


class MapClassifier(tf_keras.layers.Layer):
  """A second stage of its own, score maps and class logits; see `base.AuxiliaryHead`.

  R-FCN's own heads and the auxiliary heads of `auxiliary.features: shared_map` are of this kind.

  Attributes:
    stage2: the second stage.
    pooler: from score maps to boxes.
    stride: the second stage sees every so many-th row and column of the shared map.
    reduce: 1 x 1 convolution with ReLU to `reduce_depth` channels, or None.
    classifier: 1 x 1 convolution to C score maps for each bin.
  """

  runs_on_crops = False
  uses_box_features = False
  prepare_depends_on_mode = True

  def __init__(
    self,
    stage2: backbone_base.Stage,
    num_classes: int,
    pooler: pooling.PsRoiPooler,
    reduce_depth: int,
    stride: int = 1,
    **kwargs,
  ):
    """Takes parts as above; with `reduce_depth` 0 the second stage's own output is not reduced."""
    super().__init__(**kwargs)
    self.stage2 = stage2
    self.pooler = pooler
    self.stride = stride
    self.reduce = _conv(reduce_depth, "relu", "reduce") if reduce_depth else None
    self.classifier = _conv(pooler.num_bins**2 * num_classes, None, "class")

  @property
  def stages(self) -> list[backbone_base.Stage]:
    return [self.stage2]

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [layer.kernel for layer in self.named_layers().values()]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    reduce = {} if self.reduce is None else {"reduce_depth": self.reduce}
    return {**reduce, "class_predictions": self.classifier}

  def prepare(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Returns score maps [B, h', w', bins C] of the shared map [B, h, w, c]."""
    with tf.name_scope(self.name):  # For the names of variables.
      return self.classifier(self.reduced_map(features, training))

  def call(
    self,
    prepared: tf.Tensor,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
    box_features: None = None,
  ) -> tf.Tensor:
    """Returns logits [B, R, C]."""
    del training, box_features  # All but the pooling is done.
    return self.pooler(prepared, boxes_norm, image_size_px)

  def reduced_map(self, features: tf.Tensor, training: bool) -> tf.Tensor:
    """Returns the map [B, h', w', d] that score maps are made from.

    With a stride, a 1 x 1 convolution with that stride, as second stages of ResNet begin, would see
    just these cells.
    """
    seen = features[:, :: self.stride, :: self.stride]
    maps = self.stage2(seen, training=training)  # [B, h', w', depth]
    return maps if self.reduce is None else self.reduce(maps)


class MapBoxHead(MapClassifier):
  """The main head: class logits and class-specific box deltas; see `base.MainHead`.

  Attributes:
    box: 1 x 1 convolution to 4 (C - 1) maps for each bin.
  """

  def __init__(
    self,
    stage2: backbone_base.Stage,
    num_classes: int,
    pooler: pooling.PsRoiPooler,
    reduce_depth: int,
    **kwargs,
  ):
    super().__init__(stage2, num_classes, pooler, reduce_depth, **kwargs)
    self._num_deltas = 4 * (num_classes - 1)
    self.box = _conv(pooler.num_bins**2 * self._num_deltas, None, "box")

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {**super().named_layers(), "refined_locations": self.box}

  def prepare(self, features: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns score maps [B, h', w', bins C] and box maps [B, h', w', bins 4 (C - 1)]."""
    with tf.name_scope(self.name):
      reduced = self.reduced_map(features, training)  # [B, h', w', d]
      return self.classifier(reduced), self.box(reduced)

  def call(
    self,
    prepared: tuple[tf.Tensor, tf.Tensor],
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
  ) -> base.BoxOutputs:
    del training
    score_maps, box_maps = prepared
    deltas = self.pooler(box_maps, boxes_norm, image_size_px)  # [B, R, 4 (C - 1)]
    deltas = tf.reshape(deltas, [-1, boxes_norm.shape[1], self._num_deltas // 4, 4])
    return base.BoxOutputs(self.pooler(score_maps, boxes_norm, image_size_px), deltas, None)
