"""Heads on crops of the shared map: the main head and the two auxiliary classifiers.

What comes after their second stage is float32, in mixed precision too.
"""

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base

INIT_STDDEV = 0.01


INITIALIZERS = {
  "truncated_normal": lambda: tf_keras.initializers.TruncatedNormal(stddev=INIT_STDDEV),
  "glorot_uniform": tf_keras.initializers.GlorotUniform,
}


def _dense(units: int, name: str, initializer: str) -> tf_keras.layers.Dense:
  initializer = INITIALIZERS[initializer]()
  return tf_keras.layers.Dense(units, kernel_initializer=initializer, dtype="float32", name=name)


class CropClassifier(tf_keras.layers.Layer):
  """A second stage of its own, average pooling and class logits.

  The multi-object and the closeness head are of this kind (Lee et al., CVPR 2019, sec. 3).
  """

  def __init__(
    self, stage2: base.Stage, num_classes: int, initializer: str = "truncated_normal", **kwargs
  ):
    super().__init__(**kwargs)
    self.stage2 = stage2
    self.classifier = _dense(num_classes, "class", initializer)

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [self.classifier.kernel]

  def pool(self, crops: tf.Tensor, training: bool) -> tf.Tensor:
    """Returns pooled second-stage features [R, depth] of crops [R, h, w, c]."""
    features = tf.cast(self.stage2(crops, training=training), tf.float32)  # [R, h', w', depth]
    return tf.reduce_mean(features, axis=[1, 2])

  def call(self, crops: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Returns logits [R, C] of crops [R, h, w, c]."""
    return self.classifier(self.pool(crops, training))


class BoxHead(CropClassifier):
  """The main head: class logits and class-specific box codes."""

  def __init__(
    self, stage2: base.Stage, num_classes: int, initializer: str = "truncated_normal", **kwargs
  ):
    super().__init__(stage2, num_classes, initializer, **kwargs)
    self.box = _dense(4 * (num_classes - 1), "box", initializer)

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [self.classifier.kernel, self.box.kernel]

  def call(self, crops: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns logits [R, C] and box codes [R, C - 1, 4] of crops [R, h, w, c]."""
    pooled = self.pool(crops, training)  # [R, depth]
    deltas = tf.reshape(self.box(pooled), [-1, self.box.units // 4, 4])  # [R, C - 1, 4]
    return self.classifier(pooled), deltas
