"""MobileNet v1 (Howard et al., 2017), cut after its eleventh separable block.

In stage 1 depthwise and pointwise convolution each have their own normalisation. In stage 2 they
are one separable convolution with a single normalisation, as in the released detector.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base

# (stride, channels) of blocks 1 ... 13 at depth multiplier 1.
BLOCKS = (
  (1, 64),
  (2, 128),
  (1, 128),
  (2, 256),
  (1, 256),
  (2, 512),
  *[(1, 512)] * 5,
  (2, 1024),
  (1, 1024),
)
STAGE1_BLOCKS = 11
MIN_CHANNELS = 8
# TF-slim draws kernels from this; it is too small to start a network without normalisation.
SLIM_STDDEV = 0.09

NormFn = Callable[[int], tf_keras.layers.Layer]


def _kernel_initializer() -> tf_keras.initializers.Initializer:
  return tf_keras.initializers.TruncatedNormal(stddev=SLIM_STDDEV)


class ConvNorm(tf_keras.layers.Layer):
  """A convolution without bias, its normalisation, and ReLU6."""

  def __init__(self, conv: tf_keras.layers.Layer, norm: tf_keras.layers.Layer, **kwargs):
    super().__init__(**kwargs)
    self.conv = conv
    self.norm = norm

  def call(self, inputs, training=False):
    return tf.nn.relu6(self.norm(self.conv(inputs), training=training))


class MobileNetStage1(base.Stage):
  """[B, H, W, 3] -> [B, ceil(H / 16), ceil(W / 16), 512 x depth multiplier]."""

  def __init__(self, channels: list[int], norm_fn: NormFn, **kwargs):
    super().__init__(**kwargs)
    self._layers_by_name = {
      "Conv2d_0": ConvNorm(
        tf_keras.layers.Conv2D(
          channels[0],
          3,
          strides=2,
          padding="same",
          use_bias=False,
          kernel_initializer=_kernel_initializer(),
          name="conv",
        ),
        norm_fn(channels[0]),
        name="Conv2d_0",
      )
    }
    for i in range(1, STAGE1_BLOCKS + 1):
      depthwise, pointwise = f"Conv2d_{i}_depthwise", f"Conv2d_{i}_pointwise"
      self._layers_by_name[depthwise] = ConvNorm(
        tf_keras.layers.DepthwiseConv2D(
          3,
          strides=BLOCKS[i - 1][0],
          padding="same",
          use_bias=False,
          depthwise_initializer=_kernel_initializer(),
          name="conv",
        ),
        norm_fn(channels[i - 1]),
        name=depthwise,
      )
      self._layers_by_name[pointwise] = ConvNorm(
        tf_keras.layers.Conv2D(
          channels[i],
          1,
          use_bias=False,
          kernel_initializer=_kernel_initializer(),
          name="conv",
        ),
        norm_fn(channels[i]),
        name=pointwise,
      )

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    return [
      layer.conv.kernel
      for name, layer in self._layers_by_name.items()
      if not name.endswith("_depthwise")
    ]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return dict(self._layers_by_name)

  def call(self, inputs, training=False):
    net = inputs
    for layer in self._layers_by_name.values():
      net = layer(net, training=training)
    return net  # [B, h, w, C1]


class MobileNetStage2(base.Stage):
  """Crops [R, h, w, 512] -> [R, ceil(h / 2), ceil(w / 2), 1024], times the depth multiplier.

  Its kernels feel no weight decay, as in the released code.
  """

  def __init__(self, channels: list[int], norm_fn: NormFn, **kwargs):
    super().__init__(**kwargs)
    self._layers_by_name = {}
    for i in range(STAGE1_BLOCKS + 1, len(BLOCKS) + 1):
      name = f"Conv2d_{i}_pointwise"
      self._layers_by_name[name] = ConvNorm(
        tf_keras.layers.SeparableConv2D(
          channels[i],
          3,
          strides=BLOCKS[i - 1][0],
          padding="same",
          use_bias=False,
          depthwise_initializer=_kernel_initializer(),
          pointwise_initializer=_kernel_initializer(),
          name="conv",
        ),
        norm_fn(channels[i]),
        name=name,
      )

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return dict(self._layers_by_name)

  def call(self, inputs, training=False):
    net = inputs
    for layer in self._layers_by_name.values():
      net = layer(net, training=training)
    return net  # [R, h', w', C2]


@dataclasses.dataclass(frozen=True)
class MobileNetV1(base.Backbone):
  """MobileNet v1 as a detection backbone.

  Attributes:
    norm_fn: makes the normalisation layer for a number of channels.
    depth_multiplier: scales every layer's channels, which never fall below 8.
  """

  norm_fn: NormFn
  depth_multiplier: float = 1.0
  slim_scope = "MobilenetV1"

  @property
  def channels(self) -> list[int]:
    """Output channels of layer 0 ... 13."""
    return [
      max(int(depth * self.depth_multiplier), MIN_CHANNELS)
      for depth in (32, *(depth for _, depth in BLOCKS))
    ]

  @property
  def stage1_depth(self) -> int:
    return self.channels[STAGE1_BLOCKS]

  def preprocess(self, images: tf.Tensor) -> tf.Tensor:
    return images * (2.0 / 255.0) - 1.0

  def make_stage1(self) -> MobileNetStage1:
    return MobileNetStage1(self.channels, self.norm_fn, name="stage1")

  def make_stage2(self, name: str) -> MobileNetStage2:
    return MobileNetStage2(self.channels, self.norm_fn, name=name)
