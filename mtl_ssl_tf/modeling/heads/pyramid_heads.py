"""Auxiliary heads that run once over every map of a pyramid; boxes are pooled afterwards."""

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base as backbone_base
from mtl_ssl_tf.modeling.heads import base, pyramid_pooling
from mtl_ssl_tf.ops import pyramid_ops

INIT_STDDEV = 0.01


class PyramidMapClassifier(tf_keras.layers.Layer):
  """A 3 x 3 convolution, score maps of each level and their mean over a box.

  An auxiliary head of `auxiliary.features: shared_map` on a pyramid; see `base.AuxiliaryHead`. The
  layers are the same on all levels, and a box takes those of the level that it is cropped from.

  Attributes:
    cropper: from score maps to boxes.
    reduce: 3 x 3 convolution with ReLU.
    classifier: 1 x 1 convolution to C score maps.
  """

  runs_on_crops = False
  uses_box_features = False
  prepare_depends_on_mode = False

  def __init__(
    self,
    cropper: pyramid_pooling.PyramidCropper,
    num_classes: int,
    reduce_depth: int,
    **kwargs,
  ):
    super().__init__(autocast=False, **kwargs)  # Score maps keep their bits.
    self.cropper = cropper
    self.reduce = tf_keras.layers.Conv2D(
      reduce_depth,
      3,
      padding="same",
      activation="relu",
      kernel_initializer=tf_keras.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal"),
      name="reduce",
    )
    self.classifier = tf_keras.layers.Conv2D(
      num_classes,
      1,
      kernel_initializer=tf_keras.initializers.TruncatedNormal(stddev=INIT_STDDEV),
      dtype="float32",
      name="class",
    )

  @property
  def stages(self) -> list[backbone_base.Stage]:
    return []

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [layer.kernel for layer in self.named_layers().values()]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {"reduce_depth": self.reduce, "class_predictions": self.classifier}

  def prepare(
    self, features: pyramid_ops.PackedMaps, training: bool = False
  ) -> tuple[tf.Tensor, ...]:
    """Returns score maps [B, h, w, C] of the levels that boxes are cropped from."""
    del training  # The same in both modes.
    num_levels = self.cropper.max_level - self.cropper.min_level + 1
    with tf.name_scope(self.name):  # For the names of variables.
      return tuple(self.classifier(self.reduce(maps)) for maps in features.maps[:num_levels])

  def call(
    self,
    prepared: tuple[tf.Tensor, ...],
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
    box_features: None = None,
  ) -> tf.Tensor:
    """Returns logits [B, R, C]."""
    del training, box_features  # All but the pooling is done.
    packed = self.cropper.pack(prepared, image_size_px)
    crops = self.cropper(packed, boxes_norm, image_size_px)  # [B R, s, s, C]
    return base.by_box(tf.reduce_mean(crops, axis=[1, 2]), boxes_norm.shape[1])
