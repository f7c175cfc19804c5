"""ResNet v1 (He et al., 2016), cut after its third block.

`layout` says which of two forms that pretrained weights exist for is built:

  `slim`: as TF-slim and the released detector have it. A block strides in the 3 x 3 convolution of
    its last unit, convolutions have no bias, images are RGB less the mean colour.
  `keras`: as `tf_keras.applications` has it. A block strides in the first 1 x 1 convolution of its
    first unit, convolutions have biases, images are BGR less the mean colour.

In both the shared map has stride 16, and block 4, the second stage, does not stride.
"""

import dataclasses

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base, layers

# Units of blocks 1 ... 4.
UNITS = {"resnet_50": (3, 4, 6, 3), "resnet_101": (3, 4, 23, 3)}
LAYOUTS = ("slim", "keras")
# Channels inside the bottlenecks of blocks 1 ... 4; a block puts out four times as many.
BOTTLENECKS = (64, 128, 256, 512)
EXPANSION = 4
STEM_CHANNELS = 64
MEAN_RGB = (123.68, 116.779, 103.939)
EPSILON = {"slim": 1e-5, "keras": 1.001e-5}


@dataclasses.dataclass(frozen=True)
class ConvMaker:
  """Makes the convolutions of one layout; the rest as in `ResNet`."""

  layout: str
  norm_fn: layers.NormFn
  conv_norm: layers.ConvNormFn

  def __call__(
    self, channels: int, kernel_size: int, stride: int, activation, name: str
  ) -> layers.ConvNorm:
    # Strided kernels wider than one find their map padded already (`pad_symmetrically`).
    conv = tf_keras.layers.Conv2D(
      channels,
      kernel_size,
      strides=stride,
      padding="same" if stride == 1 else "valid",
      use_bias=self.layout == "keras",
      kernel_initializer=tf_keras.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal"),
      name="conv",
    )
    norm = self.norm_fn(channels, epsilon=EPSILON[self.layout], train_affine=False)
    return self.conv_norm(conv, norm, activation, name=name)


class Bottleneck(tf_keras.layers.Layer):
  """1 x 1, 3 x 3 and 1 x 1 convolution, added to the input; [R, h, w, c] -> [R, h', w', 4 b].

  Attributes:
    convs: the convolutions by name: `conv1`, `conv2`, `conv3`, and `shortcut` where the input has
      another depth than the output.
  """

  def __init__(
    self, make_conv: ConvMaker, depth_in: int, bottleneck: int, stride: int, prefix: str
  ):
    super().__init__(name=prefix)
    depth = EXPANSION * bottleneck
    first, second = (1, stride) if make_conv.layout == "slim" else (stride, 1)
    self._stride = stride
    self.convs = {
      "conv1": make_conv(bottleneck, 1, first, tf.nn.relu, "conv1"),
      "conv2": make_conv(bottleneck, 3, second, tf.nn.relu, "conv2"),
      "conv3": make_conv(depth, 1, 1, None, "conv3"),
    }
    self._pad_conv2 = second > 1
    if depth_in != depth:
      self.convs["shortcut"] = make_conv(depth, 1, stride, None, "shortcut")

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    shortcut = self.shortcut(inputs, training)
    net = self.convs["conv1"](inputs, training=training)
    net = layers.pad_symmetrically(net, 3) if self._pad_conv2 else net
    net = self.convs["conv2"](net, training=training)
    net = self.convs["conv3"](net, training=training)
    return tf.nn.relu(shortcut + net)

  def shortcut(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
    """Returns the input as it is added to the output: [R, h', w', 4 b]."""
    if "shortcut" in self.convs:
      return self.convs["shortcut"](inputs, training=training)
    return inputs[:, :: self._stride, :: self._stride]


def _make_block(
  make_conv: ConvMaker, number: int, depth_in: int, num_units: int, stride: int
) -> dict[str, Bottleneck]:
  """The units of block `number` (1 ... 4) by their TF-slim names."""
  bottleneck = BOTTLENECKS[number - 1]
  strided = num_units if make_conv.layout == "slim" else 1
  units = {}
  for i in range(1, num_units + 1):
    units[f"block{number}/unit_{i}/bottleneck_v1"] = Bottleneck(
      make_conv,
      depth_in if i == 1 else EXPANSION * bottleneck,
      bottleneck,
      stride if i == strided else 1,
      f"block{number}_unit_{i}",
    )
  return units


class ResNetStage(base.Stage):
  """A part of the network made of bottlenecks; subclasses may put something before them."""

  def __init__(self, units: dict[str, Bottleneck], **kwargs):
    super().__init__(**kwargs)
    self._units = units

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    return [layer.conv.kernel for layer in self.named_layers().values() if layer.trainable]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {
      f"{unit}/{name}": conv
      for unit, bottleneck in self._units.items()
      for name, conv in bottleneck.convs.items()
    }

  @property
  def units(self) -> list[Bottleneck]:
    return list(self._units.values())

  def call(self, inputs, training=False):
    net = inputs
    for unit in self.units:
      net = self.run_unit(unit, net, training)
    return net


class ResNetStage1(ResNetStage):
  """[B, H, W, 3] -> [B, ceil(H / 16), ceil(W / 16), 1024]."""

  def __init__(self, make_conv: ConvMaker, num_units: tuple[int, ...], **kwargs):
    # In the order of the layout, strides 2, 2, 1 bring stride 4 to 16.
    strides = (2, 2, 1) if make_conv.layout == "slim" else (1, 2, 2)
    units, depth = {}, STEM_CHANNELS
    for number, stride in enumerate(strides, start=1):
      units.update(_make_block(make_conv, number, depth, num_units[number - 1], stride))
      depth = EXPANSION * BOTTLENECKS[number - 1]
    super().__init__(units, **kwargs)
    self.conv1 = make_conv(STEM_CHANNELS, 7, 2, tf.nn.relu, "conv1")
    self._pad_pool = make_conv.layout == "keras"

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {"conv1": self.conv1, **super().named_layers()}

  def call(self, inputs, training=False):
    net = self.conv1(layers.pad_symmetrically(inputs, 7), training=training)  # [B, H/2, W/2, 64]
    if self._pad_pool:
      net = tf.nn.max_pool2d(layers.pad_symmetrically(net, 3), 3, 2, "VALID")
    else:
      net = tf.nn.max_pool2d(net, 3, 2, "SAME")  # [B, H/4, W/4, 64]
    return super().call(net, training=training)


class ResNetStage2(ResNetStage):
  """Maps [R, h, w, 1024] -> [R, h, w, 2048]."""

  def __init__(self, make_conv: ConvMaker, num_units: tuple[int, ...], **kwargs):
    depth = EXPANSION * BOTTLENECKS[2]
    super().__init__(_make_block(make_conv, 4, depth, num_units[3], 1), **kwargs)


@dataclasses.dataclass(frozen=True)
class ResNet(base.Backbone):
  """ResNet v1 as a detection backbone.

  Attributes:
    norm_fn: makes the normalisation layers.
    num_units: of blocks 1 ... 4.
    slim_scope: see the base class.
    layout: one of `LAYOUTS`.
    recompute: see `base.Stage`.
    conv_norm: makes the layers, see `base.Backbone.with_conv_norm`.
  """

  norm_fn: layers.NormFn
  num_units: tuple[int, ...]
  slim_scope: str
  layout: str = "slim"
  recompute: bool = False
  conv_norm: layers.ConvNormFn = layers.ConvNorm
  stage1_depth = EXPANSION * BOTTLENECKS[2]
  default_freeze = ("conv1", "block1")

  def preprocess(self, images: tf.Tensor) -> tf.Tensor:
    images = images - tf.constant(MEAN_RGB, images.dtype)
    return images if self.layout == "slim" else images[..., ::-1]

  def make_stage1(self) -> ResNetStage1:
    return ResNetStage1(self._make_conv, self.num_units, recompute=self.recompute, name="stage1")

  def make_stage2(self, name: str, dense: bool = False) -> ResNetStage2:
    del dense  # It is.
    return ResNetStage2(self._make_conv, self.num_units, recompute=self.recompute, name=name)

  @property
  def _make_conv(self) -> ConvMaker:
    return ConvMaker(self.layout, self.norm_fn, self.conv_norm)
