"""ResNet's second stage on crops, accelerated, is what it is."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.acceleration import folding, resnet_stage2
from mtl_ssl_tf.modeling.backbones import resnet
from mtl_ssl_tf.modeling.heads import pooling

# Inside, over the border (zeros beyond it), and padding.
BOXES = tf.constant([[[0.1, 0.2, 0.7, 0.9], [-0.2, 0.5, 0.6, 1.3], [-1.0] * 4]] * 2)
SIZES = tf.constant([[64.0, 96.0]] * 2)
SIDE = 3
CROPPER = pooling.Cropper(16, SIDE, 1, "matmul")


@pytest.fixture(autouse=True)
def _float64():
  """Layers made meanwhile compute in float64: rounding takes no ReLU to its other side."""
  policy = tf_keras.mixed_precision.global_policy()
  tf_keras.mixed_precision.set_global_policy("float64")
  yield
  tf_keras.mixed_precision.set_global_policy(policy)


def make_stage(layout, norm_type, conv_norm, unit=resnet.Bottleneck):
  norm_fn = functools.partial(normalization.make_norm, norm_type, momentum=0.5, groups=8)
  backbone = resnet.ResNet(norm_fn, (1, 1, 1, 2), "resnet_v1_x", layout, unit=unit)
  stage = backbone.with_conv_norm(conv_norm).make_stage2("s")
  stage(tf.zeros([1, SIDE, SIDE, backbone.stage1_depth], tf.float64))
  return stage


@pytest.mark.parametrize("norm_type", ["frozen", "batch"])
@pytest.mark.parametrize("layout", ["slim", "keras"])
@pytest.mark.parametrize(("projects", "side"), [(True, None), (False, SIDE), (True, SIDE)])
def test_features_gradients_and_statistics(layout, norm_type, projects, side):
  assert_equal(layout, norm_type, projects, side)


@pytest.mark.parametrize("norm_type", ["frozen", "batch"])
def test_basic_blocks(norm_type):
  assert_equal("torchvision", norm_type, False, SIDE, resnet.BasicBlock)


def test_the_torchvision_layout():
  assert_equal("torchvision", "frozen", True, SIDE)


def assert_equal(layout, norm_type, projects, side, unit=resnet.Bottleneck):
  """Features, gradients and statistics of the stage are those of the plain one."""
  rng = np.random.default_rng(0)
  features = tf.constant(rng.normal(size=[2, 4, 6, 256 * unit.expansion]))
  plain = make_stage(layout, norm_type, resnet.layers.ConvNorm, unit)
  for variable in plain.variables:
    if "bias" in variable.name or "beta" in variable.name or "moving_mean" in variable.name:
      variable.assign(rng.normal(size=variable.shape))
  fast = make_stage(layout, norm_type, folding.conv_norm, unit)
  fast.set_weights(plain.get_weights())
  runs = {
    plain: pooling.CropFeatures(CROPPER, plain),
    fast: resnet_stage2.AcceleratedCropFeatures(CROPPER, fast, projects, side),
  }

  for training in (False, True):
    found = []
    for stage, crop_features in runs.items():
      with tf.GradientTape() as tape:
        tape.watch(features)
        prepared = crop_features.prepare(features)
        pooled = crop_features(prepared, BOXES, SIZES, training)
        loss = tf.reduce_sum(pooled**2)
      gradients = tape.gradient(loss, [features, *stage.trainable_variables])
      moments = [v.numpy() for v in stage.variables if "moving" in v.name]
      found.append([pooled, *gradients, *moments])
    for theirs, own in zip(*found, strict=True):
      np.testing.assert_allclose(own, theirs, atol=1e-6 * np.max(np.abs(theirs)) + 1e-12)


def test_the_map_is_projected_once_and_kernels_are_prepared_for_each_unit():
  stage = make_stage("slim", "frozen", folding.conv_norm)
  features = tf.zeros([2, 4, 6, 1024], tf.float64)
  prepared = resnet_stage2.AcceleratedCropFeatures(CROPPER, stage, True, SIDE).prepare(features)
  assert [tuple(maps.shape) for maps in prepared.maps] == [(2, 4, 6, 512), (2, 4, 6, 2048)]
  assert len(prepared.kernels) == 2
  crops = resnet_stage2.AcceleratedCropFeatures(CROPPER, stage, False, SIDE).prepare(features)
  assert len(crops.maps) == 1 and len(crops.kernels) == 2
  projected = resnet_stage2.AcceleratedCropFeatures(CROPPER, stage, True, None).prepare(features)
  assert len(projected.maps) == 2 and projected.kernels == ()
  plain = resnet_stage2.AcceleratedCropFeatures(CROPPER, stage, False, None)
  assert plain.prepare(features) is features


def test_variables_are_made_by_the_first_crops():
  norm_fn = functools.partial(normalization.make_norm, "frozen", momentum=0.5, groups=8)
  stage = resnet.ResNet(norm_fn, (1, 1, 1, 1), "resnet_v1_x").make_stage2("s")
  crop_features = resnet_stage2.AcceleratedCropFeatures(CROPPER, stage, True, SIDE)
  features = tf.zeros([1, SIDE, SIDE, 1024], tf.float64)
  for is_first in (True, False):
    prepared = crop_features.prepare(features)
    assert (prepared is features) == is_first
    pooled = crop_features(prepared, BOXES[:1], SIZES[:1], training=False)
    assert pooled.shape == [3, 2048]


@pytest.mark.parametrize("norm_type", ["frozen", "batch"])
def test_mixed_precision_ends_in_float32(norm_type):
  tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
  stage = make_stage("keras", norm_type, folding.conv_norm)
  rng = np.random.default_rng(0)
  for variable in stage.variables:
    if "bias" in variable.name:
      variable.assign(rng.normal(size=variable.shape))
  features = tf.constant(rng.normal(size=[2, 4, 6, 1024]), tf.bfloat16)
  fast = resnet_stage2.AcceleratedCropFeatures(CROPPER, stage, True, None)
  plain = pooling.CropFeatures(CROPPER, stage)
  found = fast(fast.prepare(features), BOXES, SIZES, training=False)
  expected = plain(features, BOXES, SIZES, training=False)
  assert found.dtype == expected.dtype == tf.float32
  np.testing.assert_allclose(found, expected, atol=0.05 * np.max(np.abs(expected)))
