"""What parity with the released code, Keras and torchvision does not show: see golden_test.py,
keras_weights_test.py and torch_weights_test.py.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.backbones import resnet

UNITS = (1, 2, 2, 1)


BASIC = resnet.BasicBlock


def backbone(layout="slim", norm_type="frozen", unit=resnet.Bottleneck):
  norm_fn = functools.partial(normalization.make_norm, norm_type, momentum=0.5, groups=8)
  return resnet.ResNet(norm_fn, UNITS, "resnet_v1_x", layout, unit=unit)


@pytest.fixture(name="stage1", params=[*resnet.LAYOUTS, BASIC], scope="module")
def _stage1(request):
  is_basic = request.param is BASIC
  made = backbone("torchvision", unit=BASIC) if is_basic else backbone(request.param)
  stage = made.make_stage1()
  stage(tf.zeros([1, 32, 32, 3]))
  return stage


@pytest.mark.parametrize(("side", "cells"), [(64, 4), (65, 5), (80, 5), (33, 3)])
def test_stage1_map(stage1, side, cells):
  depth = 256 * stage1.units[0].expansion
  assert stage1(tf.zeros([1, side, 64, 3])).shape == [1, cells, 4, depth]


@pytest.mark.parametrize(("unit", "depth"), [(resnet.Bottleneck, 1024), (BASIC, 256)])
def test_stage2_keeps_the_size(unit, depth):
  made = backbone("torchvision", unit=unit)
  assert made.stage1_depth == depth
  stage2 = made.make_stage2("s")
  assert stage2(tf.zeros([2, 7, 5, depth])).shape == [2, 7, 5, 2 * depth]
  assert stage2.has_bottlenecks == (unit is resnet.Bottleneck)


def strides(layout, unit=resnet.Bottleneck):
  """Names of the strided convolutions, first to last."""
  named = backbone(layout, unit=unit).make_stage1().named_layers()
  return [name for name, layer in named.items() if layer.conv.strides != (1, 1)]


def test_the_slim_layout_strides_late():
  # Block 1 has one unit, which is its first and last, and a shortcut that strides with it.
  assert strides("slim") == [
    "conv1",
    "block1/unit_1/bottleneck_v1/conv2",
    "block1/unit_1/bottleneck_v1/shortcut",
    "block2/unit_2/bottleneck_v1/conv2",
  ]


def test_the_keras_layout_strides_early():
  assert strides("keras") == [
    "conv1",
    "block2/unit_1/bottleneck_v1/conv1",
    "block2/unit_1/bottleneck_v1/shortcut",
    "block3/unit_1/bottleneck_v1/conv1",
    "block3/unit_1/bottleneck_v1/shortcut",
  ]


def test_the_torchvision_layout_strides_in_the_first_3x3_of_a_block():
  assert strides("torchvision") == [
    "conv1",
    "block2/unit_1/bottleneck_v1/conv2",
    "block2/unit_1/bottleneck_v1/shortcut",
    "block3/unit_1/bottleneck_v1/conv2",
    "block3/unit_1/bottleneck_v1/shortcut",
  ]
  assert strides("torchvision", BASIC) == [
    "conv1",
    "block2/unit_1/basic_block_v1/conv1",
    "block2/unit_1/basic_block_v1/shortcut",
    "block3/unit_1/basic_block_v1/conv1",
    "block3/unit_1/basic_block_v1/shortcut",
  ]


def convolved(maps, layer, stride):
  """A convolution padded on all sides, cell by cell, and its normalisation."""
  kernel = layer.conv.kernel.numpy()
  side = len(kernel)
  maps = np.pad(maps, [(side // 2, side // 2), (side // 2, side // 2), (0, 0)])
  rows, columns = (range(0, size - side + 1, stride) for size in maps.shape[:2])
  net = np.array(
    [
      [np.tensordot(maps[y : y + side, x : x + side], kernel, axes=3) for x in columns]
      for y in rows
    ]
  )
  norm = layer.norm
  scale = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + 1e-5)
  return (net - norm.moving_mean.numpy()) * scale + norm.beta.numpy()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("unit_type", [resnet.Bottleneck, BASIC])
def test_units_of_the_torchvision_layout(unit_type, stride):
  rng = np.random.default_rng(0)
  make_conv = backbone("torchvision")._make_conv
  unit = unit_type(make_conv, 3, 2, stride, "unit")
  maps = rng.normal(size=[1, 5, 6, 3]).astype(np.float32)
  unit(maps)
  for variable in unit.variables:
    variable.assign(rng.normal(size=variable.shape))
  for conv in unit.convs.values():  # So small a variance that epsilon is seen.
    conv.norm.moving_variance.assign(rng.uniform(1e-5, 5e-5, conv.norm.moving_variance.shape))
    conv.norm.gamma.assign(rng.uniform(2e-3, 5e-3, conv.norm.gamma.shape))
  steps = {"conv1": 1, "conv2": stride, "conv3": 1}
  if unit_type is BASIC:
    steps = {"conv1": stride, "conv2": 1}
  net = maps[0]
  for name, step in steps.items():
    last = name == list(steps)[-1]
    net = convolved(net, unit.convs[name], step)
    net = net if last else np.maximum(net, 0.0)
  expected = np.maximum(net + convolved(maps[0], unit.convs["shortcut"], stride), 0.0)
  assert np.mean(expected > 0.0) > 0.2
  np.testing.assert_allclose(unit(maps)[0], expected, rtol=1e-4, atol=1e-4 * np.max(expected))


def test_a_basic_block_without_a_shortcut_adds_its_input():
  unit = BASIC(backbone("torchvision")._make_conv, 2, 2, 1, "unit")
  maps = np.random.default_rng(0).normal(size=[1, 4, 4, 2]).astype(np.float32)
  unit(maps)
  assert set(unit.convs) == {"conv1", "conv2"}
  unit.convs["conv2"].norm.gamma.assign([0.0, 0.0])
  np.testing.assert_allclose(unit(maps), np.maximum(maps, 0.0))


@pytest.mark.parametrize(
  ("name", "conv", "norm"),
  [
    ("conv1", "conv1", "bn1"),
    ("block1/unit_1/bottleneck_v1/conv1", "layer1.0.conv1", "layer1.0.bn1"),
    ("block3/unit_12/bottleneck_v1/conv3", "layer3.11.conv3", "layer3.11.bn3"),
    ("block4/unit_1/basic_block_v1/shortcut", "layer4.0.downsample.0", "layer4.0.downsample.1"),
  ],
)
def test_names_in_torchvision(name, conv, norm):
  assert backbone("torchvision").torch_names(name) == (conv, norm)


@pytest.mark.parametrize("layout", ["slim", "keras"])
def test_other_layouts_have_no_names_in_torchvision(layout):
  message = (
    f"^PyTorch weights, but task.backbone.layout is '{layout}', which strides elsewhere; accepted: "
    "torchvision$"
  )
  with pytest.raises(ValueError, match=message):
    backbone(layout).torch_names("conv1")


def test_published_depths():
  # A stem, two or three convolutions a unit, a classifier.
  for name, units in resnet.UNITS.items():
    depth = int(name.removeprefix("resnet_"))
    assert 2 + (2 if depth < 50 else 3) * sum(units) == depth


def test_preprocessing():
  images = tf.constant([[[[123.68, 116.779, 103.939], [124.68, 118.779, 106.939]]]])
  np.testing.assert_allclose(backbone().preprocess(images)[0, 0], [[0, 0, 0], [1, 2, 3]], atol=1e-4)
  np.testing.assert_allclose(
    backbone("keras").preprocess(images)[0, 0], [[0, 0, 0], [3, 2, 1]], atol=1e-4
  )
  # 255 times 0.485, 0.456 and 0.406; 0.485 + 0.229, 0.456 + 2 x 0.224 and 0.406 - 0.225.
  images = tf.constant([[[[123.675, 116.28, 103.53], [182.07, 230.52, 46.155]]]])
  found = backbone("torchvision").preprocess(images)[0, 0]
  np.testing.assert_allclose(found, [[0, 0, 0], [1, 2, -1]], atol=1e-5)


@pytest.mark.parametrize("layout", resnet.LAYOUTS)
def test_biases_belong_to_the_keras_layout(layout):
  made = backbone(layout)
  stages = (made.make_stage1(), made.make_stage2("s"))
  biases = {layer.conv.use_bias for stage in stages for layer in stage.named_layers().values()}
  assert biases == {layout == "keras"}


def test_frozen_normalisation_trains_nothing_of_its_own(stage1):
  names = {variable.name.rsplit("/")[-1] for variable in stage1.trainable_variables}
  assert names <= {"kernel:0", "bias:0"}


def test_other_normalisation_trains():
  stage = backbone(norm_type="group").make_stage1()
  stage(tf.zeros([1, 32, 32, 3]))
  assert any("gamma" in variable.name for variable in stage.trainable_variables)


def test_freezing_a_block():
  stage = backbone().make_stage1()
  stage(tf.zeros([1, 32, 32, 3]))
  everything = len(stage.trainable_variables)
  assert list(stage.freeze_groups()) == ["conv1", "block1", "block2", "block3"]
  assert len(stage.decayed_kernels) == everything
  stage.freeze(["conv1", "block1"])
  # The stem; three convolutions and a shortcut.
  assert len(stage.trainable_variables) == everything - 5
  assert len(stage.decayed_kernels) == everything - 5
  frozen = stage.named_layers()["block1/unit_1/bottleneck_v1/conv3"].conv.kernel
  assert all(kernel is not frozen for kernel in stage.decayed_kernels)


def test_freezing_what_there_is_not():
  message = r"task.backbone.freeze names 'block9'; accepted: conv1, block1, block2, block3, or \[\]"
  with pytest.raises(ValueError, match=message):
    backbone().make_stage1().freeze(["block9"])


def test_every_variable_is_in_a_named_layer(stage1):
  named = [v for layer in stage1.named_layers().values() for v in layer.weights]
  assert {v.ref() for v in stage1.weights} == {v.ref() for v in named}
  assert len({v.name for v in stage1.weights}) == len(stage1.weights)


@pytest.mark.parametrize(
  ("layout", "epsilon"), [("slim", 1e-5), ("keras", 1.001e-5), ("torchvision", 1e-5)]
)
def test_epsilon_is_that_of_the_pretrained_network(layout, epsilon):
  made = backbone(layout)
  stages = (made.make_stage1(), made.make_stage2("s"))
  found = {layer.norm.epsilon for stage in stages for layer in stage.named_layers().values()}
  assert found == {epsilon}
