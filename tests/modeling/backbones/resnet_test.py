"""What parity with the released code and with Keras does not show: see golden_test.py and
keras_weights_test.py.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.backbones import resnet

UNITS = (1, 2, 2, 1)


def backbone(layout="slim", norm_type="frozen"):
  norm_fn = functools.partial(normalization.make_norm, norm_type, momentum=0.5, groups=8)
  return resnet.ResNet(norm_fn, UNITS, "resnet_v1_x", layout)


@pytest.fixture(name="stage1", params=resnet.LAYOUTS, scope="module")
def _stage1(request):
  stage = backbone(request.param).make_stage1()
  stage(tf.zeros([1, 32, 32, 3]))
  return stage


@pytest.mark.parametrize(("side", "cells"), [(64, 4), (65, 5), (80, 5), (33, 3)])
def test_stage1_map(stage1, side, cells):
  assert stage1(tf.zeros([1, side, 64, 3])).shape == [1, cells, 4, 1024]


def test_stage2_keeps_the_size():
  assert backbone().make_stage2("s")(tf.zeros([2, 7, 5, 1024])).shape == [2, 7, 5, 2048]


def strides(layout):
  """Names of the strided convolutions, first to last."""
  named = backbone(layout).make_stage1().named_layers()
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


def test_published_depths():
  # A stem, three convolutions a unit, a classifier.
  for name, units in resnet.UNITS.items():
    assert 2 + 3 * sum(units) == int(name.removeprefix("resnet_"))


def test_preprocessing():
  images = tf.constant([[[[123.68, 116.779, 103.939], [124.68, 118.779, 106.939]]]])
  np.testing.assert_allclose(backbone().preprocess(images)[0, 0], [[0, 0, 0], [1, 2, 3]], atol=1e-4)
  np.testing.assert_allclose(
    backbone("keras").preprocess(images)[0, 0], [[0, 0, 0], [3, 2, 1]], atol=1e-4
  )


def test_biases_belong_to_the_keras_layout(stage1):
  biases = {layer.conv.use_bias for layer in stage1.named_layers().values()}
  assert len(biases) == 1
  assert biases == {stage1.named_layers()["conv1"].conv.bias is not None}


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
