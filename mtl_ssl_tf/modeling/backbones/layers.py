"""What the backbones are built from."""

from collections.abc import Callable

import tensorflow as tf
import tf_keras

# Number of channels, and what a network asks of its normalisation -> a layer.
NormFn = Callable[..., tf_keras.layers.Layer]


class ConvNorm(tf_keras.layers.Layer):
  """A convolution, its normalisation where it has one, and an activation where it has one.

  Attributes:
    conv: the convolution.
    norm: the normalisation, or None.
  """

  def __init__(
    self,
    conv: tf_keras.layers.Layer,
    norm: tf_keras.layers.Layer | None,
    activation: Callable[[tf.Tensor], tf.Tensor] | None,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.conv = conv
    self.norm = norm
    self._activation = activation

  def call(self, inputs, training=False):
    return self._normalize(self.conv(inputs), training)

  def project(self, inputs: tf.Tensor) -> tf.Tensor:
    """Returns a 1 x 1 convolution of stride 1 without its bias; the layer has been built."""
    dtype = self.conv.compute_dtype
    return tf.nn.conv2d(tf.cast(inputs, dtype), tf.cast(self.conv.kernel, dtype), 1, "VALID")

  def finish(self, projected: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Returns what `call` would, from what `project` made of the inputs, or from crops of it."""
    if self.conv.use_bias:
      projected = tf.nn.bias_add(projected, tf.cast(self.conv.bias, projected.dtype))
    return self._normalize(projected, training)

  def _normalize(self, net: tf.Tensor, training: bool) -> tf.Tensor:
    if self.norm is not None:
      # Some normalisations compute in float32 where the convolution does not.
      net = tf.cast(self.norm(net, training=training), net.dtype)
    return net if self._activation is None else self._activation(net)


def pad_symmetrically(inputs: tf.Tensor, kernel_size: int) -> tf.Tensor:
  """Pads a map [B, h, w, c] by zeros on all sides, so that a strided VALID convolution starts at
  the same place whatever the map's size; SAME starts elsewhere on even sizes.
  """
  before = (kernel_size - 1) // 2
  after = kernel_size - 1 - before
  return tf.pad(inputs, [[0, 0], [before, after], [before, after], [0, 0]])
