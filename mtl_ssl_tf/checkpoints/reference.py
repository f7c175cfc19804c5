"""Names of the released MTL-SSL code's variables (TF-slim) for the variables of our detector."""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.checkpoints.report import Report
from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import base as heads_base
from mtl_ssl_tf.reading import quoting

# Attribute of one of our layers -> leaf of the reference name.
CONV_LEAVES = {
  "kernel": "weights",
  "depthwise_kernel": "depthwise_weights",
  "pointwise_kernel": "pointwise_weights",
  "bias": "biases",
}
NORM_LEAVES = ("gamma", "beta", "moving_mean", "moving_variance")
# Scopes of the auxiliary heads with a second stage -> the detector's attribute.
AUXILIARY_SCOPES = {
  "ClosenessBoxPredictor": "closeness_head",
  "WindowBoxPredictor": "multi_object_head",
}
STAGE1_SCOPE = "FirstStageFeatureExtractor"
STAGE2_SCOPE = "SecondStageFeatureExtractor"
PYRAMID_SCOPE = "FeaturePyramid"


def reference_variables(model: detector.Detector) -> dict[str, tf.Variable]:
  """Returns every variable of the detector under its name in the released code."""
  scope = model.backbone.slim_scope
  named = dict(_stage(STAGE1_SCOPE, scope, model.stage1))
  if model.pyramid is not None:
    named.update(_stage(PYRAMID_SCOPE, scope, model.pyramid))
  for i, conv in enumerate(model.rpn.convs):
    named.update(_layer(f"FirstStageBoxPredictor/Conv{f'_{i}' if i else ''}", conv))
  named.update(_layer("FirstStageBoxPredictor/BoxEncodingPredictor", model.rpn.box))
  named.update(_layer("FirstStageBoxPredictor/ClassPredictor", model.rpn.objectness))
  for i, head in enumerate(model.main_heads):
    # The released code has no cascade; names of its later stages are ours.
    suffix = f"_{i}" if i else ""
    named.update(_stage(f"{STAGE2_SCOPE}{suffix}", scope, head.stage2))
    named.update(_head(f"SecondStageBoxPredictor{suffix}", head))
  for name, attribute in AUXILIARY_SCOPES.items():
    head = getattr(model, attribute)
    if head is not None:
      for stage in head.stages:
        named.update(_stage(name, scope, stage))
      named.update(_head(name, head))
  if model.foreground_head is not None:
    named.update(_layer("EdgeMaskPredictor/BoxEncodingPredictor", model.foreground_head.conv))
  if model.refiner is not None:
    named.update(_layer("MTLClassRefiner/fc1", model.refiner.linear))
  return named


def stage_names(model: detector.Detector) -> set[str]:
  """Returns the reference names of the variables of all stages."""
  scope = model.backbone.slim_scope
  return {name for name in reference_variables(model) if name.split("/")[1] == scope}


def stage2_copies(model: detector.Detector, scope: str) -> dict[str, str]:
  """Returns the second stage's names in an auxiliary head -> those of the main head."""
  head = getattr(model, AUXILIARY_SCOPES[scope])
  if head is None or not head.stages:
    return {}
  stage2 = _stage(STAGE2_SCOPE, model.backbone.slim_scope, model.main_heads[0].stage2)
  return {f"{scope}{name.removeprefix(STAGE2_SCOPE)}": name for name, _ in stage2}


def classification_variables(
  model: detector.Detector, auxiliary: bool = True
) -> dict[str, list[tf.Variable]]:
  """Returns the backbone's variables under their names in a TF-slim classification checkpoint.

  A name of stage 2 has several: the main head's and, with `auxiliary`, those of the auxiliary
  heads, which then start from the same weights.
  """
  backbone = model.backbone
  named = {}
  stages = model.backbone_stages(auxiliary)
  for stage in stages:
    in_stage2 = stage is not model.stage1
    for name, variable in _stage("", backbone.slim_scope, stage):
      inner = name.removeprefix(f"/{backbone.slim_scope}/")
      inner = backbone.classification_name(inner, in_stage2)
      named.setdefault(f"{backbone.slim_scope}/{inner}", []).append(variable)
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
  named = {name: [variable] for name, variable in reference_variables(model).items()}
  return assign_named(named, arrays)


def assign_named(
  variables: Mapping[str, list[tf.Variable]], arrays: Mapping[str, np.ndarray]
) -> Report:
  """Assigns arrays to variables by name; an array goes to all the variables of its name."""
  loaded = sorted(set(variables) & set(arrays))
  if not loaded:
    raise ValueError(
      f"none of the {len(arrays)} given names is a variable of the detector; it has e.g. "
      f"{quoting.shown(min(variables))}, given is e.g. {quoting.shown(min(arrays, default=None))}"
    )
  for name in loaded:
    given = tuple(np.shape(arrays[name]))
    for variable in variables[name]:
      ours = tuple(variable.shape)
      if ours != given:
        raise ValueError(
          f"variable {quoting.shown(name)}: given shape {given}, the detector's is {ours}"
        )
  for name in loaded:
    for variable in variables[name]:
      variable.assign(arrays[name])
  return Report(loaded, sorted(set(variables) - set(loaded)), sorted(set(arrays) - set(loaded)))


def _head(scope: str, head: heads_base.RegionHead) -> Iterator[tuple[str, tf.Variable]]:
  for name, layer in head.named_layers().items():
    yield from _layer(f"{scope}/{name}", layer)


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
