"""Weights of torchvision's detectors on a feature pyramid, `fasterrcnn_resnet50_fpn` and its kind.

torchvision's module         ours
backbone.body                `stage1`
backbone.fpn.inner_blocks    lateral convolutions, 0 for level 2
backbone.fpn.layer_blocks    output convolutions
rpn.head                     `rpn`; an anchor's one logit is ours of an object, that of none is 0
roi_heads.box_head           the main head's second stage, or that of each stage of a cascade
roi_heads.box_predictor      its last layers, of which ours has no box of the background

Deltas are [x, y, width, height] there, and the RPN's without the factors 10 and 5
(`box_coder_ops`). A cell's anchors go by height over width there, by width over height here.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.checkpoints.report import Report
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.modeling import pyramid as pyramid_lib
from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.reading import quoting

BODY = "backbone.body."
# The one shape of anchors that torchvision's weights are for: heights over widths, in their order.
ASPECT_RATIOS = (0.5, 1.0, 2.0)
NETWORK = "torchvision's fasterrcnn_resnet50_fpn"
_NORM_LEAVES = {
  "gamma": "weight",
  "beta": "bias",
  "moving_mean": "running_mean",
  "moving_variance": "running_var",
}
# From [x, y, width, height] to [y, x, height, width], and our factors of them.
_ORDER = (1, 0, 3, 2)
_RPN_FACTORS = np.array([10.0, 10.0, 5.0, 5.0], np.float32)
# PyTorch's array -> ours.
Convert = Callable[[np.ndarray], np.ndarray]


def is_detector(arrays: Mapping[str, np.ndarray]) -> bool:
  """Returns whether a state dict is of a detector on a pyramid."""
  return any(name.startswith(BODY) for name in arrays)


def assign(
  model: detector.Detector, arrays: Mapping[str, np.ndarray], modules: str, copy_main: bool
) -> Report:
  """Sets a detector's variables from a state dict.

  Args:
    model: a detector on a pyramid, with its variables made.
    arrays: PyTorch's name -> array, all of the state dict.
    modules: `all`, or `backbone` for network, pyramid and second stage alone, e.g. because the
      classes are others.
    copy_main: whether second stages of the auxiliary heads start as the main head's does.

  Returns:
    A report with PyTorch's names.

  Raises:
    ValueError: a sentence's predicate, if the state dict is of another detector; then nothing is
      assigned.
  """
  arrays = {_new_name(name): array for name, array in arrays.items()}
  targets = dict(_targets(model, modules))
  missing = sorted(set(targets) - set(arrays))
  if missing:
    raise ValueError(
      f"lacks {len(missing)} of {len(targets)} tensors, e.g. {quoting.shown(missing[0])}"
    )
  used = {name.rpartition(".")[0] for name in targets}
  parts = ("rpn.head.", "roi_heads.box_head.") if modules == "all" else ("roi_heads.box_head.",)
  others = [n for n in arrays if n.startswith(parts) and n.rpartition(".")[0] not in used]
  if others:
    raise ValueError(
      f"is of a larger network: it has {len(others)} more tensors, e.g."
      f" {quoting.shown(min(others))}"
    )
  values = {name: _value(name, arrays[name], *target) for name, target in targets.items()}
  for name, (variable, _) in targets.items():
    variable.assign(values[name])
  first, *later = model.box_head.stages
  for stage in later:  # Of a cascade.
    stage.set_weights(first.get_weights())
  if copy_main:
    model.start_auxiliary_heads_like_main()
  return Report(sorted(targets), [], sorted(set(arrays) - set(targets)))


def _new_name(name: str) -> str:
  """The name since torchvision 0.13, where a convolution lies in a block of its own."""
  parts = name.split(".")
  is_block = parts[:2] == ["backbone", "fpn"] and len(parts) == 5
  if is_block or (parts[:3] == ["rpn", "head", "conv"] and len(parts) == 4):
    more = ["0"] if is_block else ["0", "0"]
    return ".".join([*parts[:-1], *more, parts[-1]])
  return name


def _value(name: str, array: np.ndarray, variable: tf.Variable, convert: Convert) -> np.ndarray:
  """The array as our variable has it.

  Raises:
    ValueError: a sentence's predicate, for another shape, whole numbers, or what is not finite.
  """
  if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
    raise ValueError(
      f"has {quoting.shown(name)} with values that are not finite, or of type {array.dtype}"
    )
  try:
    value = convert(array.astype(np.float32))
  except (ValueError, IndexError):
    value = np.zeros([0])
  if value.shape != tuple(variable.shape):
    raise ValueError(
      f"has {quoting.shown(name)} of shape {array.shape}, which the detector has no place for"
    )
  return value


def _targets(
  model: detector.Detector, modules: str
) -> Iterator[tuple[str, tuple[tf.Variable, Convert]]]:
  """PyTorch's name -> our variable, and the way to its value."""
  for name, layer in model.stage1.named_layers().items():
    names = model.backbone.torch_names(name)
    yield f"{BODY}{names.conv}.weight", (layer.conv.kernel, _conv)
    yield from _norm(BODY + names.norm, layer)
  yield from _pyramid_targets(model.pyramid)
  yield from _stage_targets(model.box_head.crop_features.cropper.size, model.main_heads[0].stage2)
  if modules == "all":
    yield from _rpn_targets(model)
    yield from _predictor_targets(model)


def _pyramid_targets(
  pyramid: pyramid_lib.FeaturePyramid,
) -> Iterator[tuple[str, tuple[tf.Variable, Convert]]]:
  blocks = {"lateral": "inner_blocks", "output": "layer_blocks"}
  for name, layer in pyramid.named_layers().items():
    kind, level = name.split("_")
    if kind not in blocks:
      raise ValueError(f"has no convolution for level {level}, as task.fpn.coarser asks for")
    block = f"backbone.fpn.{blocks[kind]}.{int(level) - base.MAP_LEVELS[0]}"
    yield from _conv_norm(f"{block}.0", f"{block}.1", layer)


def _stage_targets(
  crop_size: int, stage: base.Stage
) -> Iterator[tuple[str, tuple[tf.Variable, Convert]]]:
  """Of `2fc` fc6 and fc7; of `4conv1fc` convolutions 0 ... 3 and, after a flattening, 5."""
  scope = "roi_heads.box_head"
  named = stage.named_layers()
  convs = [name for name in named if name.startswith("conv")]
  for i, name in enumerate(convs):
    yield from _conv_norm(f"{scope}.{i}.0", f"{scope}.{i}.1", named[name])
  for i, name in enumerate(name for name in named if name.startswith("fc")):
    module = f"{scope}.{len(convs) + 1}" if convs else f"{scope}.{name}"
    convert = _first_dense(crop_size) if i == 0 else np.transpose
    yield f"{module}.weight", (named[name].conv.kernel, convert)
    yield f"{module}.bias", (named[name].conv.bias, _same)


def _rpn_targets(model: detector.Detector) -> Iterator[tuple[str, tuple[tf.Variable, Convert]]]:
  """Raises ValueError where the anchors of a cell are others."""
  grid = model.anchor_grid.grids[0]
  ours = [1.0 / ratio for ratio in grid.aspect_ratios]
  if len(grid.scales) != 1 or sorted(ours) != sorted(ASPECT_RATIOS):
    raise ValueError(
      "has anchors of aspect ratios 0.5, 1 and 2 in one size, which task.anchors.aspect_ratios and "
      "task.anchors.level_scales do not ask for"
    )
  order = [ASPECT_RATIOS.index(ratio) for ratio in ours]

  def objectness(array: np.ndarray) -> np.ndarray:
    objects = array[order]  # [A, ...]
    both = np.stack([np.zeros_like(objects), objects], axis=1)  # [A, 2, ...]
    return _last(both.reshape(-1, *array.shape[1:]))

  def box(array: np.ndarray) -> np.ndarray:
    deltas = array.reshape(len(order), 4, *array.shape[1:])[order][:, _ORDER]
    factors = _RPN_FACTORS.reshape(1, 4, *[1] * (array.ndim - 1))
    return _last((deltas * factors).reshape(array.shape))

  for i, conv in enumerate(model.rpn.convs):
    yield from _layer(f"rpn.head.conv.{i}.0", conv, _last)
  yield from _layer("rpn.head.cls_logits", model.rpn.objectness, objectness)
  yield from _layer("rpn.head.bbox_pred", model.rpn.box, box)


def _predictor_targets(
  model: detector.Detector,
) -> Iterator[tuple[str, tuple[tf.Variable, Convert]]]:
  def box(array: np.ndarray) -> np.ndarray:
    deltas = array.reshape(-1, 4, *array.shape[1:])[1:, _ORDER]  # [C - 1, 4, ...]
    return _last(deltas.reshape(-1, *array.shape[1:]))

  if len(model.main_heads) > 1:
    raise ValueError(
      f"has one head of classes and boxes, where task.roi_head.cascade has {len(model.main_heads)}"
    )
  scope = "roi_heads.box_predictor"
  yield from _layer(f"{scope}.cls_score", model.main_heads[0].classifier, _last)
  yield from _layer(f"{scope}.bbox_pred", model.main_heads[0].box, box)


def _layer(
  module: str, layer: tf_keras.layers.Layer, convert: Convert
) -> Iterator[tuple[str, tuple[tf.Variable, Convert]]]:
  yield f"{module}.weight", (layer.kernel, convert)
  yield f"{module}.bias", (layer.bias, convert)


def _conv_norm(
  conv: str, norm: str, layer: tf_keras.layers.Layer
) -> Iterator[tuple[str, tuple[tf.Variable, Convert]]]:
  yield f"{conv}.weight", (layer.conv.kernel, _conv)
  if layer.norm is None:
    yield f"{conv}.bias", (layer.conv.bias, _same)
  else:
    yield from _norm(norm, layer)


def _norm(
  module: str, layer: tf_keras.layers.Layer
) -> Iterator[tuple[str, tuple[tf.Variable, Convert]]]:
  for attribute, leaf in _NORM_LEAVES.items():
    variable = getattr(layer.norm, attribute, None)
    if variable is not None:
      yield f"{module}.{leaf}", (variable, _same)


def _same(array: np.ndarray) -> np.ndarray:
  return array


def _conv(array: np.ndarray) -> np.ndarray:
  return array.transpose(2, 3, 1, 0)


def _last(array: np.ndarray) -> np.ndarray:
  """Outputs last: of a convolution [h, w, in, out], of a dense layer [in, out], of a bias as is."""
  return _conv(array) if array.ndim == 4 else array.transpose()


def _first_dense(crop_size: int) -> Convert:
  """Inputs go channel by channel there, cell by cell here."""

  def convert(array: np.ndarray) -> np.ndarray:
    cells = array.reshape(len(array), -1, crop_size, crop_size)  # [out, c, s, s]
    return cells.transpose(2, 3, 1, 0).reshape(-1, len(array))  # [s s c, out]

  return convert
