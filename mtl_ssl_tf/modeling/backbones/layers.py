"""What the backbones are built from."""

from collections.abc import Callable

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import normalization

# Number of channels, and what a network asks of its normalisation -> a layer.
NormFn = Callable[..., tf_keras.layers.Layer]


class ConvNorm(tf_keras.layers.Layer):
  """A convolution, its normalisation where it has one, and an activation where it has one.

  A frozen normalisation is a scale and an offset. The scale goes into the kernel and the offset
  into a bias, which is the same up to rounding: a training step keeps no map before normalisation,
  and TensorFlow has bias and activation done by the convolution. Not in mixed precision, whose
  kernels would be rounded another way.

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

  def call(self, inputs, kernel=None, shift=None, training=False):
    """Returns the layer's output.

    Args:
      inputs: [B, h, w, c].
      kernel: of `linear_kernel`, if that has been called before; for layers that exist.
      shift: see `finish`.
      training: bool.
    """
    if kernel is not None or self._folds:
      kernel = self.linear_kernel() if kernel is None else kernel
      return self.finish(self.convolve(inputs, kernel), training, shift)
    net = self._normalize(self.conv(inputs), training)
    return net if self._activation is None else self._activation(net)

  def linear_kernel(self) -> tf.Tensor:
    """Returns the kernel of what is linear of this layer, which has been built.

    Returns:
      [h, w, c, d], of a depthwise convolution [h, w, c, 1], of the type that it computes in.
    """
    if not self._depthwise:
      kernel = self.conv.kernel
      kernel = kernel * self._scale() if self._folds else kernel
    else:
      kernel = self.conv.depthwise_kernel
      kernel = kernel * self._scale()[:, tf.newaxis] if self._folds else kernel
    return tf.cast(kernel, self.conv.compute_dtype)

  def convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the convolution with such a kernel, and nothing else."""
    inputs = tf.cast(inputs, self.conv.compute_dtype)
    convolution = tf.nn.depthwise_conv2d if self._depthwise else tf.nn.conv2d
    return convolution(
      inputs,
      kernel,
      [1, *self.conv.strides, 1],
      self.conv.padding.upper(),
      dilations=self.conv.dilation_rate,
    )

  def project(self, inputs: tf.Tensor) -> tf.Tensor:
    """Returns what is linear of this layer; it has been built."""
    return self.convolve(inputs, self.linear_kernel())

  def finish(
    self, projected: tf.Tensor, training: bool = False, shift: tf.Tensor | None = None
  ) -> tf.Tensor:
    """Returns what `call` would, from what `project` made of the inputs, or from crops of it.

    Args:
      projected: [B, h, w, d].
      training: bool.
      shift: [d], of another layer whose output will be added to this one's, and which then need
        not add it itself; for layers that have a `shift` of their own.

    Raises:
      ValueError: a shift for a layer that has none.
    """
    own = self.shift()
    if own is None and shift is not None:
      raise ValueError(f"{self.name} is given a shift; accepted: None, as its normalisation learns")
    if own is not None:
      net = tf.nn.bias_add(projected, own if shift is None else own + shift)
    else:
      net = projected
      if self.conv.use_bias:
        net = tf.nn.bias_add(net, tf.cast(self.conv.bias, net.dtype))
      net = self._normalize(net, training)
    return net if self._activation is None else self._activation(net)

  def shift(self) -> tf.Tensor | None:
    """Returns all that `finish` adds before the activation, [d], or None if it does more."""
    if not self._folds:
      return None
    shift = self.norm.beta - self.norm.moving_mean * self._scale()
    return shift + self.conv.bias * self._scale() if self.conv.use_bias else shift

  @property
  def _folds(self) -> bool:
    """Whether the normalisation is in kernel and bias; not before the variables exist."""
    return (
      isinstance(self.norm, normalization.FrozenBatchNorm)
      and type(self.conv) in (tf_keras.layers.Conv2D, tf_keras.layers.DepthwiseConv2D)
      and self.conv.built
      and self.norm.built
      and self.conv.compute_dtype == self.conv.variable_dtype
    )

  @property
  def _depthwise(self) -> bool:
    return isinstance(self.conv, tf_keras.layers.DepthwiseConv2D)

  def _scale(self) -> tf.Tensor:
    scale = tf.math.rsqrt(self.norm.moving_variance + self.norm.epsilon)
    return self.norm.gamma * scale if self.norm.scale else scale

  def _normalize(self, net: tf.Tensor, training: bool) -> tf.Tensor:
    if self.norm is None:
      return net
    # Some normalisations compute in float32 where the convolution does not.
    return tf.cast(self.norm(net, training=training), net.dtype)


def pad_symmetrically(inputs: tf.Tensor, kernel_size: int) -> tf.Tensor:
  """Pads a map [B, h, w, c] by zeros on all sides, so that a strided VALID convolution starts at
  the same place whatever the map's size; SAME starts elsewhere on even sizes.
  """
  before = (kernel_size - 1) // 2
  after = kernel_size - 1 - before
  return tf.pad(inputs, [[0, 0], [before, after], [before, after], [0, 0]])
