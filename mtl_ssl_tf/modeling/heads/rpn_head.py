"""The region proposal network's convolutions."""

from typing import NamedTuple

import tensorflow as tf
import tf_keras

INIT_STDDEV = 0.01


class RpnOutputs(NamedTuple):
  """Outputs of the head for every anchor.

  Attributes:
    deltas: float32 [B, A, 4], encoded boxes.
    logits: float32 [B, A, 2], background and object.
    features: float32 [B, h, w, depth], the head's hidden map; of a pyramid, one for each level.
  """

  deltas: tf.Tensor
  logits: tf.Tensor
  features: tf.Tensor | tuple[tf.Tensor, ...]


def _initializer() -> tf_keras.initializers.Initializer:
  return tf_keras.initializers.TruncatedNormal(stddev=INIT_STDDEV)


def _conv(depth: int, name: str) -> tf_keras.layers.Layer:
  return tf_keras.layers.Conv2D(
    depth, 3, padding="same", activation="relu", kernel_initializer=_initializer(), name=name
  )


class RpnHead(tf_keras.layers.Layer):
  """3 x 3 convolutions with ReLU, then 1 x 1 convolutions to box deltas and two logits.

  The last two compute in float32, in mixed precision too: logits of 8 bits would be full of ties,
  and proposals come in their order.
  """

  def __init__(self, anchors_per_cell: int, depth: int, num_convs: int = 1, **kwargs):
    super().__init__(**kwargs)
    self.conv = _conv(depth, "conv")
    if num_convs > 1:  # An empty list would be an object in checkpoints.
      self.more_convs = [_conv(depth, f"conv_{i}") for i in range(1, num_convs)]
    self.box = tf_keras.layers.Conv2D(
      4 * anchors_per_cell, 1, kernel_initializer=_initializer(), dtype="float32", name="box"
    )
    self.objectness = tf_keras.layers.Conv2D(
      2 * anchors_per_cell,
      1,
      kernel_initializer=_initializer(),
      dtype="float32",
      name="objectness",
    )

  @property
  def convs(self) -> list[tf_keras.layers.Layer]:
    """The 3 x 3 convolutions in their order."""
    return [self.conv, *getattr(self, "more_convs", [])]

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    return [layer.kernel for layer in (*self.convs, self.box, self.objectness)]

  def call(self, features: tf.Tensor) -> RpnOutputs:
    hidden = features
    for conv in self.convs:
      hidden = conv(hidden)  # [B, h, w, depth]
    batch_size = tf.shape(hidden)[0]
    num_anchors = hidden.shape[1] * hidden.shape[2] * (self.box.filters // 4)
    deltas = tf.reshape(self.box(hidden), [batch_size, num_anchors, 4])  # [B, A, 4]
    logits = tf.reshape(self.objectness(hidden), [batch_size, num_anchors, 2])
    return RpnOutputs(deltas, logits, hidden)


class PyramidRpnHead(RpnHead):
  """The same convolutions on every map of a pyramid; anchors follow each other level by level.

  Reference: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, section 4.1.
  """

  def call(self, features: tuple[tf.Tensor, ...]) -> RpnOutputs:
    outputs = [super(PyramidRpnHead, self).call(m) for m in features]
    deltas, logits, hidden = zip(*outputs, strict=True)
    return RpnOutputs(tf.concat(deltas, axis=1), tf.concat(logits, axis=1), hidden)
