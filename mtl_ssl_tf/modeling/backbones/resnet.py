"""ResNet v1 (He et al., 2016), cut after its third block.

`layout` says which of three forms that pretrained weights exist for is built:

  `slim`: as TF-slim and the released detector have it. A block strides in the 3 x 3 convolution of
    its last unit, convolutions have no bias, images are RGB less the mean colour.
  `keras`: as `tf_keras.applications` has it. A block strides in the first 1 x 1 convolution of its
    first unit, convolutions have biases, images are BGR less the mean colour.
  `torchvision`: as torchvision has it. A block strides in the first 3 x 3 convolution of its first
    unit, convolutions have no bias, images are RGB with mean 0 and deviation 1 of each colour.
    ResNet-18 and ResNet-34, whose units are basic blocks, have no other layout.

In all of them the shared map has stride 16, and block 4, the second stage, does not stride. It does
in the network for a feature pyramid, which `slim` has no form of: its blocks end at the next map's
stride.
"""

import dataclasses
import re

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.modeling.backbones import base, layers

# Units of blocks 1 ... 4.
UNITS = {
  "resnet_18": (2, 2, 2, 2),
  "resnet_34": (3, 4, 6, 3),
  "resnet_50": (3, 4, 6, 3),
  "resnet_101": (3, 4, 23, 3),
}
LAYOUTS = fields.choices_of(fields.field_of(detector_config.Backbone, "layout"))
# Channels inside the units of blocks 1 ... 4; a unit puts out `expansion` times as many.
CHANNELS = (64, 128, 256, 512)
STEM_CHANNELS = 64
MEAN_RGB = (123.68, 116.779, 103.939)
# Of layout `torchvision`, for colours of 0 ... 1.
TORCHVISION_MEAN = (0.485, 0.456, 0.406)
TORCHVISION_DEVIATION = (0.229, 0.224, 0.225)
EPSILON = {"slim": 1e-5, "keras": 1.001e-5, "torchvision": 1e-5}


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


class Unit(tf_keras.layers.Layer):
  """Convolutions, added to their input; [R, h, w, c] -> [R, h', w', expansion b].

  Attributes:
    kind: of unit, in TF-slim's names.
    expansion: channels of the output for each channel inside the unit.
    convs: the convolutions by name: `conv1`, `conv2`, ..., and `shortcut` where the input has
      another depth than the output.
  """

  kind: str
  expansion: int

  def __init__(self, stride: int, convs: dict[str, layers.ConvNorm], name: str):
    super().__init__(name=name)
    self._stride = stride
    self.convs = convs

  def shortcut(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
    """Returns the input as it is added to the output: [R, h', w', expansion b]."""
    if "shortcut" in self.convs:
      return self.convs["shortcut"](inputs, training=training)
    return inputs[:, :: self._stride, :: self._stride]


class Bottleneck(Unit):
  """1 x 1, 3 x 3 and 1 x 1 convolution, the last with four times the channels."""

  kind = "bottleneck_v1"
  expansion = 4

  def __init__(self, make_conv: ConvMaker, depth_in: int, channels: int, stride: int, name: str):
    depth = self.expansion * channels
    first, second = (stride, 1) if make_conv.layout == "keras" else (1, stride)
    convs = {
      "conv1": make_conv(channels, 1, first, tf.nn.relu, "conv1"),
      "conv2": make_conv(channels, 3, second, tf.nn.relu, "conv2"),
      "conv3": make_conv(depth, 1, 1, None, "conv3"),
    }
    if depth_in != depth:
      convs["shortcut"] = make_conv(depth, 1, stride, None, "shortcut")
    super().__init__(stride, convs, name)
    self._pad_conv2 = second > 1

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    shortcut = self.shortcut(inputs, training)
    net = self.convs["conv1"](inputs, training=training)
    net = layers.pad_symmetrically(net, 3) if self._pad_conv2 else net
    net = self.convs["conv2"](net, training=training)
    net = self.convs["conv3"](net, training=training)
    return tf.nn.relu(shortcut + net)


class BasicBlock(Unit):
  """Two 3 x 3 convolutions."""

  kind = "basic_block_v1"
  expansion = 1

  def __init__(self, make_conv: ConvMaker, depth_in: int, channels: int, stride: int, name: str):
    convs = {
      "conv1": make_conv(channels, 3, stride, tf.nn.relu, "conv1"),
      "conv2": make_conv(channels, 3, 1, None, "conv2"),
    }
    if depth_in != channels:
      convs["shortcut"] = make_conv(channels, 1, stride, None, "shortcut")
    super().__init__(stride, convs, name)

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    shortcut = self.shortcut(inputs, training)
    net = layers.pad_symmetrically(inputs, 3) if self._stride > 1 else inputs
    net = self.convs["conv1"](net, training=training)
    net = self.convs["conv2"](net, training=training)
    return tf.nn.relu(shortcut + net)


def _make_block(
  make_conv: ConvMaker, unit: type[Unit], number: int, depth_in: int, num_units: int, stride: int
) -> dict[str, Unit]:
  """The units of block `number` (1 ... 4) by their TF-slim names."""
  channels = CHANNELS[number - 1]
  strided = num_units if make_conv.layout == "slim" else 1
  units = {}
  for i in range(1, num_units + 1):
    units[f"block{number}/unit_{i}/{unit.kind}"] = unit(
      make_conv,
      depth_in if i == 1 else unit.expansion * channels,
      channels,
      stride if i == strided else 1,
      f"block{number}_unit_{i}",
    )
  return units


class ResNetStage(base.Stage):
  """A part of the network made of units; subclasses may put something before them."""

  def __init__(self, units: dict[str, Unit], **kwargs):
    super().__init__(**kwargs)
    self._units = units

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    return [layer.conv.kernel for layer in self.named_layers().values() if layer.trainable]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {
      f"{prefix}/{name}": conv
      for prefix, unit in self._units.items()
      for name, conv in unit.convs.items()
    }

  @property
  def units(self) -> list[Unit]:
    return list(self._units.values())

  def call(self, inputs, training=False):
    net = inputs
    for unit in self.units:
      net = self.run_unit(unit, net, training)
    return net


class ResNetStage1(ResNetStage):
  """[B, H, W, 3] -> [B, ceil(H / 16), ceil(W / 16), 256 expansion]."""

  def __init__(
    self,
    make_conv: ConvMaker,
    unit: type[Unit],
    num_units: tuple[int, ...],
    strides: tuple[int, ...],
    **kwargs,
  ):
    """Makes blocks 1, 2 and so on, one for each of `strides`; the rest as in `ResNet`."""
    units, depth = {}, STEM_CHANNELS
    for number, stride in enumerate(strides, start=1):
      units.update(_make_block(make_conv, unit, number, depth, num_units[number - 1], stride))
      depth = unit.expansion * CHANNELS[number - 1]
    super().__init__(units, **kwargs)
    self.conv1 = make_conv(STEM_CHANNELS, 7, 2, tf.nn.relu, "conv1")
    self._pad_pool = make_conv.layout != "slim"

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {"conv1": self.conv1, **super().named_layers()}

  def call(self, inputs, training=False):
    return super().call(self.stem(inputs, training), training=training)

  def stem(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
    """Returns the input of block 1, [B, ceil(H / 4), ceil(W / 4), 64]."""
    net = self.conv1(layers.pad_symmetrically(inputs, 7), training=training)  # [B, H/2, W/2, 64]
    if self._pad_pool:
      return tf.nn.max_pool2d(layers.pad_symmetrically(net, 3), 3, 2, "VALID")
    return tf.nn.max_pool2d(net, 3, 2, "SAME")  # [B, H/4, W/4, 64]


class ResNetNetwork(ResNetStage1):
  """[B, H, W, 3] -> the outputs of blocks 1 ... 4, at strides 4, 8, 16 and 32."""

  def call(self, inputs, training=False):
    last_units = {name.split("/")[0]: name for name in self._units}
    net = self.stem(inputs, training)
    return self.run_units(self._units, net, training, last_units.values())


class ResNetStage2(ResNetStage):
  """Maps [R, h, w, 256 expansion] -> [R, h, w, 512 expansion]."""

  def __init__(self, make_conv: ConvMaker, unit: type[Unit], num_units: tuple[int, ...], **kwargs):
    depth = unit.expansion * CHANNELS[2]
    super().__init__(_make_block(make_conv, unit, 4, depth, num_units[3], 1), **kwargs)

  @property
  def has_bottlenecks(self) -> bool:
    return isinstance(self.units[0], Bottleneck)


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
    unit: what its blocks are made of.
  """

  norm_fn: layers.NormFn
  num_units: tuple[int, ...]
  slim_scope: str
  layout: str = "slim"
  recompute: bool = False
  conv_norm: layers.ConvNormFn = layers.ConvNorm
  unit: type[Unit] = Bottleneck
  default_freeze = ("conv1", "block1")

  @property
  def stage1_depth(self) -> int:
    return self.unit.expansion * CHANNELS[2]

  @property
  def torch_network(self) -> str:
    return f"torchvision's {self.slim_scope.replace('_v1_', '')}"

  def preprocess(self, images: tf.Tensor) -> tf.Tensor:
    if self.layout == "torchvision":
      mean = tf.constant(TORCHVISION_MEAN, images.dtype)
      return (images / 255.0 - mean) / tf.constant(TORCHVISION_DEVIATION, images.dtype)
    images = images - tf.constant(MEAN_RGB, images.dtype)
    return images if self.layout == "slim" else images[..., ::-1]

  def make_stage1(self) -> ResNetStage1:
    # In the order of the layout, strides 2, 2, 1 bring stride 4 to 16.
    strides = (2, 2, 1) if self.layout == "slim" else (1, 2, 2)
    return ResNetStage1(
      self._make_conv, self.unit, self.num_units, strides, recompute=self.recompute, name="stage1"
    )

  @property
  def map_depths(self) -> tuple[int, ...]:
    if self.layout == "slim":
      raise ValueError("layout 'slim' has no maps at four strides")
    return tuple(self.unit.expansion * channels for channels in CHANNELS)

  def make_network(self) -> ResNetNetwork:
    num_blocks = len(self.map_depths)  # It refuses a layout.
    strides = (1,) + (2,) * (num_blocks - 1)
    return ResNetNetwork(
      self._make_conv, self.unit, self.num_units, strides, recompute=self.recompute, name="stage1"
    )

  def make_stage2(self, name: str, dense: bool = False) -> ResNetStage2:
    del dense  # It is.
    return ResNetStage2(
      self._make_conv, self.unit, self.num_units, recompute=self.recompute, name=name
    )

  def torch_names(self, name: str) -> base.TorchNames:
    if self.layout != "torchvision":
      raise ValueError(
        f"PyTorch weights, but task.backbone.layout is {self.layout!r}, which strides elsewhere; "
        "accepted: torchvision"
      )
    if name == "conv1":
      return base.TorchNames("conv1", "bn1")
    block, unit, conv = re.fullmatch(r"block(\d)/unit_(\d+)/\w+/(\w+)", name).groups()
    module = f"layer{block}.{int(unit) - 1}"
    if conv == "shortcut":
      return base.TorchNames(f"{module}.downsample.0", f"{module}.downsample.1")
    return base.TorchNames(f"{module}.{conv}", f"{module}.bn{conv[-1]}")

  @property
  def _make_conv(self) -> ConvMaker:
    return ConvMaker(self.layout, self.norm_fn, self.conv_norm)
