"""ResNet's second stage on crops, faster.

**Projection before the crop.** The first unit of a stage of bottlenecks begins with two 1 x 1
convolutions, `conv1` and `shortcut`. A convolution of single cells and a bilinear crop can change
places. The map has far fewer cells than its crops together, so the convolutions run once on the
map, and crops are taken of their outputs. Crops of padding (zeros) come out right too, since
whatever is added (bias, shift) waits until after the crop. What is max-pooled after the crop cannot
be treated so.

**Fourier convolution.** The 3 x 3 convolutions of crops go by way of their Fourier transform
(`fourier_conv`), which rounds otherwise. Maps are then cell by cell, [s^2, B R, 1, c]; the kernels'
transforms are computed once for all crops. Not with normalisation of single crops (`group`).

Letters as in `detector.py`; `s` is a side of a crop.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.modeling.acceleration import folding, fourier_conv
from mtl_ssl_tf.modeling.backbones import resnet
from mtl_ssl_tf.modeling.heads import pooling

PROJECTIONS = ("conv1", "shortcut")


class PreparedMap(NamedTuple):
  """An image's shared map, prepared once for all crops.

  Attributes:
    maps: those that crops are taken from, each [B, h, w, c]: the shared map or its `PROJECTIONS`.
    kernels: tensors computed once from the weights of each unit; empty without Fourier transform.
  """

  maps: tuple[tf.Tensor, ...]
  kernels: tuple[tuple[tf.Tensor, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class AcceleratedCropFeatures(pooling.CropFeatures):
  """As `CropFeatures`, up to rounding.

  Attributes:
    cropper: cuts out the boxes.
    stage: the second stage of a ResNet.
    projects: whether the first unit's 1 x 1 convolutions run on the map; not of basic blocks.
    fourier_side: rows and columns of crops whose 3 x 3 convolutions go by way of their Fourier
      transform; None for none.
  """

  stage: resnet.ResNetStage2
  projects: bool = True
  fourier_side: int | None = None

  def prepare(self, features: tf.Tensor) -> tf.Tensor | PreparedMap:
    """Returns the map itself where nothing is to be prepared."""
    if not self.stage.built:
      return super().prepare(features)  # The first crops make the variables.
    if not self.projects and self.fourier_side is None:
      return super().prepare(features)
    maps, kernels = (features,), ()
    if self.projects:
      first, *_ = self.stage.units
      maps = tuple(_project(first.convs[name], features) for name in PROJECTIONS)
    if self.fourier_side is not None:
      kernels = tuple(_kernels(unit, self.fourier_side) for unit in self.stage.units)
    return PreparedMap(maps, kernels)

  def __call__(
    self,
    prepared: tf.Tensor | PreparedMap,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool,
  ) -> tf.Tensor:
    if not isinstance(prepared, PreparedMap):
      return super().__call__(prepared, boxes_norm, image_size_px, training)
    crops = tuple(
      self.cropper(maps, boxes_norm, image_size_px) for maps in prepared.maps
    )  # [B R, s, s, c]
    kernels = prepared.kernels or ((),) * len(self.stage.units)
    if prepared.kernels:
      crops = tuple(fourier_conv.to_cells(maps) for maps in crops)  # [s^2, B R, 1, c]
    (first, *units), (first_kernels, *kernels) = self.stage.units, kernels
    if len(crops) == len(PROJECTIONS):
      net = _run_projected(first, crops, first_kernels, training)
    else:
      net = self._run(first, crops[0], first_kernels, training)
    for unit, unit_kernels in zip(units, kernels, strict=True):
      net = self._run(unit, net, unit_kernels, training)
    # [s^2, B R, 1, depth] or [B R, s, s, depth]
    return tf.reduce_mean(tf.cast(net, tf.float32), axis=[0, 2] if prepared.kernels else [1, 2])

  def _run(
    self, unit: resnet.Unit, net: tf.Tensor, kernels: Sequence[tf.Tensor], training: bool
  ) -> tf.Tensor:
    on_cells = _run_on_cells if isinstance(unit, resnet.Bottleneck) else _run_basic_on_cells
    run = functools.partial(on_cells, unit) if kernels else unit
    return self.stage.run_unit(run, net, training, *kernels)


def _project(layer, features: tf.Tensor) -> tf.Tensor:
  return folding.convolve(layer, features, folding.linear_kernel(layer))


def _kernels(unit: resnet.Unit, side: int) -> tuple[tf.Tensor, ...]:
  """The kernels of `conv1`, `conv2` and so on, those of 3 x 3 as `fourier_conv` takes them."""
  names = sorted(name for name in unit.convs if name != "shortcut")
  kernels = [folding.linear_kernel(unit.convs[name]) for name in names]
  return tuple(
    fourier_conv.spectrum(kernel, side) if kernel.shape[0] == fourier_conv.KERNEL_SIZE else kernel
    for kernel in kernels
  )


def _run_on_cells(
  unit: resnet.Bottleneck, cells: tf.Tensor, *kernels: tf.Tensor, training: bool
) -> tf.Tensor:
  """The unit on maps cell by cell, [s^2, B R, 1, c]."""
  conv1 = unit.convs["conv1"]
  net = folding.finish(conv1, folding.convolve(conv1, cells, kernels[0]), training)
  return _after_conv1(unit, net, unit.shortcut(cells, training), kernels, training)


def _run_basic_on_cells(
  unit: resnet.BasicBlock, cells: tf.Tensor, *spectra: tf.Tensor, training: bool
) -> tf.Tensor:
  """The unit on maps cell by cell, [s^2, B R, 1, c]."""
  net = cells
  for name, spectrum in zip(("conv1", "conv2"), spectra, strict=True):
    net = folding.finish(unit.convs[name], fourier_conv.convolve(net, spectrum), training)
  return tf.nn.relu(unit.shortcut(cells, training) + net)


def _run_projected(
  unit: resnet.Bottleneck,
  projected: tuple[tf.Tensor, tf.Tensor],
  kernels: Sequence[tf.Tensor],
  training: bool,
) -> tf.Tensor:
  """The first unit on crops of `PROJECTIONS`."""
  net, shortcut = projected
  net = folding.finish(unit.convs["conv1"], net, training)
  layer, shift = unit.convs["shortcut"], None
  if isinstance(layer, folding.FoldedConvNorm):
    # A shift is best added where another is, and not by a pass over the widest map of all.
    shift = layer.shift
  else:
    shortcut = folding.finish(layer, shortcut, training)
  return _after_conv1(unit, net, shortcut, kernels, training, shift)


def _after_conv1(
  unit: resnet.Bottleneck,
  net: tf.Tensor,
  shortcut: tf.Tensor,
  kernels: Sequence[tf.Tensor],
  training: bool,
  shift: tf.Tensor | None = None,
) -> tf.Tensor:
  """The rest of the unit, whose stride is 1; the shortcut still lacks `shift` [d]."""
  conv2, conv3 = unit.convs["conv2"], unit.convs["conv3"]
  if kernels:
    _, spectrum, kernel3 = kernels
    net = folding.finish(conv2, fourier_conv.convolve(net, spectrum), training)
  else:
    net, kernel3 = conv2(net, training=training), folding.linear_kernel(conv3)
  net = folding.finish(conv3, folding.convolve(conv3, net, kernel3), training, shift)
  return tf.nn.relu(shortcut + net)
