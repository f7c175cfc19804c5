"""Start weights in every form that they come in."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.checkpoints import pretrained, reference
from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.modeling import factory
from tests.checkpoints import slim_files

THIN = {"backbone": {"type": "mobilenet_v1", "depth_multiplier": 0.125}, "rpn": {"depth": 8}}
NO_AUXILIARY = {
  "auxiliary": {"multi_object": {"loss_weight": 0.0}, "closeness": {"loss_weight": 0.0}},
  "refinement": {"enabled": False},
}
SOURCE = "task.init_checkpoint:"
STAGE2 = "MobilenetV1/Conv2d_12_pointwise"


def build(*overrides, num_classes=3):
  config = config_lib.MtlDetection()
  for override in (THIN, *overrides):
    config.override(override, is_strict=True)
  return factory.build_detector(config, num_classes)


def values(model) -> dict[str, np.ndarray]:
  return {name: v.numpy() for name, v in reference.reference_variables(model).items()}


def noise(shapes: dict, seed=0) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(seed)
  return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def detector_arrays(model, seed=0) -> dict[str, np.ndarray]:
  return noise({name: array.shape for name, array in values(model).items()}, seed)


def save_ours(model, path) -> str:
  """Saves as training does: model, optimizer with slots, and step."""
  optimizer = tf_keras.optimizers.SGD(momentum=0.9)
  optimizer.build(model.trainable_variables)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, global_step=tf.Variable(7))
  return checkpoint.save(str(path))


class TestClassification:
  def shapes(self, model):
    named = reference.classification_variables(model)
    shapes = {name: tuple(variables[0].shape) for name, variables in named.items()}
    return {**shapes, "MobilenetV1/Logits/Conv2d_1c_1x1/weights": (1, 1, 128, 10)}

  def test_every_second_stage_starts_alike(self, tmp_path):
    model = build({"backbone": {"fused_stage2": False}})
    before = values(model)
    arrays = noise(self.shapes(model))
    path = slim_files.write(tmp_path / "net.ckpt", {**arrays, "global_step": np.array(3)})
    report = pretrained.load(model, path, SOURCE)
    after = values(model)
    for name, value in after.items():
      scope, _, inner = name.partition("/")
      if f"/{inner}".startswith("/MobilenetV1/"):
        np.testing.assert_array_equal(value, arrays[inner], err_msg=name)
      else:
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    assert set(report.loaded) == set(arrays) - set(report.unused)
    assert report.unused == ["MobilenetV1/Logits/Conv2d_1c_1x1/weights"]
    assert report.missing == []
    depthwise = "MobilenetV1/Conv2d_13_depthwise/depthwise_weights"
    for scope in ("SecondStageFeatureExtractor", *reference.AUXILIARY_SCOPES):
      assert f"{scope}/{depthwise}" in after

  def test_auxiliary_stages_stay_random_where_asked(self, tmp_path):
    model = build({"backbone": {"fused_stage2": False}})
    before = values(model)
    arrays = noise(self.shapes(model))
    path = slim_files.write(tmp_path / "net.ckpt", arrays)
    pretrained.load(model, path, SOURCE, copy_missing=False)
    after = values(model)
    name = "MobilenetV1/Conv2d_13_depthwise/depthwise_weights"
    np.testing.assert_array_equal(after[f"SecondStageFeatureExtractor/{name}"], arrays[name])
    for scope in reference.AUXILIARY_SCOPES:
      np.testing.assert_array_equal(after[f"{scope}/{name}"], before[f"{scope}/{name}"])

  def test_the_fused_second_stage_takes_its_normalisation_alone(self, tmp_path):
    whole = self.shapes(build({"backbone": {"fused_stage2": False}}))
    model = build()
    before = values(model)
    arrays = noise(whole)
    report = pretrained.load(model, slim_files.write(tmp_path / "net.ckpt", arrays), SOURCE)
    after = values(model)
    name = f"{STAGE2}/BatchNorm/gamma"
    np.testing.assert_array_equal(after[f"WindowBoxPredictor/{name}"], arrays[name])
    kernel = f"SecondStageFeatureExtractor/{STAGE2}/pointwise_weights"
    np.testing.assert_array_equal(after[kernel], before[kernel])
    assert f"{STAGE2}/pointwise_weights" in report.missing
    assert f"{STAGE2}/weights" in report.unused


class TestReleasedDetector:
  def test_all_of_it(self, tmp_path):
    model = build({"refinement": {"use_bias": True}})
    arrays = detector_arrays(model)
    extra = {
      "global_step": np.array(3),
      "FirstStageBoxPredictor/Conv/weights/Momentum": np.ones(2),
      "FirstStageFeatureExtractor/resnet_v1_101/block4/unit_1/weights": np.ones(2),
      "Other/weights": np.ones(2),
    }
    path = slim_files.write(tmp_path / "model.ckpt", {**arrays, **extra})
    report = pretrained.load(model, path, SOURCE)
    assert report == (sorted(arrays), [], ["Other/weights"], [])
    for name, value in values(model).items():
      np.testing.assert_array_equal(value, arrays[name], err_msg=name)

  @pytest.mark.parametrize("copy_missing", [False, True])
  def test_auxiliary_stages_replicate_the_detectors(self, tmp_path, copy_missing):
    plain = build(NO_AUXILIARY)
    arrays = detector_arrays(plain)
    path = slim_files.write(tmp_path / "model.ckpt", arrays)
    model = build()
    before = values(model)
    report = pretrained.load(model, path, SOURCE, copy_missing=copy_missing)
    after = values(model)
    main = f"SecondStageFeatureExtractor/{STAGE2}/BatchNorm/beta"
    for scope in ("ClosenessBoxPredictor", "WindowBoxPredictor"):
      name = f"{scope}/{STAGE2}/BatchNorm/beta"
      assert (name in report.copied) == copy_missing
      assert (name in report.missing) != copy_missing
      np.testing.assert_array_equal(after[name], arrays[main] if copy_missing else before[name])
    assert "MTLClassRefiner/fc1/weights" in report.missing


class TestOurs:
  def test_all_of_it(self, tmp_path):
    saved, model = build(), build()
    reference.assign(saved, detector_arrays(saved))
    path = save_ours(saved, tmp_path / "ckpt")
    for given in (path, str(tmp_path)):
      reference.assign(model, detector_arrays(model, seed=1))
      report = pretrained.load(model, given, SOURCE)
      for name, value in values(model).items():
        np.testing.assert_array_equal(value, values(saved)[name], err_msg=name)
      assert report == (sorted(values(saved)), [], [], [])

  def test_of_a_detector_without_auxiliary_tasks(self, tmp_path):
    saved, model = build(NO_AUXILIARY), build()
    reference.assign(saved, detector_arrays(saved))
    report = pretrained.load(model, save_ours(saved, tmp_path / "ckpt"), SOURCE)
    after = values(model)
    for name, value in values(saved).items():
      np.testing.assert_array_equal(after[name], value, err_msg=name)
    name = f"{STAGE2}/pointwise_weights"
    np.testing.assert_array_equal(
      after[f"WindowBoxPredictor/{name}"], after[f"SecondStageFeatureExtractor/{name}"]
    )
    assert f"WindowBoxPredictor/{name}" in report.copied

  def test_what_is_not_used_is_reported(self, tmp_path):
    report = pretrained.load(build(NO_AUXILIARY), save_ours(build(), tmp_path / "ckpt"), SOURCE)
    assert report.missing == []
    heads = {key.split("/")[1] for key in report.unused}
    assert heads == {"multi_object_head", "closeness_head", "refiner"}

  def test_backbone_alone_for_other_classes(self, tmp_path):
    saved, model = build(num_classes=9), build()
    reference.assign(saved, detector_arrays(saved))
    path = save_ours(saved, tmp_path / "ckpt")
    before = values(model)
    message = (
      rf"^{SOURCE} '{path}': variable 'ClosenessBoxPredictor/ClassPredictor/biases': given shape "
      r"\(9,\), the detector's is \(3,\); task.init_modules: backbone leaves the heads out$"
    )
    with pytest.raises(ValueError, match=message):
      pretrained.load(model, path, SOURCE)
    for name, value in values(model).items():
      np.testing.assert_array_equal(value, before[name], err_msg=name)
    pretrained.load(model, path, SOURCE, modules="backbone")
    for name, value in values(model).items():
      in_stage = name.split("/")[1] == "MobilenetV1"
      expected = values(saved)[name] if in_stage else before[name]
      np.testing.assert_array_equal(value, expected, err_msg=name)


class TestRefused:
  def test_nothing_fits(self, tmp_path):
    path = slim_files.write(tmp_path / "net.ckpt", {"resnet_v1_50/conv1/weights": np.ones(2)})
    message = rf"^{SOURCE} '{path}': none of the 1 given names .* given is e.g. 'resnet_v1_50/conv1"
    with pytest.raises(ValueError, match=message):
      pretrained.load(build(), path, SOURCE)

  def test_another_width(self, tmp_path):
    wide = build({"backbone": {"depth_multiplier": 0.25}})
    path = save_ours(wide, tmp_path / "ckpt")
    with pytest.raises(ValueError, match=rf"^{SOURCE} '{path}': variable '.*': given shape "):
      pretrained.load(build(), path, SOURCE)

  @pytest.mark.parametrize("name", ["weights.h5", "weights.pth", "weights.pt", "model.ckpt"])
  def test_not_there(self, tmp_path, name):
    message = rf"^{SOURCE} '{tmp_path / name}' does not exist"
    with pytest.raises(ValueError, match=message):
      pretrained.check_source(str(tmp_path / name), SOURCE)

  def test_the_configuration_accepts_what_there_is(self):
    modules = fields.choices_of(fields.field_of(config_lib.MtlDetection, "init_modules"))
    assert set(modules) == set(pretrained.MODULES)

  def test_imagenet_is_always_there(self):
    pretrained.check_source("imagenet", SOURCE)
