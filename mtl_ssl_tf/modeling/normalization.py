"""Normalisation layers, chosen by name: `frozen`, `batch`, `sync`, `group`."""

import math

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.reading import quoting

NORM_TYPES = fields.choices_of(fields.field_of(detector_config.Norm, "type"))
# They treat a row of a batch alike whatever the other rows are, in training and at inference.
INDEPENDENT_NORM_TYPES = ("frozen", "group")


class FrozenBatchNorm(tf_keras.layers.BatchNormalization):
  """Batch normalisation by its stored statistics, in training too; scale and offset may train."""

  def call(self, inputs, training=None):
    return super().call(inputs, training=False)


class GroupedBatchNorm(tf_keras.layers.BatchNormalization):
  """Batch normalisation of groups of rows, each by its own mean and variance ("ghost batches").

  In training the first `group_size` rows of a map [B, h, w, c] are one group, the next ones
  another, as if each were the batch of a replica. Moving statistics follow the mean over groups, so
  that two replicas with a group each have those of one replica with two. At inference it is
  ordinary batch normalisation.

  Reference: Hoffer et al., "Train longer, generalize better", NeurIPS 2017, section 4.
  """

  def __init__(self, group_size: int, **kwargs):
    super().__init__(**kwargs)
    self._group_size = group_size

  def call(self, inputs, training=None):
    if not training:
      return super().call(inputs, training=False)
    num_rows = inputs.shape[0]
    if num_rows % self._group_size:
      raise ValueError(f"a batch has {num_rows} rows; accepted: groups of {self._group_size}")
    ones = tf.ones(self.moving_mean.shape)
    outputs, means, variances = [], [], []
    for group in tf.split(inputs, num_rows // self._group_size):
      output, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        group, self.gamma if self.scale else ones, self.beta, epsilon=self.epsilon
      )
      outputs.append(output)
      means.append(mean)
      variances.append(variance)
    for moving, values in ((self.moving_mean, means), (self.moving_variance, variances)):
      value = tf.add_n(values) / len(values)  # [c]
      moving.assign_sub((1.0 - self.momentum) * (moving - tf.stop_gradient(value)))
    return tf.concat(outputs, axis=0)


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
  raise ValueError(f"norm.type is {quoting.shown(norm_type)}; accepted: {', '.join(NORM_TYPES)}")
