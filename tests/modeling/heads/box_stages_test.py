"""Second stages of fully connected layers and of convolutions."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.heads import box_stages
from tests.modeling import small

CROPS = tf.constant(np.random.default_rng(0).normal(size=(5, 3, 3, 4)), tf.float32)


def make(kind, norm_fn=None):
  stage = box_stages.BoxStage(kind, 6, 5, norm_fn)
  stage(CROPS)
  small.randomize(stage)
  return stage


def test_two_fully_connected_layers():
  stage = make("2fc")
  fc6, fc7 = (stage.named_layers()[name].conv for name in ("fc6", "fc7"))
  net = CROPS.numpy().reshape(5, 36)  # Row by row, channels last.
  for dense in (fc6, fc7):
    net = np.maximum(net @ dense.kernel.numpy() + dense.bias.numpy(), 0.0)
  np.testing.assert_allclose(stage(CROPS), net, atol=1e-4)
  assert [kernel.ref() for kernel in stage.decayed_kernels] == [fc6.kernel.ref(), fc7.kernel.ref()]
  assert not stage.is_backbone


def test_four_convolutions_and_a_fully_connected_layer():
  stage = make("4conv1fc")
  assert list(stage.named_layers()) == ["conv1", "conv2", "conv3", "conv4", "fc6"]
  net = CROPS
  for name in ("conv1", "conv2", "conv3", "conv4"):
    conv = stage.named_layers()[name].conv
    assert conv.filters == 5
    net = tf.nn.relu(tf.nn.conv2d(net, conv.kernel, 1, "SAME") + conv.bias)
  dense = stage.named_layers()["fc6"].conv
  net = tf.nn.relu(tf.reshape(net, [5, 45]) @ dense.kernel + dense.bias)
  np.testing.assert_allclose(stage(CROPS), net, atol=1e-4)


def test_normalised_convolutions():
  norm_fn = functools.partial(normalization.make_norm, "group", momentum=0.5, groups=5)
  layers = make("4conv1fc", norm_fn).named_layers()
  assert [layer.norm is None for layer in layers.values()] == [False] * 4 + [True]
  assert [layer.conv.use_bias for layer in layers.values()] == [False] * 4 + [True]


def test_batch_normalisation_learns_its_statistics_in_training_alone():
  norm_fn = functools.partial(normalization.make_norm, "batch", momentum=0.5, groups=1)
  stage = make("4conv1fc", norm_fn)
  for variable in stage.variables:
    if "variance" in variable.name:
      variable.assign(1.0 + variable**2)
  moving = [variable for variable in stage.variables if "moving" in variable.name]
  assert len(moving) == 2 * 4
  before = [variable.numpy() for variable in moving]
  stage(CROPS)
  assert all((old == now.numpy()).all() for old, now in zip(before, moving, strict=True))
  stage(CROPS, training=True)
  assert all((old != now.numpy()).any() for old, now in zip(before, moving, strict=True))


def test_unknown_kind():
  with pytest.raises(ValueError, match="layers is '3fc'; accepted: 2fc, 4conv1fc"):
    box_stages.BoxStage("3fc", 6, 5)
