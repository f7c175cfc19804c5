"""Heads on crops of the shared map or of a pyramid: the main head, two auxiliary classifiers.

What comes after their second stage is float32, in mixed precision too.
"""

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.modeling.backbones import base as backbone_base
from mtl_ssl_tf.modeling.heads import base, pooling

INIT_STDDEV = 0.01


INITIALIZERS = {
  "truncated_normal": lambda: tf_keras.initializers.TruncatedNormal(stddev=INIT_STDDEV),
  "glorot_uniform": tf_keras.initializers.GlorotUniform,
}


def _dense(units: int, name: str, initializer: str) -> tf_keras.layers.Dense:
  fields.check_value(detector_config.RoiHead, "initializer", initializer)
  start = INITIALIZERS[initializer]()
  return tf_keras.layers.Dense(units, kernel_initializer=start, dtype="float32", name=name)


class CropClassifier(tf_keras.layers.Layer):
  """A second stage of its own, average pooling and class logits; see `base.AuxiliaryHead`.

  With `auxiliary.features: own_stage2` the multi-object and the closeness head are of this kind
  (Lee et al., CVPR 2019, sec. 3).

  Attributes:
    crop_features: from boxes to the features that are classified.
    stage2: the second stage.
    classifier: from features to class logits.
  """

  runs_on_crops = True
  uses_box_features = False
  prepare_depends_on_mode = False

  def __init__(
    self,
    crop_features: pooling.CropFeatures,
    num_classes: int,
    initializer: str = "truncated_normal",
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.crop_features = crop_features
    self.stage2 = crop_features.stage
    self.classifier = _dense(num_classes, "class", initializer)

  @property
  def stages(self) -> list[backbone_base.Stage]:
    return [self.stage2]

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [self.classifier.kernel]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {"ClassPredictor": self.classifier}

  def prepare(self, features: tf.Tensor, training: bool = False) -> base.PreparedFeatures:
    del training  # The same in both modes.
    return self.crop_features.prepare(features)

  def call(
    self,
    prepared: base.PreparedFeatures,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
    box_features: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Returns logits [B, R, C]."""
    del box_features  # Those of another second stage.
    features = self.crop_features(prepared, boxes_norm, image_size_px, training)  # [B R, depth]
    return base.by_box(self.classifier(features), boxes_norm.shape[1])


class BoxHead(CropClassifier):
  """The main head: class logits and box deltas, of each class or of all; see `base.MainHead`."""

  def __init__(
    self,
    crop_features: pooling.CropFeatures,
    num_classes: int,
    initializer: str = "truncated_normal",
    class_agnostic: bool = False,
    **kwargs,
  ):
    super().__init__(crop_features, num_classes, initializer, **kwargs)
    self.box = _dense(4 * (1 if class_agnostic else num_classes - 1), "box", initializer)

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [self.classifier.kernel, self.box.kernel]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {**super().named_layers(), "BoxEncodingPredictor": self.box}

  def call(
    self,
    prepared: base.PreparedFeatures,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
  ) -> base.BoxOutputs:
    num_boxes = boxes_norm.shape[1]
    features = self.crop_features(prepared, boxes_norm, image_size_px, training)  # [B R, depth]
    deltas = tf.reshape(self.box(features), [-1, self.box.units // 4, 4])  # [B R, C - 1 or 1, 4]
    return base.BoxOutputs(
      base.by_box(self.classifier(features), num_boxes),  # [B, R, C]
      base.by_box(deltas, num_boxes),  # [B, R, C - 1 or 1, 4]
      base.by_box(features, num_boxes),  # [B, R, depth]
    )


class FeatureClassifier(tf_keras.layers.Layer):
  """Class logits of the main head's features: an auxiliary head without a second stage.

  Its task trains the main second stage in place of its own, unless `stop_gradient` keeps it out.
  """

  runs_on_crops = True
  uses_box_features = True
  prepare_depends_on_mode = False

  def __init__(
    self, crop_features: pooling.CropFeatures, num_classes: int, stop_gradient: bool, **kwargs
  ):
    """Takes `crop_features` of the main head; the head itself would be tracked as part of this."""
    super().__init__(**kwargs)
    self.crop_features = crop_features
    self._stop_gradient = stop_gradient
    self.classifier = _dense(num_classes, "class", "truncated_normal")

  @property
  def stages(self) -> list[backbone_base.Stage]:
    return []

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [self.classifier.kernel]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {"ClassPredictor": self.classifier}

  def prepare(self, features: tf.Tensor, training: bool = False) -> base.PreparedFeatures:
    del training  # The same in both modes.
    return self.crop_features.prepare(features)

  def call(
    self,
    prepared: base.PreparedFeatures,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
    box_features: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Returns logits [B, R, C]."""
    if box_features is None:
      features = self.crop_features(prepared, boxes_norm, image_size_px, training)  # [B R, depth]
    else:
      features = tf.reshape(box_features, [-1, box_features.shape[-1]])  # [B R, depth]
    features = tf.stop_gradient(features) if self._stop_gradient else features
    return base.by_box(self.classifier(features), boxes_norm.shape[1])
