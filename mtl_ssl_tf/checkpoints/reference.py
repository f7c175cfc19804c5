"""Names of the released MTL-SSL code's variables (TF-slim) for the variables of our detector."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.modeling.backbones import base

# Attribute of one of our layers -> leaf of the reference name.
CONV_LEAVES = {
  "kernel": "weights",
  "depthwise_kernel": "depthwise_weights",
  "pointwise_kernel": "pointwise_weights",
  "bias": "biases",
}
NORM_LEAVES = ("gamma", "beta", "moving_mean", "moving_variance")


class Report(NamedTuple):
  """What became of the variables of both sides, by reference name, sorted.

  Attributes:
    loaded: given and assigned.
    missing: of our detector, but not given; they keep their value.
    unused: given, but not of our detector.
  """

  loaded: list[str]
  missing: list[str]
  unused: list[str]


def reference_variables(model: detector.Detector) -> dict[str, tf.Variable]:
  """Returns every variable of the detector under its name in the released code."""
  scope = model.backbone.slim_scope
  named = dict(_stage("FirstStageFeatureExtractor", scope, model.stage1))
  named.update(_layer("FirstStageBoxPredictor/Conv", model.rpn.conv))
  named.update(_layer("FirstStageBoxPredictor/BoxEncodingPredictor", model.rpn.box))
  named.update(_layer("FirstStageBoxPredictor/ClassPredictor", model.rpn.objectness))
  named.update(_stage("SecondStageFeatureExtractor", scope, model.box_head.stage2))
  named.update(_layer("SecondStageBoxPredictor/BoxEncodingPredictor", model.box_head.box))
  named.update(_layer("SecondStageBoxPredictor/ClassPredictor", model.box_head.classifier))
  for name, head in (
    ("ClosenessBoxPredictor", model.closeness_head),
    ("WindowBoxPredictor", model.multi_object_head),
  ):
    if head is not None:
      named.update(_stage(name, scope, head.stage2))
      named.update(_layer(f"{name}/ClassPredictor", head.classifier))
  if model.foreground_head is not None:
    named.update(_layer("EdgeMaskPredictor/BoxEncodingPredictor", model.foreground_head.conv))
  if model.refiner is not None:
    named.update(_layer("MTLClassRefiner/fc1", model.refiner.linear))
  return named


def assign(model: detector.Detector, arrays: Mapping[str, np.ndarray]) -> Report:
  """Sets the detector's variables from arrays under their reference names.

  Args:
    model: a detector with its variables made.
    arrays: reference name -> value.

  Returns:
    A report by reference name.

  Raises:
    ValueError: if a shape differs, or no name fits; nothing is assigned then.
  """
  variables = reference_variables(model)
  loaded = sorted(set(variables) & set(arrays))
  if not loaded:
    raise ValueError(
      f"none of the {len(arrays)} given names is a variable of the detector; it has e.g. "
      f"{sorted(variables)[0]!r}, given is e.g. {min(arrays, default=None)!r}"
    )
  for name in loaded:
    ours, given = tuple(variables[name].shape), tuple(np.shape(arrays[name]))
    if ours != given:
      raise ValueError(f"variable {name!r}: given shape {given}, the detector's is {ours}")
  for name in loaded:
    variables[name].assign(arrays[name])
  return Report(loaded, sorted(set(variables) - set(loaded)), sorted(set(arrays) - set(loaded)))


def _stage(prefix: str, scope: str, stage: base.Stage) -> Iterator[tuple[str, tf.Variable]]:
  for name, layer in stage.named_layers().items():
    yield from _layer(f"{prefix}/{scope}/{name}", layer.conv)
    for leaf in NORM_LEAVES:
      variable = getattr(layer.norm, leaf, None)
      if variable is not None:
        yield f"{prefix}/{scope}/{name}/BatchNorm/{leaf}", variable


def _layer(name: str, layer: tf_keras.layers.Layer) -> Iterator[tuple[str, tf.Variable]]:
  for attribute, leaf in CONV_LEAVES.items():
    variable = getattr(layer, attribute, None)
    if variable is not None:
      yield f"{name}/{leaf}", variable
