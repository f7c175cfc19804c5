"""Our stages with a PyTorch state dict compute what the network does that it is of."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.checkpoints import pretrained, torch_weights
from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.modeling import factory
from tests.checkpoints import torch_writer as writer
from tests.checkpoints import torchvision_reference as torchvision
from tests.modeling import small_backbones

SOURCE = "task.init_checkpoint:"
BACKBONES = {
  "basic": {"type": "small_basic_resnet"},
  "bottleneck": {"type": "small_resnet", "layout": "torchvision"},
}
# Convolutions of the stem, of the units and, but for the first of basic blocks, of the shortcuts.
NUM_CONVS = {"basic": 1 + 4 * 2 + 3, "bottleneck": 1 + 4 * 3 + 4}


def build(backbone):
  config = config_lib.MtlDetection()
  override = {
    "backbone": backbone,
    "rpn": {"depth": 8},
    # One second stage beside the main one is enough to see that it gets the weights too.
    "auxiliary": {"closeness": {"loss_weight": 0.0}},
  }
  config.override(override, is_strict=True)
  with small_backbones.registered():
    return factory.build_detector(config, 3)


def state_dict(kind) -> dict[str, np.ndarray]:
  lines = np.load(torchvision.RECORD)[f"{kind}/names"]
  shapes = {name: tuple(map(int, shape)) for name, *shape in map(str.split, map(str, lines))}
  counts = {name: shape for name, shape in shapes.items() if "num_batches" in name}
  arrays = torchvision.weights({n: s for n, s in shapes.items() if n not in counts})
  return {**arrays, **{name: np.array(7) for name in counts}}


def save(path, arrays) -> str:
  kinds = {"float32": "Float", "float16": "Half", "int64": "Long"}
  tensors = {}
  for name, array in arrays.items():
    storage = writer.storage(kinds[array.dtype.name], name, array.size)
    strides = [stride // array.itemsize for stride in array.strides]
    tensors[name] = writer.tensor(storage, array.shape, strides)
  storages = {name: array.tobytes() for name, array in arrays.items()}
  return writer.zip_file(path, writer.mapping(tensors), storages)


@pytest.fixture(scope="module", name="basic")
def _basic():
  return build(BACKBONES["basic"])


@pytest.mark.parametrize("kind", torchvision.SMALL)
def test_torchvisions_resnets(tmp_path, kind):
  model = build(BACKBONES[kind])
  report = pretrained.load(model, save(tmp_path / "net.pth", state_dict(kind)), SOURCE)
  assert len(report.loaded) == 5 * NUM_CONVS[kind]
  assert (report.missing, report.unused) == ([], ["fc.bias", "fc.weight"])
  golden = np.load(torchvision.RECORD)
  features = model.stage1(model.backbone.preprocess(torchvision.image(64, 49)))
  heads = (model.box_head, model.multi_object_head)
  pairs = [(features, "layer3"), *((head.stage2(features), "layer4") for head in heads)]
  for ours, stage in pairs:
    theirs = golden[f"{kind}/{stage}"]
    np.testing.assert_allclose(ours[..., :: torchvision.EVERY], theirs, atol=1e-4 * np.max(theirs))


def test_the_main_stages_alone(tmp_path, basic):
  before = basic.multi_object_head.stage2.get_weights()
  arrays = {n: a + np.array(1, a.dtype) for n, a in state_dict("basic").items()}
  path = save(tmp_path / "net.pt", arrays)
  pretrained.load(basic, path, SOURCE, copy_missing=False)
  kernel = basic.box_head.stage2.named_layers()["block4/unit_1/basic_block_v1/conv2"].conv.kernel
  np.testing.assert_array_equal(kernel, arrays["layer4.0.conv2.weight"].transpose(2, 3, 1, 0))
  for value, other in zip(before, basic.multi_object_head.stage2.get_weights(), strict=True):
    np.testing.assert_array_equal(value, other)


def test_half_precision_and_no_classifier(tmp_path, basic):
  arrays = {n: a for n, a in state_dict("basic").items() if not n.startswith("fc")}
  arrays["bn1.running_mean"] = arrays["bn1.running_mean"].astype(np.float16)
  report = pretrained.load(basic, save(tmp_path / "net.pth", arrays), SOURCE)
  assert report.unused == []
  mean = basic.stage1.conv1.norm.moving_mean
  np.testing.assert_array_equal(mean, arrays["bn1.running_mean"].astype(np.float32))


def test_group_normalisation_has_no_statistics(tmp_path):
  model = build({**BACKBONES["basic"], "norm": {"type": "group"}})
  report = pretrained.load(model, save(tmp_path / "net.pth", state_dict("basic")), SOURCE)
  assert len(report.loaded) == 3 * NUM_CONVS["basic"]
  statistics = {name.rsplit(".")[-1] for name in report.unused if not name.startswith("fc")}
  assert statistics == {"running_mean", "running_var"}


def others_in_front(arrays):
  return {f"backbone.body.{name}": array for name, array in arrays.items()}


def without(start):
  return lambda arrays: {n: a for n, a in arrays.items() if not n.startswith(start)}


def changed(name, change):
  return lambda arrays: {**arrays, name: change(arrays[name])}


def with_nan(array):
  return np.where(np.arange(array.size) == 3, np.float32("nan"), array)


@pytest.mark.parametrize(
  ("change", "cause"),
  [
    (
      others_in_front,
      "is of another network: it has e.g. 'backbone.body.bn1.bias', but no 'bn1.bias'",
    ),
    (without("layer3.0.conv2"), "lacks 1 of 60 tensors, e.g. 'layer3.0.conv2.weight'"),
    (
      lambda arrays: {**arrays, "layer3.1.conv1.weight": arrays["layer3.0.conv2.weight"]},
      "is of a larger network: it has 1 more tensors, e.g. 'layer3.1.conv1.weight'",
    ),
    (
      changed("conv1.weight", lambda array: array[:, :, 1:]),
      r"has 'conv1.weight' of shape \(64, 3, 6, 7\), the backbone's is \(64, 3, 7, 7\)",
    ),
    (
      changed("bn1.weight", lambda array: array.astype(np.int64)),
      "has 'bn1.weight' of type int64, not of a floating type",
    ),
    (changed("bn1.bias", with_nan), "has 'bn1.bias' with values that are not finite"),
  ],
)
def test_other_networks_are_refused_whole(tmp_path, basic, change, cause):
  before = basic.get_weights()
  arrays = {n: a + np.array(2, a.dtype) for n, a in state_dict("basic").items()}
  arrays = {name: np.ascontiguousarray(array) for name, array in change(arrays).items()}
  path = save(tmp_path / "net.pth", arrays)
  message = f"^{SOURCE} '{path}' {cause}; accepted: a state dict of torchvision's resnet18$"
  with pytest.raises(ValueError, match=message):
    pretrained.load(basic, path, SOURCE)
  for value, other in zip(before, basic.get_weights(), strict=True):
    np.testing.assert_array_equal(value, other)


def test_a_file_that_cannot_be_read(tmp_path, basic):
  path = tmp_path / "net.pth"
  path.write_bytes(b"GIF")
  with pytest.raises(ValueError, match=f"^{SOURCE} '{path}' is no file of torch.save; "):
    pretrained.load(basic, str(path), SOURCE)


@pytest.mark.parametrize(
  ("backbone", "cause"),
  [
    ({"type": "small_resnet", "layout": "slim"}, "PyTorch weights, but task.backbone.layout is "),
    (
      {"type": "mobilenet_v1", "depth_multiplier": 0.25},
      "there are no PyTorch weights for MobileNetV1 ",
    ),
  ],
)
def test_backbones_without_such_weights(backbone, cause):
  with pytest.raises(ValueError, match=f"^{SOURCE} {cause}"):
    pretrained.load(build(backbone), "net.pth", SOURCE)


def test_axes_of_a_depthwise_convolution():
  # Channel 1 of two; rows and columns differ.
  array = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 1, 3, 5)
  variable = tf.Variable(tf.zeros([3, 5, 2, 1]))
  value = torch_weights._value("conv.weight", array, "depthwise_kernel", [variable])
  np.testing.assert_array_equal(value[:, :, 1, 0], array[1, 0])
