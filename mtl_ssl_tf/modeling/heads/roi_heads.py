"""Heads on crops of the shared map: the main head and the two auxiliary classifiers.

What comes after their second stage is float32, in mixed precision too.
"""

from typing import NamedTuple

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


class CropView(NamedTuple):
  """A head's view of the shared map, once an image, or of crops.

  Attributes:
    maps: what crops are taken of: the map itself [B, h, w, c], or the second stage's projections of
      it (`base.Stage.project`); or crops of these.
    weights: what is made of the second stage's weights beforehand; the same for all crops.
  """

  maps: tf.Tensor | tuple[tf.Tensor, ...]
  weights: tuple[tuple[tf.Tensor, ...], ...]


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

  def view(self, features: tf.Tensor, project: bool = True) -> CropView:
    """Returns what the crops that `look` takes are crops of, once an image.

    Args:
      features: [B, h, w, c], the shared map; the head's variables exist.
      project: whether crops are to be of the projections.
    """
    maps = self.stage2.project(features) if project else features
    return CropView(maps, self.stage2.prepare_weights())

  def pool(self, crops: tf.Tensor | CropView, training: bool) -> tf.Tensor:
    """Returns pooled second-stage features [R, depth].

    Args:
      crops: [R, h, w, c] of the shared map, or crops of a `view`.
      training: bool.
    """
    if isinstance(crops, CropView):
      return self.stage2.pool(*crops, training)
    return self.stage2.pool(crops, self.stage2.prepare_weights(), training)

  def look(self, crops: tf.Tensor | CropView, training: bool = False) -> tf.Tensor:
    """Returns logits [R, C] of crops as `pool` takes them."""
    return self.classifier(self.pool(crops, training))

  def call(self, crops: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Returns logits [R, C] of crops [R, h, w, c] of the shared map."""
    return self.look(crops, training)


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

  def predict(self, pooled: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns logits [R, C] and box codes [R, C - 1, 4] of pooled features [R, depth]."""
    deltas = tf.reshape(self.box(pooled), [-1, self.box.units // 4, 4])  # [R, C - 1, 4]
    return self.classifier(pooled), deltas

  def look(
    self, crops: tf.Tensor | CropView, training: bool = False
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns logits and box codes of crops as `pool` takes them."""
    return self.predict(self.pool(crops, training))


class FeatureClassifier(tf_keras.layers.Layer):
  """Class logits of the main head's pooled features: an auxiliary head without a second stage.

  Its task trains the main second stage in place of its own, unless `stop_gradient` keeps it out.
  """

  def __init__(self, main: BoxHead, num_classes: int, stop_gradient: bool, **kwargs):
    super().__init__(**kwargs)
    # Methods and not the head, whose variables would be counted as this layer's too.
    self._view_of_main, self._pool_of_main = main.view, main.pool
    self._stop_gradient = stop_gradient
    self.classifier = _dense(num_classes, "class", "truncated_normal")

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [self.classifier.kernel]

  def view(self, features: tf.Tensor, project: bool = True) -> CropView:
    return self._view_of_main(features, project)

  def look(self, crops: tf.Tensor | CropView, training: bool = False) -> tf.Tensor:
    """Returns logits [R, C] of crops as `CropClassifier.pool` takes them."""
    return self(self._pool_of_main(crops, training))

  def call(self, pooled: tf.Tensor) -> tf.Tensor:
    """Returns logits [R, C] of the main head's pooled features [R, depth]."""
    return self.classifier(tf.stop_gradient(pooled) if self._stop_gradient else pooled)
