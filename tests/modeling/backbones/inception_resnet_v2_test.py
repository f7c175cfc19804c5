"""What parity with the released code and with Keras does not show: see golden_test.py and
keras_weights_test.py.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.backbones import inception_resnet_v2


def backbone():
  norm_fn = functools.partial(normalization.make_norm, "frozen", momentum=0.5, groups=8)
  return inception_resnet_v2.InceptionResNetV2(norm_fn)


@pytest.fixture(name="stage1", scope="module")
def _stage1():
  stage = backbone().make_stage1()
  stage(tf.zeros([1, 32, 32, 3]))
  return stage


@pytest.fixture(name="stage2", scope="module")
def _stage2():
  stage = backbone().make_stage2("second")
  stage(tf.zeros([1, 7, 7, 1088]))
  return stage


@pytest.mark.parametrize(("side", "cells"), [(32, 2), (33, 3), (47, 3)])
def test_stage1_map(stage1, side, cells):
  assert stage1(tf.zeros([1, side, 32, 3])).shape == [1, cells, 2, 1088]


@pytest.mark.parametrize("side", [7, 8])
def test_stage2_map(stage2, side):
  cells = backbone().stage2_cells(tf.constant([float(side), 7.0]))
  np.testing.assert_array_equal(cells, [3.0, 3.0])
  assert stage2(tf.zeros([2, side, 7, 1088])).shape == [2, int(cells[0]), 3, 1536]


def test_convolutions(stage1, stage2):
  # Stem 5; Mixed_5b 7; ten blocks of 7; Mixed_6a 4; twenty blocks of 5.
  assert len(stage1.named_layers()) == 5 + 7 + 10 * 7 + 4 + 20 * 5
  # Mixed_7a 7; nine blocks and one of 5; the last convolution.
  assert len(stage2.named_layers()) == 7 + 10 * 5 + 1


def test_normalisation_trains_its_offset_and_has_no_scale(stage2):
  leaves = {variable.name.rsplit("/")[-1] for variable in stage2.trainable_variables}
  assert leaves == {"kernel:0", "bias:0", "beta:0"}


def test_kernels_and_biases_decay(stage2):
  kinds = {variable.name.rsplit("/")[-1] for variable in stage2.decayed_kernels}
  assert kinds == {"kernel:0", "bias:0"}
  # A bias in each of the ten residual blocks.
  assert len(stage2.decayed_kernels) == len(stage2.named_layers()) + 10


def test_names_in_a_classification_network():
  name = "Repeat/block8_1/Conv2d_1x1"
  assert backbone().classification_name(name, True) == "Repeat_2/block8_1/Conv2d_1x1"
  assert backbone().classification_name("Repeat/block35_1/x", False) == "Repeat/block35_1/x"
  assert backbone().classification_name("Block8/x", True) == "Block8/x"


def test_every_variable_is_in_a_named_layer(stage1, stage2):
  for stage in (stage1, stage2):
    named = [v for layer in stage.named_layers().values() for v in layer.weights]
    assert {v.ref() for v in stage.weights} == {v.ref() for v in named}
    assert len({v.name for v in stage.weights}) == len(stage.weights)


def test_freeze_groups(stage1):
  assert list(stage1.freeze_groups())[-4:] == ["Mixed_5b", "Repeat", "Mixed_6a", "Repeat_1"]
