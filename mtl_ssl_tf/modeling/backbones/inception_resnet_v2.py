"""Inception-ResNet-v2 (Szegedy et al., 2017), cut after its twenty 17 x 17 blocks.

Every VALID padding of stage 1 is SAME here, so that cells lie where the anchors are ("aligned
feature maps" in TF-slim); stage 2 keeps VALID. Names are TF-slim's.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base, layers

# A convolution is (name, channels, kernel height and width, stride). A list of them is a branch.
Conv = tuple[str, int, tuple[int, int], int]

STEM: tuple[Conv | None, ...] = (
  ("Conv2d_1a_3x3", 32, (3, 3), 2),
  ("Conv2d_2a_3x3", 32, (3, 3), 1),
  ("Conv2d_2b_3x3", 64, (3, 3), 1),
  None,  # Max-pooling, 3 x 3 at stride 2.
  ("Conv2d_3b_1x1", 80, (1, 1), 1),
  ("Conv2d_4a_3x3", 192, (3, 3), 1),
  None,
)
MIXED_5B = (
  (("Conv2d_1x1", 96, (1, 1), 1),),
  (("Conv2d_0a_1x1", 48, (1, 1), 1), ("Conv2d_0b_5x5", 64, (5, 5), 1)),
  (
    ("Conv2d_0a_1x1", 64, (1, 1), 1),
    ("Conv2d_0b_3x3", 96, (3, 3), 1),
    ("Conv2d_0c_3x3", 96, (3, 3), 1),
  ),
  (("Conv2d_0b_1x1", 64, (1, 1), 1),),
)
BLOCK35 = (
  (("Conv2d_1x1", 32, (1, 1), 1),),
  (("Conv2d_0a_1x1", 32, (1, 1), 1), ("Conv2d_0b_3x3", 32, (3, 3), 1)),
  (
    ("Conv2d_0a_1x1", 32, (1, 1), 1),
    ("Conv2d_0b_3x3", 48, (3, 3), 1),
    ("Conv2d_0c_3x3", 64, (3, 3), 1),
  ),
)
MIXED_6A = (
  (("Conv2d_1a_3x3", 384, (3, 3), 2),),
  (
    ("Conv2d_0a_1x1", 256, (1, 1), 1),
    ("Conv2d_0b_3x3", 256, (3, 3), 1),
    ("Conv2d_1a_3x3", 384, (3, 3), 2),
  ),
)
BLOCK17 = (
  (("Conv2d_1x1", 192, (1, 1), 1),),
  (
    ("Conv2d_0a_1x1", 128, (1, 1), 1),
    ("Conv2d_0b_1x7", 160, (1, 7), 1),
    ("Conv2d_0c_7x1", 192, (7, 1), 1),
  ),
)
MIXED_7A = (
  (("Conv2d_0a_1x1", 256, (1, 1), 1), ("Conv2d_1a_3x3", 384, (3, 3), 2)),
  (("Conv2d_0a_1x1", 256, (1, 1), 1), ("Conv2d_1a_3x3", 288, (3, 3), 2)),
  (
    ("Conv2d_0a_1x1", 256, (1, 1), 1),
    ("Conv2d_0b_3x3", 288, (3, 3), 1),
    ("Conv2d_1a_3x3", 320, (3, 3), 2),
  ),
)
BLOCK8 = (
  (("Conv2d_1x1", 192, (1, 1), 1),),
  (
    ("Conv2d_0a_1x1", 192, (1, 1), 1),
    ("Conv2d_0b_1x3", 224, (1, 3), 1),
    ("Conv2d_0c_3x1", 256, (3, 1), 1),
  ),
)
DEPTHS = {"block35": 320, "block17": 1088, "block8": 2080}
OUTPUT_DEPTH = 1536
# Name of the last repeated group in stage 2, and in a classification network.
STAGE2_REPEAT, CLASSIFICATION_REPEAT = "Repeat/", "Repeat_2/"


# A convolution, its padding where it strides, and a name -> a layer.
MakeConv = Callable[[Conv, str, str], layers.ConvNorm]


class Branches(tf_keras.layers.Layer):
  """Parallel chains of convolutions, their outputs joined.

  Attributes:
    convs: the convolutions by name, `Branch_0/...` first.
  """

  def __init__(self, make_conv: MakeConv, branches, strided_padding: str = "same", **kwargs):
    super().__init__(**kwargs)
    self.convs = {}
    self._chains = []
    for i, branch in enumerate(branches):
      names = [f"Branch_{i}/{conv[0]}" for conv in branch]
      for name, conv in zip(names, branch, strict=True):
        self.convs[name] = make_conv(conv, strided_padding, name.replace("/", "_"))
      self._chains.append(names)

  def chain(self, number: int, inputs: tf.Tensor, training: bool) -> tf.Tensor:
    """Returns the output of one branch."""
    for name in self._chains[number]:
      inputs = self.convs[name](inputs, training=training)
    return inputs

  def call(self, inputs, training=False):
    return tf.concat([self.chain(i, inputs, training) for i in range(len(self._chains))], axis=-1)


class PooledBranches(Branches):
  """`Mixed_5b`: the last branch starts with average pooling."""

  def call(self, inputs, training=False):
    last = len(self._chains) - 1
    outputs = [self.chain(i, inputs, training) for i in range(last)]
    pooled = tf.nn.avg_pool2d(inputs, 3, 1, "SAME")
    return tf.concat([*outputs, self.chain(last, pooled, training)], axis=-1)


class ReducingBranches(Branches):
  """`Mixed_6a` and `Mixed_7a`: a branch of max-pooling alone comes last."""

  def __init__(self, make_conv: MakeConv, branches, strided_padding: str, **kwargs):
    super().__init__(make_conv, branches, strided_padding, **kwargs)
    self._pool_padding = strided_padding.upper()

  def call(self, inputs, training=False):
    pooled = tf.nn.max_pool2d(inputs, 3, 2, self._pool_padding)
    return tf.concat([super().call(inputs, training=training), pooled], axis=-1)


class ResidualBlock(Branches):
  """Branches, brought to the input's depth by a 1 x 1 convolution with bias, scaled and added."""

  def __init__(self, make_conv: MakeConv, branches, depth: int, scale: float, activation, **kwargs):
    super().__init__(make_conv, branches, **kwargs)
    conv = tf_keras.layers.Conv2D(depth, 1, name="conv")
    self.convs["Conv2d_1x1"] = layers.ConvNorm(conv, None, None, name="Conv2d_1x1")
    self._scale = scale
    self._residual_activation = activation

  def call(self, inputs, training=False):
    mixed = super().call(inputs, training=training)
    net = inputs + self._scale * self.convs["Conv2d_1x1"](mixed)
    return net if self._residual_activation is None else self._residual_activation(net)


def _repeat(make_conv: MakeConv, scope: str, kind: str, count: int, branches, scale: float):
  """Residual blocks by name, `scope/kind_1` first."""
  return {
    f"{scope}/{kind}_{i}": ResidualBlock(
      make_conv, branches, DEPTHS[kind], scale, tf.nn.relu, name=f"{kind}_{i}"
    )
    for i in range(1, count + 1)
  }


class InceptionStage(base.Stage):
  """Parts one after the other, each a `ConvNorm`, `Branches`, or None for max-pooling."""

  def __init__(self, parts: dict[str, tf_keras.layers.Layer | None], **kwargs):
    super().__init__(**kwargs)
    self._parts = parts

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    return [
      variable
      for layer in self.named_layers().values()
      if layer.trainable
      for variable in (layer.conv.kernel, layer.conv.bias)
      if variable is not None
    ]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    named = {}
    for name, part in self._parts.items():
      if isinstance(part, Branches):
        named.update({f"{name}/{inner}": layer for inner, layer in part.convs.items()})
      elif part is not None:
        named[name] = part
    return named

  def call(self, inputs, training=False):
    net = inputs
    for part in self._parts.values():
      net = self.run_unit(part, net, training) if part else tf.nn.max_pool2d(net, 3, 2, "SAME")
    return net


@dataclasses.dataclass(frozen=True)
class InceptionResNetV2(base.Backbone):
  """Inception-ResNet-v2 as a detection backbone.

  Attributes:
    norm_fn: makes the normalisation layers, which have no scale here.
    repeats: residual blocks of the three repeated groups.
    recompute: see `base.Stage`.
    conv_norm: makes the layers, see `base.Backbone.with_conv_norm`.
  """

  norm_fn: layers.NormFn
  repeats: tuple[int, int, int] = (10, 20, 9)
  recompute: bool = False
  conv_norm: layers.ConvNormFn = layers.ConvNorm
  slim_scope = "InceptionResnetV2"
  stage1_depth = DEPTHS["block17"]
  stage2_stride = 2

  def preprocess(self, images: tf.Tensor) -> tf.Tensor:
    return images * (2.0 / 255.0) - 1.0

  def make_stage1(self) -> InceptionStage:
    """Returns [B, H, W, 3] -> [B, ceil(H / 16), ceil(W / 16), 1088]."""
    make_conv = self._make_conv
    parts = {}
    for i, conv in enumerate(STEM):
      name = conv[0] if conv else f"pool_{i}"
      parts[name] = make_conv(conv, "same", name) if conv else None
    parts["Mixed_5b"] = PooledBranches(make_conv, MIXED_5B, name="Mixed_5b")
    parts.update(_repeat(make_conv, "Repeat", "block35", self.repeats[0], BLOCK35, 0.17))
    parts["Mixed_6a"] = ReducingBranches(make_conv, MIXED_6A, "same", name="Mixed_6a")
    parts.update(_repeat(make_conv, "Repeat_1", "block17", self.repeats[1], BLOCK17, 0.10))
    return InceptionStage(parts, recompute=self.recompute, name="stage1")

  def make_stage2(self, name: str, dense: bool = False) -> InceptionStage:
    """Returns [R, h, w, 1088] -> [R, (h - 1) // 2, (w - 1) // 2, 1536]; not dense."""
    if dense:
      raise ValueError("the second stage of Inception-ResNet v2 strides, and has no dense form")
    make_conv = self._make_conv
    parts = {"Mixed_7a": ReducingBranches(make_conv, MIXED_7A, "valid", name="Mixed_7a")}
    parts.update(_repeat(make_conv, "Repeat", "block8", self.repeats[2], BLOCK8, 0.20))
    parts["Block8"] = ResidualBlock(make_conv, BLOCK8, DEPTHS["block8"], 1.0, None, name="Block8")
    last = ("Conv2d_7b_1x1", OUTPUT_DEPTH, (1, 1), 1)
    parts[last[0]] = make_conv(last, "same", last[0])
    return InceptionStage(parts, recompute=self.recompute, name=name)

  def stage2_cells(self, cells: tf.Tensor) -> tf.Tensor:
    return (cells - 1.0) // 2.0

  def classification_name(self, name: str, in_stage2: bool) -> str:
    if in_stage2 and name.startswith(STAGE2_REPEAT):
      return CLASSIFICATION_REPEAT + name.removeprefix(STAGE2_REPEAT)
    return name

  def _make_conv(self, conv: Conv, strided_padding: str, name: str) -> layers.ConvNorm:
    _, channels, kernel_size, stride = conv
    return self.conv_norm(
      tf_keras.layers.Conv2D(
        channels,
        kernel_size,
        strides=stride,
        padding="same" if stride == 1 else strided_padding,
        use_bias=False,
        name="conv",
      ),
      self.norm_fn(channels, epsilon=1e-3, scale=False),
      tf.nn.relu,
      name=name,
    )
