"""EfficientNet-Lite (Tan and Le, 2019; Lite variants 2020), cut after its last block at stride 16.

Lite leaves out squeeze-and-excitation and has ReLU6 in place of swish: static shapes and operations
that every accelerator has. Stage 1 is the stem and groups 1 ... 5 of blocks; stage 2 is groups 6
and 7 and the last 1 x 1 convolution, which belongs to the pretrained features: the classifier of
ImageNet sees its mean, as our heads do, and it is a seventh of the stage's work.

Strided convolutions pad as the weights were trained, which is TensorFlow's SAME: on maps of even
sides at the end alone. Inputs whose sides are multiples of 16 have only such maps in stage 1. In
the network for a feature pyramid they pad symmetrically, which moves the maps' cells to where
anchors and crops expect them. That network ends with group 7: the last convolution makes features
for the mean over the image.
"""

import dataclasses
import math

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base, layers


@dataclasses.dataclass(frozen=True)
class Group:
  """Blocks of one size; the first of them strides and changes the number of channels.

  Attributes:
    blocks: how many.
    kernel_size: of the depthwise convolutions.
    stride: of the first block.
    expansion: channels inside a block by channels of its input.
    depth: output channels.
    scaled: whether the number of blocks is scaled.
  """

  blocks: int
  kernel_size: int
  stride: int
  expansion: int
  depth: int
  scaled: bool = True


GROUPS = (
  Group(1, 3, 1, 1, 16, scaled=False),
  Group(2, 3, 2, 6, 24),
  Group(2, 5, 2, 6, 40),
  Group(3, 3, 2, 6, 80),
  Group(3, 5, 1, 6, 112),
  Group(4, 5, 2, 6, 192),
  Group(1, 3, 1, 6, 320, scaled=False),
)
STAGE1_GROUPS = 5
# The last group of blocks at strides 4, 8, 16 and 32, counted from 0.
MAP_GROUPS = (1, 2, 4, 6)
# Factors of channels and of blocks by name; stem and head keep theirs.
FACTORS = {
  "efficientnet_lite0": (1.0, 1.0),
  "efficientnet_lite1": (1.0, 1.1),
  "efficientnet_lite2": (1.1, 1.2),
}
STEM_DEPTH, HEAD_DEPTH = 32, 1280
CHANNEL_STEP = 8  # Scaled channels are multiples of it.
EPSILON = 1e-3
# Layer of `named_layers`, or its last part within a block -> the modules in PyTorch's network.
TORCH_NAMES = {
  "stem": base.TorchNames("_conv_stem", "_bn0"),
  "expand": base.TorchNames("_expand_conv", "_bn0"),
  "depthwise": base.TorchNames("_depthwise_conv", "_bn1"),
  "project": base.TorchNames("_project_conv", "_bn2"),
  "head": base.TorchNames("_conv_head", "_bn1"),
}
MEAN, STDDEV = 127.0, 128.0  # Of the pixels 0 ... 255.


def scaled_depth(depth: int, factor: float) -> int:
  """Returns channels times a factor, rounded to a multiple of 8, but not by more than a tenth."""
  scaled = depth * factor
  rounded = max(CHANNEL_STEP, int(scaled + CHANNEL_STEP / 2) // CHANNEL_STEP * CHANNEL_STEP)
  return rounded + CHANNEL_STEP if rounded < 0.9 * scaled else rounded


@dataclasses.dataclass(frozen=True)
class Block:
  """One block of the network.

  Attributes:
    number: 0 ... of the whole network.
    kernel_size: of its depthwise convolution.
    stride: of it.
    depth_in, depth_inside, depth: channels of the input, of the depthwise convolution, of the
      output.
  """

  number: int
  kernel_size: int
  stride: int
  depth_in: int
  depth_inside: int
  depth: int

  @property
  def has_shortcut(self) -> bool:
    """Whether the input is added to the output."""
    return self.stride == 1 and self.depth_in == self.depth


def list_blocks(width: float, depth: float) -> tuple[list[Block], list[Block]]:
  """Returns the blocks of both stages, by factors of channels and of blocks (rounded up)."""
  stages, number, depth_in = ([], []), 0, STEM_DEPTH
  for i, group in enumerate(GROUPS):
    depth_out = scaled_depth(group.depth, width)
    for j in range(math.ceil(group.blocks * depth) if group.scaled else group.blocks):
      stride = group.stride if j == 0 else 1
      inside = depth_in * group.expansion
      block = Block(number, group.kernel_size, stride, depth_in, inside, depth_out)
      stages[i >= STAGE1_GROUPS].append(block)
      number, depth_in = number + 1, depth_out
  return stages


@dataclasses.dataclass(frozen=True)
class ConvMaker:
  """Makes a convolution with its normalisation.

  Attributes:
    norm_fn, conv_norm: as in `EfficientNetLite`.
    symmetric: whether strided convolutions pad symmetrically.
  """

  norm_fn: layers.NormFn
  conv_norm: layers.ConvNormFn
  symmetric: bool = False

  def __call__(
    self, name: str, depth: int, kernel_size: int = 1, stride: int = 1, activation=tf.nn.relu6
  ) -> layers.ConvNorm:
    conv = tf_keras.layers.Conv2D(
      depth,
      kernel_size,
      strides=stride,
      padding=self._padding(stride),
      use_bias=False,
      kernel_initializer=_kernel_initializer(),
      name="conv",
    )
    return self._with_norm(name, conv, depth, activation)

  def depthwise(
    self, name: str, depth: int, kernel_size: int, stride: int, dilation: int
  ) -> layers.ConvNorm:
    """Makes the convolution of each channel by itself."""
    conv = tf_keras.layers.DepthwiseConv2D(
      kernel_size,
      strides=stride,
      dilation_rate=dilation,
      padding=self._padding(stride),
      use_bias=False,
      depthwise_initializer=_kernel_initializer(),
      name="conv",
    )
    return self._with_norm(name, conv, depth, tf.nn.relu6)

  def _padding(self, stride: int) -> str:
    # `valid` ones get their zeros before (`layers.pad_for`).
    return "valid" if self.symmetric and stride > 1 else "same"

  def _with_norm(self, name: str, conv, depth: int, activation) -> layers.ConvNorm:
    return self.conv_norm(conv, self.norm_fn(depth, epsilon=EPSILON), activation, name=name)


def _kernel_initializer() -> tf_keras.initializers.Initializer:
  return tf_keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")


class InvertedBottleneck(tf_keras.layers.Layer):
  """1 x 1, depthwise and 1 x 1 convolution, added to the input where that has the output's shape.

  Attributes:
    convs: the convolutions by name: `expand` where there are more channels inside than before,
      `depthwise`, `project`.
  """

  def __init__(self, make_conv: ConvMaker, block: Block, stride: int, dilation: int, name: str):
    super().__init__(name=name)
    self._has_shortcut = block.has_shortcut
    self.convs = {}
    if block.depth_inside != block.depth_in:
      self.convs["expand"] = make_conv("expand", block.depth_inside)
    self.convs["depthwise"] = make_conv.depthwise(
      "depthwise", block.depth_inside, block.kernel_size, stride, dilation
    )
    self.convs["project"] = make_conv("project", block.depth, activation=None)

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    net = inputs
    for conv in self.convs.values():
      net = conv(layers.pad_for(conv.conv, net), training=training)
    return inputs + net if self._has_shortcut else net


class EfficientNetStage(base.Stage):
  """Convolutions and blocks one after the other.

  Weight decay applies to the ordinary convolutions' kernels, not to depthwise ones.
  """

  def __init__(self, parts: dict[str, tf_keras.layers.Layer], **kwargs):
    super().__init__(**kwargs)
    self._parts = parts

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    return [
      layer.conv.kernel
      for layer in self.named_layers().values()
      if type(layer.conv) is tf_keras.layers.Conv2D and layer.trainable
    ]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    named = {}
    for name, part in self._parts.items():
      inner = part.convs if isinstance(part, InvertedBottleneck) else None
      named.update(
        {f"{name}/{key}": conv for key, conv in inner.items()} if inner else {name: part}
      )
    return named

  def call(self, inputs, training=False):
    net = inputs
    for part in self._parts.values():
      net = self.run_unit(part, net, training)
    return net


class EfficientNetNetwork(EfficientNetStage):
  """[B, H, W, 3] -> the outputs of `MAP_GROUPS`, at strides 4, 8, 16 and 32."""

  def __init__(self, parts: dict[str, tf_keras.layers.Layer], kept: tuple[str, ...], **kwargs):
    """Takes the stem and the blocks by name, and the names of the blocks whose outputs are kept."""
    super().__init__(parts, **kwargs)
    self._kept = kept

  def call(self, inputs, training=False):
    (_, stem), *blocks = self._parts.items()
    net = stem(layers.pad_for(stem.conv, inputs), training=training)
    return self.run_units(dict(blocks), net, training, self._kept)


@dataclasses.dataclass(frozen=True)
class EfficientNetLite(base.Backbone):
  """EfficientNet-Lite as a detection backbone.

  Attributes:
    norm_fn: makes the normalisation layers.
    name: of the network, of which weights exist for those in `FACTORS`.
    width, depth: factors of channels and blocks.
    recompute: see `base.Stage`.
    conv_norm: makes the layers, see `base.Backbone.with_conv_norm`.
  """

  norm_fn: layers.NormFn
  name: str
  width: float
  depth: float
  recompute: bool = False
  conv_norm: layers.ConvNormFn = layers.ConvNorm
  stage2_stride = 2

  @property
  def slim_scope(self) -> str:
    """The network's name; TF-slim has none."""
    return self.name

  @property
  def torch_network(self) -> str:
    """The network of the packages whose names start so."""
    return self.name

  @property
  def stage1_depth(self) -> int:
    return scaled_depth(GROUPS[STAGE1_GROUPS - 1].depth, self.width)

  def preprocess(self, images: tf.Tensor) -> tf.Tensor:
    return (images - MEAN) * (1.0 / STDDEV)

  def make_stage1(self) -> EfficientNetStage:
    """Returns [B, H, W, 3] -> [B, ceil(H / 16), ceil(W / 16), 112 x width]."""
    blocks, _ = list_blocks(self.width, self.depth)
    parts = {"stem": self._make_conv()("stem", STEM_DEPTH, 3, 2)}
    parts.update(self._make_blocks(blocks))
    return EfficientNetStage(parts, recompute=self.recompute, name="stage1")

  def make_stage2(self, name: str, dense: bool = False) -> EfficientNetStage:
    """Returns [R, h, w, 112 x width] -> [R, ceil(h / 2), ceil(w / 2), 1280].

    Where it is dense, kernels after the stride that is left out reach as far as they would have.
    """
    _, blocks = list_blocks(self.width, self.depth)
    parts = self._make_blocks(blocks, dense)
    parts["head"] = self._make_conv()("head", HEAD_DEPTH)
    return EfficientNetStage(parts, recompute=self.recompute, name=name)

  @property
  def map_depths(self) -> tuple[int, ...]:
    return tuple(scaled_depth(GROUPS[i].depth, self.width) for i in MAP_GROUPS)

  def make_network(self) -> EfficientNetNetwork:
    blocks = [block for stage in list_blocks(self.width, self.depth) for block in stage]
    parts = {"stem": self._make_conv(symmetric=True)("stem", STEM_DEPTH, 3, 2)}
    parts.update(self._make_blocks(blocks, symmetric=True))
    last, stride = {}, 2
    for block in blocks:
      stride *= block.stride
      last[stride] = f"blocks_{block.number}"
    kept = tuple(last[2**level] for level in base.MAP_LEVELS)
    return EfficientNetNetwork(parts, kept, recompute=self.recompute, name="stage1")

  def stage2_cells(self, cells: tf.Tensor) -> tf.Tensor:
    return tf.math.ceil(cells / 2.0)

  def torch_names(self, name: str) -> base.TorchNames:
    """Returns, for `blocks_3/expand`, `_blocks.3._expand_conv` and `_blocks.3._bn0`."""
    block, _, layer = name.rpartition("/")
    prefix = f"_{block.replace('_', '.')}." if block else ""
    conv, norm = TORCH_NAMES[layer]
    return base.TorchNames(prefix + conv, prefix + norm)

  def _make_blocks(
    self, blocks: list[Block], dense: bool = False, symmetric: bool = False
  ) -> dict[str, tf_keras.layers.Layer]:
    """The blocks by name, `blocks_0` first; dense ones do not stride but dilate what follows."""
    parts, dilation = {}, 1
    for block in blocks:
      name, stride = f"blocks_{block.number}", 1 if dense else block.stride
      make_conv = self._make_conv(symmetric)
      parts[name] = InvertedBottleneck(make_conv, block, stride, dilation, name)
      dilation *= block.stride if dense else 1
    return parts

  def _make_conv(self, symmetric: bool = False) -> ConvMaker:
    return ConvMaker(self.norm_fn, self.conv_norm, symmetric)
