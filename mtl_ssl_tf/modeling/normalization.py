"""Normalisation layers, chosen by name: `frozen`, `batch`, `sync`, `group`."""

import math

import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import fields

NORM_TYPES = fields.choices_of(fields.field_of(detector_config.Norm, "type"))
# They treat a row of a batch alike whatever the other rows are, in training and at inference.
INDEPENDENT_NORM_TYPES = ("frozen", "group")


class FrozenBatchNorm(tf_keras.layers.BatchNormalization):
  """Batch normalisation by its stored statistics, in training too; scale and offset may train."""

  def call(self, inputs, training=None):
    return super().call(inputs, training=False)


def make_norm(
  norm_type: str,
  channels: int,
  momentum: float,
  groups: int,
  epsilon: float = 1e-3,
  scale: bool = True,
  train_affine: bool = True,
) -> tf_keras.layers.Layer:
  """Returns a normalisation layer for a map of `channels` channels.

  Moments are float32 in mixed precision too. Keras sees to that but for `group`, which therefore
  computes in float32 altogether.

  Args:
    norm_type: one of `NORM_TYPES`.
    channels: int, of the layer's input.
    momentum: of the moving statistics, for `batch` and `sync`.
    groups: of `group`; its greatest common divisor with the channels is used.
    epsilon: added to the variance.
    scale: whether the layer has a learned scale.
    train_affine: of `frozen`, whether scale and offset are trained; the others always train them.

  Raises:
    ValueError: for another name.
  """
  common = {"epsilon": epsilon, "scale": scale, "name": "norm"}
  if norm_type == "frozen":
    return FrozenBatchNorm(trainable=train_affine, **common)
  if norm_type in ("batch", "sync"):
    return tf_keras.layers.BatchNormalization(
      momentum=momentum, synchronized=norm_type == "sync", **common
    )
  if norm_type == "group":
    return tf_keras.layers.GroupNormalization(
      groups=math.gcd(groups, channels), dtype="float32", **common
    )
  raise ValueError(f"norm.type is {norm_type!r}; accepted: {', '.join(NORM_TYPES)}")
