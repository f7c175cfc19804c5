import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.backbones import mobilenet_v1


def _backbone(depth_multiplier=0.125, norm_type="frozen"):
  norm_fn = functools.partial(normalization.make_norm, norm_type, momentum=0.5, groups=8)
  return mobilenet_v1.MobileNetV1(norm_fn, depth_multiplier)


@pytest.fixture(scope="module")
def stage1():
  stage = _backbone().make_stage1()
  stage(tf.zeros([1, 32, 32, 3]))
  return stage


@pytest.fixture(scope="module")
def stage2():
  stage = _backbone().make_stage2("second")
  stage(tf.zeros([1, 7, 7, 64]))
  return stage


class MobileNetV1Test(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    (1.0, [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]),
    (0.5, [16, 32, 64, 64, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512]),
    # Never fewer than 8.
    (0.125, [8, 8, 16, 16, 32, 32, 64, 64, 64, 64, 64, 64, 128, 128]),
  )
  def test_depth_multiplier(self, depth_multiplier, expected):
    backbone = _backbone(depth_multiplier)
    self.assertEqual(backbone.channels, expected)
    self.assertEqual(backbone.stage1_depth, expected[11])

  def test_preprocessing(self):
    backbone = _backbone()
    self.assertAllClose(backbone.preprocess(tf.constant([0.0, 127.5, 255.0])), [-1.0, 0.0, 1.0])
    self.assertEqual((backbone.slim_scope, backbone.stride), ("MobilenetV1", 16))


def _conv_shapes(stage):
  return {
    name: [tuple(w.shape) for w in layer.conv.weights]
    for name, layer in stage.named_layers().items()
  }


def test_stage1_layers(stage1):
  # Channels after each block of a depth of 1/8, 8 at least.
  channels = [8, 8, 16, 16, 32, 32, 64, 64, 64, 64, 64, 64]
  expected = {"Conv2d_0": [(3, 3, 3, 8)]}
  for i in range(1, 12):
    expected[f"Conv2d_{i}_depthwise"] = [(3, 3, channels[i - 1], 1)]
    expected[f"Conv2d_{i}_pointwise"] = [(1, 1, channels[i - 1], channels[i])]
  assert _conv_shapes(stage1) == expected
  assert list(stage1.named_layers()) == list(expected)
  strides = {
    name: layer.conv.strides[0]
    for name, layer in stage1.named_layers().items()
    if layer.conv.strides[0] != 1
  }
  assert strides == {
    "Conv2d_0": 2,
    "Conv2d_2_depthwise": 2,
    "Conv2d_4_depthwise": 2,
    "Conv2d_6_depthwise": 2,
  }
  for name, layer in stage1.named_layers().items():
    assert layer.norm.gamma.shape == [expected[name][0][3 if "depth" not in name else 2]]


def test_every_variable_is_in_a_named_layer(stage1, stage2):
  for stage in (stage1, stage2):
    named = [v for layer in stage.named_layers().values() for v in layer.weights]
    assert {v.ref() for v in stage.weights} == {v.ref() for v in named}
    assert len({v.name for v in stage.weights}) == len(stage.weights)


@pytest.mark.parametrize(("height", "width", "rows", "columns"), [(32, 48, 2, 3), (33, 50, 3, 4)])
def test_stage1_map(stage1, height, width, rows, columns):
  assert stage1(tf.zeros([1, height, width, 3])).shape == [1, rows, columns, 64]


@pytest.mark.parametrize(("side", "expected"), [(7, 4), (4, 2)])
def test_stage2_map(stage2, side, expected):
  assert stage2(tf.zeros([2, side, side, 64])).shape == [2, expected, expected, 128]


def test_stage2_layers(stage2):
  assert stage2.name == "second"
  assert _conv_shapes(stage2) == {
    "Conv2d_12_pointwise": [(3, 3, 64, 1), (1, 1, 64, 128)],
    "Conv2d_13_pointwise": [(3, 3, 128, 1), (1, 1, 128, 128)],
  }
  assert [layer.norm.gamma.shape for layer in stage2.named_layers().values()] == [[128], [128]]


def test_ordinary_kernels_of_stage1_decay_alone(stage1, stage2):
  expected = [(3, 3, 3, 8)] + [
    shape for name, (shape,) in _conv_shapes(stage1).items() if name.endswith("_pointwise")
  ]
  assert [tuple(kernel.shape) for kernel in stage1.decayed_kernels] == expected
  assert len(expected) == 12
  assert stage2.decayed_kernels == []


def test_kernels_are_drawn_as_in_slim(stage1, stage2):
  # A normal distribution of 0.09, cut at twice that, has a deviation of 0.0792.
  for name, layer in [*stage1.named_layers().items(), *stage2.named_layers().items()]:
    for kernel in layer.conv.weights:
      deviation = np.std(kernel)
      assert deviation == pytest.approx(0.0792, rel=4.0 / np.sqrt(np.size(kernel))), name


@pytest.mark.parametrize("name", ["stage1", "stage2"])
def test_training_reaches_every_normalisation(name):
  backbone = _backbone(norm_type="batch")
  if name == "stage1":
    stage, inputs = backbone.make_stage1(), tf.random.stateless_normal([2, 32, 32, 3], [0, 0])
  else:
    stage, inputs = backbone.make_stage2("s"), tf.random.stateless_normal([2, 4, 4, 64], [0, 0])
  stage(inputs)
  norms = [layer.norm for layer in stage.named_layers().values()]
  assert all(np.all(norm.moving_variance == 1.0) for norm in norms)
  stage(inputs, training=True)
  assert not any(np.any(norm.moving_variance == 1.0) for norm in norms)


def test_stages_are_their_own(stage1):
  other = _backbone().make_stage1()
  other(tf.zeros([1, 32, 32, 3]))
  assert {v.ref() for v in stage1.weights}.isdisjoint({v.ref() for v in other.weights})


@pytest.mark.parametrize("fused", [False, True])
def test_a_dense_second_stage_has_the_strided_ones_cells_among_others(fused):
  backbone = dataclasses.replace(_backbone(), fused_stage2=fused)
  features = tf.random.stateless_normal([2, 9, 7, 64], [0, 0])
  strided, dense = backbone.make_stage2("s"), backbone.make_stage2("s", dense=True)
  expected = strided(features)
  assert dense(features).shape == [2, 9, 7, 128]
  dense.set_weights(strided.get_weights())
  # On odd sides, SAME strides from the first cell on.
  np.testing.assert_allclose(dense(features)[:, ::2, ::2], expected, atol=1e-5)
  assert backbone.stage2_stride == 2
