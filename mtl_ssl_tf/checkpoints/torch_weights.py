"""Weights of a classification network from a PyTorch state dict, for our backbones.

A backbone names its layers' modules in PyTorch (`base.Backbone.torch_names`); here their tensors
are found by these names, brought to TensorFlow's order of axes, and assigned.

A state dict has to hold the whole backbone, and of its blocks nothing that the backbone does not
have: weights of another depth would load without a difference of shape.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.checkpoints import torch_detector, torch_files
from mtl_ssl_tf.checkpoints.report import Report
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.reading import quoting

# Attribute of our layer -> last part of PyTorch's name.
CONV_LEAVES = {"kernel": "weight", "depthwise_kernel": "weight", "bias": "bias"}
NORM_LEAVES = {
  "gamma": "weight",
  "beta": "bias",
  "moving_mean": "running_mean",
  "moving_variance": "running_var",
}
# Our axes in PyTorch's: [out, in, h, w] is [h, w, in, out], and [channels, 1, h, w] of a depthwise
# convolution is [h, w, channels, 1].
AXES = {"kernel": (2, 3, 1, 0), "depthwise_kernel": (2, 3, 0, 1)}
IGNORED_LEAVES = ("num_batches_tracked",)


def load(
  model: detector.Detector, path: str, source: str, auxiliary: bool = True, modules: str = "all"
) -> Report:
  """Loads a classification network's weights into the stages of the detector.

  A detector on a feature pyramid takes a whole detector's, too (`torch_detector`).

  Args:
    model: the detector, with its variables made.
    path: of a file that `torch_files.read_state_dict` reads.
    source: how the path came about, for the message.
    auxiliary: whether the auxiliary heads' second stages get them too.
    modules: of a detector's weights, see `pretrained.load`.

  Returns:
    A report with PyTorch's names.

  Raises:
    ValueError: if the file cannot be read, or is of another network; nothing is assigned then.
  """
  try:
    stages = model.backbone_stages(auxiliary)
    variables, torch_modules = _variables(model.backbone, stages)
    arrays = torch_files.read_state_dict(path)
  except ValueError as error:
    raise ValueError(f"{source} {error}") from error
  arrays = {n: array for n, array in arrays.items() if n.rsplit(".", 1)[-1] not in IGNORED_LEAVES}
  if model.pyramid is not None and torch_detector.is_detector(arrays):
    return _load_detector(model, arrays, f"{source} {path!r}", modules, auxiliary)
  try:
    _check_names(set(variables), torch_modules, set(arrays))
    values = {name: _value(name, arrays[name], *variables[name]) for name in variables}
  except ValueError as error:
    raise ValueError(
      f"{source} {path!r} {error}; accepted: a state dict of {model.backbone.torch_network}"
    ) from error
  for name, (_, targets) in variables.items():
    for target in targets:
      target.assign(values[name])
  return Report(sorted(variables), [], sorted(set(arrays) - set(variables)))


def _load_detector(
  model: detector.Detector,
  arrays: Mapping[str, np.ndarray],
  source: str,
  modules: str,
  auxiliary: bool,
) -> Report:
  try:
    return torch_detector.assign(model, arrays, modules, auxiliary)
  except ValueError as error:
    hint = "" if modules == "backbone" else "; task.init_modules: backbone leaves the heads out"
    raise ValueError(
      f"{source} {error}; accepted: a state dict of {torch_detector.NETWORK}{hint}"
    ) from error


def _variables(
  backbone: base.Backbone, stages: list[base.Stage]
) -> tuple[dict[str, tuple[str, list[tf.Variable]]], set[str]]:
  """PyTorch's name -> our attribute and all variables that are to have it; PyTorch's modules.

  Raises:
    ValueError: if the backbone has no names in PyTorch.
  """
  named, modules = {}, set()

  def add(module: str, layer: tf_keras.layers.Layer, leaves: Mapping[str, str]):
    modules.add(module)
    for attribute, leaf in leaves.items():
      variable = getattr(layer, attribute, None)
      if variable is not None:
        named.setdefault(f"{module}.{leaf}", (attribute, []))[1].append(variable)

  for stage in stages:
    for name, layer in stage.named_layers().items():
      names = backbone.torch_names(name)
      add(names.conv, layer.conv, CONV_LEAVES)
      if names.norm is not None:
        add(names.norm, layer.norm, NORM_LEAVES)
  return named, modules


def _check_names(ours: set[str], modules: set[str], given: set[str]) -> None:
  """Refuses other networks.

  Raises:
    ValueError: a sentence's predicate.
  """
  missing = sorted(ours - given)
  if len(missing) == len(ours):
    raise ValueError(
      f"is of another network: it has e.g. {min(given)!a:.100}, but no {quoting.shown(min(ours))}"
    )
  parts = {module.split(".")[0] for module in modules}
  others = sorted(
    name for name in given if name.split(".")[0] in parts and name.rpartition(".")[0] not in modules
  )
  if missing:
    raise ValueError(
      f"lacks {len(missing)} of {len(ours)} tensors, e.g. {quoting.shown(missing[0])}"
    )
  if others:
    raise ValueError(
      f"is of a larger network: it has {len(others)} more tensors, e.g. {others[0]!a:.100}"
    )


def _value(
  name: str, array: np.ndarray, attribute: str, variables: list[tf.Variable]
) -> np.ndarray:
  """The array as our variables have it: float32, in TensorFlow's order of axes.

  Raises:
    ValueError: a sentence's predicate, for another shape, whole numbers, or what is not finite.
  """
  ours = tuple(variables[0].shape)
  axes = AXES.get(attribute, range(len(ours)))
  expected = tuple(ours[axis] for axis in np.argsort(axes))
  if array.shape != expected:
    raise ValueError(
      f"has {quoting.shown(name)} of shape {array.shape}, the backbone's is {expected}"
    )
  if not np.issubdtype(array.dtype, np.floating):
    raise ValueError(f"has {quoting.shown(name)} of type {array.dtype}, not of a floating type")
  if not np.isfinite(array).all():
    raise ValueError(f"has {quoting.shown(name)} with values that are not finite")
  return array.transpose(axes).astype(np.float32)
