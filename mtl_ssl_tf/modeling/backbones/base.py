"""Interface between a backbone and the detector.

A backbone is cut in two. Stage 1 runs once over the image and gives the shared map at stride 16.
Stage 2 runs on crops of that map (Faster R-CNN) or on the whole of it (R-FCN); every head that
needs one makes its own copy. For a feature pyramid it is not cut: the whole network runs over the
image and gives maps at four strides.

To add a backbone, write a file with a `Backbone` and register it (`registry.py`).
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import layers
from mtl_ssl_tf.reading import quoting


class Stage(tf_keras.layers.Layer):
  """One part of a backbone: maps in, maps out.

  Attributes:
    recompute: in training, keep no more of a unit than its input, and compute the rest again on the
      way back: less memory for more time. Not with normalisation that learns statistics, which
      would see every batch twice.
    is_backbone: whether its layers are those of a backbone, of which classification networks have
      weights.
  """

  is_backbone = True

  def __init__(self, recompute: bool = False, **kwargs):
    super().__init__(**kwargs)
    self.recompute = recompute

  def run_unit(
    self, unit: Callable[..., tf.Tensor], net: tf.Tensor, training: bool, *others: tf.Tensor
  ) -> tf.Tensor:
    """Returns the output of a unit of this stage, see `recompute`, for a map and other tensors."""
    run = functools.partial(unit, training=training)
    run = tf.recompute_grad(run) if self.recompute and training else run
    return run(net, *others)

  def run_units(
    self,
    units: Mapping[str, Callable[..., tf.Tensor]],
    net: tf.Tensor,
    training: bool,
    kept: Collection[str],
  ) -> tuple[tf.Tensor, ...]:
    """Runs units one after the other; returns the maps after those whose names are in `kept`."""
    maps = []
    for name, unit in units.items():
      net = self.run_unit(unit, net, training)
      if name in kept:
        maps.append(net)
    return tuple(maps)

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    """The variables that weight decay applies to."""
    return []

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    """Layers with weights (`ConvNorm`) by the name that they have in TF-slim checkpoints."""
    raise NotImplementedError

  def freeze_groups(self) -> dict[str, list[tf_keras.layers.Layer]]:
    """Layers that can be frozen together, by name: the first part of their TF-slim names."""
    groups = {}
    for name, layer in self.named_layers().items():
      groups.setdefault(name.split("/")[0], []).append(layer)
    return groups

  def freeze(self, groups: Iterable[str]) -> None:
    """Keeps whole groups from being trained, and from weight decay.

    Raises:
      ValueError: if there is no such group.
    """
    known = self.freeze_groups() if groups else {}
    for group in groups:
      if group not in known:
        raise ValueError(
          f"task.backbone.freeze names {quoting.shown(group)}; accepted: {', '.join(known)}, or []"
          " for none"
        )
      for layer in known[group]:
        layer.trainable = False


# Levels of the maps of a network that is not cut: level l has stride 2^l.
MAP_LEVELS = (2, 3, 4, 5)


class TorchNames(NamedTuple):
  """The modules of a PyTorch network that a layer's weights come from; `norm` may be None."""

  conv: str
  norm: str | None


class Backbone(abc.ABC):
  """Makes the stages of one architecture and states what they expect.

  Attributes:
    slim_scope: name of the network in TF-slim checkpoints.
    stride: of the stage-1 map, pixels of the input.
    stage1_depth: channels of the stage-1 map.
    stage2_stride: cells of the stage-1 map from one cell of stage 2 to the next.
    default_freeze: groups of stage 1 that are not trained unless the configuration says otherwise.
    torch_network: the PyTorch network that `torch_names` is of, in words; empty for none.
  """

  slim_scope: str
  stride: int = 16
  stage1_depth: int
  stage2_stride: int = 1
  default_freeze: tuple[str, ...] = ()
  torch_network: str = ""

  @abc.abstractmethod
  def preprocess(self, images: tf.Tensor) -> tf.Tensor:
    """Brings float32 RGB images of 0 ... 255 to the range the network was made for."""

  @abc.abstractmethod
  def make_stage1(self) -> Stage:
    """Returns a new stage 1: [B, H, W, 3] -> [B, ceil(H / 16), ceil(W / 16), stage1_depth]."""

  @abc.abstractmethod
  def make_stage2(self, name: str, dense: bool = False) -> Stage:
    """Returns a new stage 2: maps [R, h, w, stage1_depth] -> [R, h', w', depth].

    Args:
      name: of the layer.
      dense: keep all cells, with the same weights. Only asked for where `stage2_stride` is above 1.

    Raises:
      ValueError: there is no dense form.
    """

  @property
  def map_depths(self) -> tuple[int, ...]:
    """Channels of the maps that `make_network` gives, one for each of `MAP_LEVELS`.

    Raises:
      ValueError: as `make_network`.
    """
    raise ValueError(f"{type(self).__name__} has no maps at four strides")

  def make_network(self) -> Stage:
    """Returns the whole network in one stage, under the name and with the layers of both.

    It takes [B, H, W, 3] and returns its last maps at strides 4, 8, 16 and 32, each
    [B, ceil(H / stride), ceil(W / stride), depth]. Strided convolutions pad symmetrically, so that
    cell i of a map sees the image around pixel stride x i, whatever the size of the image.

    Raises:
      ValueError: the backbone has no such form.
    """
    raise ValueError(f"{type(self).__name__} has no maps at four strides")

  def with_conv_norm(self, conv_norm: layers.ConvNormFn) -> "Backbone":
    """Returns the same backbone with another way to compute its `layers.ConvNorm`s.

    That is for backbones that are dataclasses with a field `conv_norm`; others have their own way.
    """
    if "conv_norm" not in getattr(self, "__dataclass_fields__", ()):
      return self
    return dataclasses.replace(self, conv_norm=conv_norm)

  def stage2_cells(self, cells: tf.Tensor) -> tf.Tensor:
    """Returns the rows or columns of stage 2's output, given those of its input; any shape."""
    return cells

  def classification_name(self, name: str, in_stage2: bool) -> str:
    """Returns the name of a layer of `named_layers` in a TF-slim classification network."""
    del in_stage2
    return name

  def torch_names(self, name: str) -> TorchNames:
    """Returns what a layer of `named_layers` is called in a PyTorch state dict.

    Raises:
      ValueError: there are no such weights for this backbone.
    """
    raise ValueError(f"there are no PyTorch weights for {type(self).__name__} ({name})")
