"""A frozen normalisation folded into the convolution before it.

Frozen, a normalisation is a scale and a shift. The scale goes into the kernel and the shift into a
bias, which is the same up to rounding: a training step keeps no map before normalisation, and
TensorFlow computes bias and activation with the convolution.

The functions take a layer apart into its convolution, which is linear, and what comes after it, so
that other work can be done in between (`resnet_stage2`). They take any `ConvNorm` whose variables
exist.
"""

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.backbones import layers

# Exactly these: a subclass, such as the separable convolution, computes something else.
_FOLDABLE = (tf_keras.layers.Conv2D, tf_keras.layers.DepthwiseConv2D)


class FoldedConvNorm(layers.ConvNorm):
  """A `ConvNorm` with a frozen normalisation, computed as one convolution with a bias."""

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    if not (self.conv.built and self.norm.built):
      return super().call(inputs, training=training)  # This makes the variables.
    return finish(self, convolve(self, inputs, linear_kernel(self)), training)

  @property
  def scale(self) -> tf.Tensor:
    """Factor of the normalisation for each channel, [d]."""
    scale = tf.math.rsqrt(self.norm.moving_variance + self.norm.epsilon)
    return self.norm.gamma * scale if self.norm.scale else scale

  @property
  def shift(self) -> tf.Tensor:
    """All that is added to the convolution with the scaled kernel: [d]."""
    shift = self.norm.beta - self.norm.moving_mean * self.scale
    return shift + self.conv.bias * self.scale if self.conv.use_bias else shift


def conv_norm(
  conv: tf_keras.layers.Layer, norm: tf_keras.layers.Layer | None, activation, **kwargs
) -> layers.ConvNorm:
  """Makes a `FoldedConvNorm` where there is something to fold, else a `ConvNorm`.

  Not in mixed precision, where a scaled kernel would be rounded another way.
  """
  folds = (
    isinstance(norm, normalization.FrozenBatchNorm)
    and type(conv) in _FOLDABLE
    and conv.compute_dtype == conv.variable_dtype
  )
  kind = FoldedConvNorm if folds else layers.ConvNorm
  return kind(conv, norm, activation, **kwargs)


def linear_kernel(layer: layers.ConvNorm) -> tf.Tensor:
  """Returns the kernel of a layer's linear part, of the type that it computes in.

  Returns:
    [h, w, c, d]; of a depthwise convolution [h, w, c, 1].
  """
  kernel = layer.conv.depthwise_kernel if _is_depthwise(layer) else layer.conv.kernel
  if isinstance(layer, FoldedConvNorm):
    kernel = kernel * (layer.scale[:, tf.newaxis] if _is_depthwise(layer) else layer.scale)
  return tf.cast(kernel, layer.conv.compute_dtype)


def convolve(layer: layers.ConvNorm, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
  """Returns the layer's convolution with a kernel of `linear_kernel`, and nothing else."""
  convolution = tf.nn.depthwise_conv2d if _is_depthwise(layer) else tf.nn.conv2d
  return convolution(
    tf.cast(inputs, layer.conv.compute_dtype),
    kernel,
    [1, *layer.conv.strides, 1],
    layer.conv.padding.upper(),
    dilations=layer.conv.dilation_rate,
  )


def finish(
  layer: layers.ConvNorm, convolved: tf.Tensor, training: bool, shift: tf.Tensor | None = None
) -> tf.Tensor:
  """Returns the layer's output from its `convolve`d inputs, or from crops of them.

  Args:
    layer: the layer.
    convolved: [B, h, w, d].
    training: bool.
    shift: [d], added before the activation: that of another `FoldedConvNorm`, whose output will be
      added to this one's, and which then need not add it itself.
  """
  if isinstance(layer, FoldedConvNorm):
    shift = layer.shift if shift is None else layer.shift + shift
    net = tf.nn.bias_add(convolved, shift)
    return net if layer.activation is None else layer.activation(net)
  if shift is not None:
    raise ValueError(f"{layer.name} is given a shift; accepted: None, as nothing is folded here")
  if layer.conv.use_bias:
    convolved = tf.nn.bias_add(convolved, tf.cast(layer.conv.bias, convolved.dtype))
  return layer.after_conv(convolved, training)


def _is_depthwise(layer: layers.ConvNorm) -> bool:
  return isinstance(layer.conv, tf_keras.layers.DepthwiseConv2D)
