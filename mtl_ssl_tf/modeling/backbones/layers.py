"""Layers that the backbones are built from."""

from collections.abc import Callable

import tensorflow as tf
import tf_keras

# Number of channels, and what a network asks of its normalisation -> a layer.
NormFn = Callable[..., tf_keras.layers.Layer]
# A convolution, its normalisation, its activation and a `name` -> a layer.
ConvNormFn = Callable[..., "ConvNorm"]


class ConvNorm(tf_keras.layers.Layer):
  """A convolution, its normalisation where it has one, and an activation where it has one.

  Attributes:
    conv: the convolution.
    norm: the normalisation, or None.
    activation: a function of tensors, or None.
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
    self.activation = activation

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    return self.after_conv(self.conv(inputs), training)

  def after_conv(self, net: tf.Tensor, training: bool) -> tf.Tensor:
    """Returns the layer's output from that of its convolution."""
    if self.norm is not None:
      # Some normalisations compute in float32 where the convolution does not.
      net = tf.cast(self.norm(net, training=training), net.dtype)
    return net if self.activation is None else self.activation(net)


def pad_for(conv: tf_keras.layers.Layer, inputs: tf.Tensor) -> tf.Tensor:
  """Returns the input of a convolution: padded symmetrically where it strides without padding."""
  if conv.padding == "same" or max(conv.strides) == 1:
    return inputs
  return pad_symmetrically(inputs, conv.kernel_size[0])


def pad_symmetrically(inputs: tf.Tensor, kernel_size: int) -> tf.Tensor:
  """Pads a map [B, h, w, c] by zeros on all sides, so that a strided VALID convolution starts at
  the same place whatever the map's size; SAME starts elsewhere on even sizes.
  """
  before = (kernel_size - 1) // 2
  after = kernel_size - 1 - before
  return tf.pad(inputs, [[0, 0], [before, after], [before, after], [0, 0]])
