import numpy as np
import pytest

from mtl_ssl_tf.checkpoints import reference
from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.modeling import factory

NUM_CLASSES = 3


def _build(*overrides):
  config = config_lib.MtlDetection()
  config.override(
    {"backbone": {"type": "mobilenet_v1", "depth_multiplier": 0.125}, "rpn": {"depth": 8}},
    is_strict=True,
  )
  for override in overrides:
    config.override(override, is_strict=True)
  return factory.build_detector(config, NUM_CLASSES)


@pytest.fixture(scope="module")
def model():
  return _build({"refinement": {"use_bias": True}})


@pytest.fixture
def restored(model):
  """The detector, which gets its weights back afterwards."""
  weights = model.get_weights()
  yield model
  model.set_weights(weights)


def test_every_variable_has_a_name_of_its_own(model):
  named = reference.reference_variables(model)
  assert {v.ref() for v in named.values()} == {v.ref() for v in model.variables}
  assert len(named) == len(model.variables)


@pytest.mark.parametrize(
  ("features", "reduce_depth"), [("shared_map", 8), ("shared_map", 0), ("main_head", 0)]
)
def test_other_features_of_the_auxiliary_heads(features, reduce_depth):
  other = _build(
    {"auxiliary": {"features": features, "shared_map": {"reduce_depth": reduce_depth}}}
  )
  named = reference.reference_variables(other)
  assert {v.ref() for v in named.values()} == {v.ref() for v in other.variables}
  has_stage2 = features == "shared_map"
  assert bool(reference.stage2_copies(other, "WindowBoxPredictor")) == has_stage2
  named = reference.classification_variables(other)
  copies = named["MobilenetV1/Conv2d_13_pointwise/BatchNorm/gamma"]
  assert len(copies) == (3 if has_stage2 else 1)


# Some names of the released code's checkpoints with the variables that we keep there.
NAMES = {
  "FirstStageFeatureExtractor/MobilenetV1/Conv2d_0/weights": lambda m: (
    m.stage1.named_layers()["Conv2d_0"].conv.kernel
  ),
  "FirstStageFeatureExtractor/MobilenetV1/Conv2d_3_depthwise/depthwise_weights": lambda m: (
    m.stage1.named_layers()["Conv2d_3_depthwise"].conv.depthwise_kernel
  ),
  "FirstStageFeatureExtractor/MobilenetV1/Conv2d_3_pointwise/BatchNorm/moving_variance": lambda m: (
    m.stage1.named_layers()["Conv2d_3_pointwise"].norm.moving_variance
  ),
  "FirstStageFeatureExtractor/MobilenetV1/Conv2d_3_pointwise/BatchNorm/moving_mean": lambda m: (
    m.stage1.named_layers()["Conv2d_3_pointwise"].norm.moving_mean
  ),
  "FirstStageBoxPredictor/Conv/biases": lambda m: m.rpn.conv.bias,
  "FirstStageBoxPredictor/BoxEncodingPredictor/weights": lambda m: m.rpn.box.kernel,
  "FirstStageBoxPredictor/ClassPredictor/weights": lambda m: m.rpn.objectness.kernel,
  "SecondStageFeatureExtractor/MobilenetV1/Conv2d_13_pointwise/pointwise_weights": lambda m: (
    m.box_head.stage2.named_layers()["Conv2d_13_pointwise"].conv.pointwise_kernel
  ),
  "SecondStageFeatureExtractor/MobilenetV1/Conv2d_13_pointwise/BatchNorm/gamma": lambda m: (
    m.box_head.stage2.named_layers()["Conv2d_13_pointwise"].norm.gamma
  ),
  "SecondStageBoxPredictor/BoxEncodingPredictor/weights": lambda m: m.box_head.box.kernel,
  "SecondStageBoxPredictor/ClassPredictor/biases": lambda m: m.box_head.classifier.bias,
  "ClosenessBoxPredictor/MobilenetV1/Conv2d_12_pointwise/BatchNorm/beta": lambda m: (
    m.closeness_head.stage2.named_layers()["Conv2d_12_pointwise"].norm.beta
  ),
  "ClosenessBoxPredictor/ClassPredictor/weights": lambda m: m.closeness_head.classifier.kernel,
  "WindowBoxPredictor/MobilenetV1/Conv2d_12_pointwise/depthwise_weights": lambda m: (
    m.multi_object_head.stage2.named_layers()["Conv2d_12_pointwise"].conv.depthwise_kernel
  ),
  "WindowBoxPredictor/ClassPredictor/weights": lambda m: m.multi_object_head.classifier.kernel,
  "EdgeMaskPredictor/BoxEncodingPredictor/weights": lambda m: m.foreground_head.conv.kernel,
  "MTLClassRefiner/fc1/weights": lambda m: m.refiner.linear.kernel,
  "MTLClassRefiner/fc1/biases": lambda m: m.refiner.linear.bias,
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_released_code(model, name):
  assert reference.reference_variables(model)[name] is NAMES[name](model)


def test_absent_heads_have_no_names():
  bare = _build(
    {
      "auxiliary": {
        name: {"loss_weight": 0.0} for name in ("multi_object", "closeness", "foreground")
      },
      "refinement": {"enabled": False},
    }
  )
  prefixes = {name.split("/")[0] for name in reference.reference_variables(bare)}
  assert prefixes == {
    "FirstStageFeatureExtractor",
    "FirstStageBoxPredictor",
    "SecondStageFeatureExtractor",
    "SecondStageBoxPredictor",
  }


def test_assign_and_report(restored):
  variables = reference.reference_variables(restored)
  before = {name: variable.numpy() for name, variable in variables.items()}
  given = {
    "MTLClassRefiner/fc1/biases": np.array([1.0, 2.0, 3.0]),
    "FirstStageBoxPredictor/Conv/biases": np.arange(8.0),
    "global_step": np.array(7),
    "EdgeMask/other": np.zeros(2),
  }
  report = reference.assign(restored, given)
  assert report.loaded == ["FirstStageBoxPredictor/Conv/biases", "MTLClassRefiner/fc1/biases"]
  assert report.unused == ["EdgeMask/other", "global_step"]
  assert report.missing == sorted(set(before) - set(report.loaded))
  np.testing.assert_array_equal(restored.refiner.linear.bias, [1.0, 2.0, 3.0])
  np.testing.assert_array_equal(restored.rpn.conv.bias, np.arange(8.0))
  for name in report.missing:
    np.testing.assert_array_equal(variables[name], before[name])


def test_everything_given(restored):
  variables = reference.reference_variables(restored)
  given = {name: np.full(v.shape, i) for i, (name, v) in enumerate(variables.items())}
  report = reference.assign(restored, given)
  assert (report.missing, report.unused) == ([], [])
  for i, variable in enumerate(variables.values()):
    np.testing.assert_array_equal(variable, np.full(variable.shape, i))


def test_another_shape_is_refused_and_nothing_assigned(restored):
  before = restored.get_weights()
  given = {
    "FirstStageBoxPredictor/Conv/biases": np.ones(8),
    "MTLClassRefiner/fc1/biases": np.ones(21),
  }
  message = r"'MTLClassRefiner/fc1/biases': given shape \(21,\), the detector's is \(3,\)"
  with pytest.raises(ValueError, match=message):
    reference.assign(restored, given)
  for ours, theirs in zip(restored.get_weights(), before, strict=True):
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("given", "example"), [({"x/y": np.ones(1)}, "'x/y'"), ({}, "None")])
def test_names_of_another_model(model, given, example):
  message = f"none of the {len(given)} given names .*'ClosenessBox.* given is e.g. {example}"
  with pytest.raises(ValueError, match=message):
    reference.assign(model, given)
