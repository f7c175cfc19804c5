"""MobileNet v1 (Howard et al., 2017), cut after its eleventh separable block.

Depthwise and pointwise convolution each have their own normalisation. The released detector's
stage 2 is another: one separable convolution with a single normalisation a block (`fused`), which
the kernels of a classification network do not fit.
"""

import dataclasses
import functools

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base, layers

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
# The last block at strides 4, 8, 16 and 32.
MAP_BLOCKS = (3, 5, 11, 13)
# TF-slim draws kernels from this; it is too small to start a network without normalisation.
SLIM_STDDEV = 0.09


def _kernel_initializer() -> tf_keras.initializers.Initializer:
  return tf_keras.initializers.TruncatedNormal(stddev=SLIM_STDDEV)


def _conv(
  channels: int, kernel_size: int, stride: int, symmetric: bool = False
) -> tf_keras.layers.Layer:
  return tf_keras.layers.Conv2D(
    channels,
    kernel_size,
    strides=stride,
    padding=_padding(stride, symmetric),
    use_bias=False,
    kernel_initializer=_kernel_initializer(),
    name="conv",
  )


def _padding(stride: int, symmetric: bool) -> str:
  """Padding of a convolution; `valid` ones get their zeros before (`layers.pad_for`)."""
  return "valid" if symmetric and stride > 1 else "same"


class MobileNetStage(base.Stage):
  """Convolutions one after the other.

  Weight decay applies to the ordinary convolutions' kernels, not to depthwise and fused ones, as
  in the released code.
  """

  def __init__(self, named_layers: dict[str, layers.ConvNorm], **kwargs):
    super().__init__(**kwargs)
    self._layers_by_name = named_layers

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    # The depthwise and the fused layers are of subclasses.
    return [
      layer.conv.kernel
      for layer in self._layers_by_name.values()
      if type(layer.conv) is tf_keras.layers.Conv2D and layer.trainable
    ]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return dict(self._layers_by_name)

  def freeze_groups(self) -> dict[str, list[tf_keras.layers.Layer]]:
    groups = {}
    for name, layer in self._layers_by_name.items():
      groups.setdefault("_".join(name.split("_")[:2]), []).append(layer)
    return groups

  def call(self, inputs, training=False):
    net = inputs
    for layer in self._layers_by_name.values():
      net = self.run_unit(layer, net, training)
    return net


class MobileNetNetwork(MobileNetStage):
  """[B, H, W, 3] -> the outputs of `MAP_BLOCKS`, at strides 4, 8, 16 and 32."""

  def call(self, inputs, training=False):
    units = {
      name: functools.partial(_run_padded, layer) for name, layer in self._layers_by_name.items()
    }
    kept = [f"Conv2d_{number}_pointwise" for number in MAP_BLOCKS]
    return self.run_units(units, inputs, training, kept)


def _run_padded(layer: layers.ConvNorm, inputs: tf.Tensor, training: bool) -> tf.Tensor:
  return layer(layers.pad_for(layer.conv, inputs), training=training)


@dataclasses.dataclass(frozen=True)
class MobileNetV1(base.Backbone):
  """MobileNet v1 as a detection backbone.

  Attributes:
    norm_fn: makes the normalisation layer for a number of channels.
    depth_multiplier: scales every layer's channels, which never fall below 8.
    fused_stage2: whether stage 2 is that of the released detector.
    recompute: see `base.Stage`.
    conv_norm: makes the layers, see `base.Backbone.with_conv_norm`.
  """

  norm_fn: layers.NormFn
  depth_multiplier: float = 1.0
  fused_stage2: bool = True
  recompute: bool = False
  conv_norm: layers.ConvNormFn = layers.ConvNorm
  slim_scope = "MobilenetV1"
  stage2_stride = 2

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

  def make_stage1(self) -> MobileNetStage:
    """Returns [B, H, W, 3] -> [B, ceil(H / 16), ceil(W / 16), 512 x depth multiplier]."""
    channels = self.channels
    named = self._layer("Conv2d_0", _conv(channels[0], 3, 2), channels[0])
    for number in range(1, STAGE1_BLOCKS + 1):
      named.update(self._separable_block(number, BLOCKS[number - 1][0]))
    return MobileNetStage(named, recompute=self.recompute, name="stage1")

  def make_stage2(self, name: str, dense: bool = False) -> MobileNetStage:
    """Returns [R, h, w, 512] -> [R, ceil(h / 2), ceil(w / 2), 1024], times the multiplier.

    Where it is dense, kernels after the stride that is left out reach as far as they would have.
    """
    make_block = self._fused_block if self.fused_stage2 else self._separable_block
    named, dilation = {}, 1
    for number in range(STAGE1_BLOCKS + 1, len(BLOCKS) + 1):
      stride = BLOCKS[number - 1][0]
      named.update(make_block(number, 1 if dense else stride, dilation))
      dilation *= stride if dense else 1
    return MobileNetStage(named, recompute=self.recompute, name=name)

  def stage2_cells(self, cells: tf.Tensor) -> tf.Tensor:
    return tf.math.ceil(cells / 2.0)

  @property
  def map_depths(self) -> tuple[int, ...]:
    return tuple(self.channels[number] for number in MAP_BLOCKS)

  def make_network(self) -> MobileNetNetwork:
    """Returns the classification network, whatever `fused_stage2` says."""
    channels = self.channels
    named = self._layer("Conv2d_0", _conv(channels[0], 3, 2, symmetric=True), channels[0])
    for number, (stride, _) in enumerate(BLOCKS, start=1):
      named.update(self._separable_block(number, stride, symmetric=True))
    return MobileNetNetwork(named, recompute=self.recompute, name="stage1")

  def _separable_block(
    self, number: int, stride: int, dilation: int = 1, symmetric: bool = False
  ) -> dict[str, layers.ConvNorm]:
    """Depthwise and pointwise convolution of block 1 ... 13, each with its normalisation."""
    depth_in, depth = self.channels[number - 1 : number + 1]
    depthwise = tf_keras.layers.DepthwiseConv2D(
      3,
      strides=stride,
      dilation_rate=dilation,
      padding=_padding(stride, symmetric),
      use_bias=False,
      depthwise_initializer=_kernel_initializer(),
      name="conv",
    )
    return {
      **self._layer(f"Conv2d_{number}_depthwise", depthwise, depth_in),
      **self._layer(f"Conv2d_{number}_pointwise", _conv(depth, 1, 1), depth),
    }

  def _fused_block(self, number: int, stride: int, dilation: int) -> dict[str, layers.ConvNorm]:
    """Block 1 ... 13 as one convolution with one normalisation."""
    depth = self.channels[number]
    conv = tf_keras.layers.SeparableConv2D(
      depth,
      3,
      strides=stride,
      dilation_rate=dilation,
      padding="same",
      use_bias=False,
      depthwise_initializer=_kernel_initializer(),
      pointwise_initializer=_kernel_initializer(),
      name="conv",
    )
    return self._layer(f"Conv2d_{number}_pointwise", conv, depth)

  def _layer(
    self, name: str, conv: tf_keras.layers.Layer, channels: int
  ) -> dict[str, layers.ConvNorm]:
    return {name: self.conv_norm(conv, self.norm_fn(channels), tf.nn.relu6, name=name)}
