"""Each box is cropped from the level that suits its size."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling.heads import pyramid_pooling


@pytest.mark.parametrize("method", ["native", "matmul"])
def test_crops_are_of_the_level_that_suits_a_box(method):
  cropper = pyramid_pooling.PyramidCropper(
    min_level=3, max_level=5, size=2, canonical_size_px=32.0, num_samples=1, method=method
  )
  # Levels 3 to 6 of an image of 256 pixels, each filled with its number.
  maps = tuple(tf.fill([1, 256 >> level, 256 >> level, 1], float(level)) for level in range(3, 7))
  size_px = tf.constant([[256.0, 256.0]])
  sides = np.array([8.0, 31.0, 32.0, 63.0, 64.0, 250.0])
  boxes_px = np.stack([0 * sides, 0 * sides, sides, sides], axis=-1)[np.newaxis]
  boxes_norm = tf.constant(boxes_px / 256.0, tf.float32)
  crops = cropper(cropper.pack(maps, size_px), boxes_norm, size_px)
  assert crops.shape == [6, 2, 2, 1]
  np.testing.assert_allclose(crops[:, 0, 0, 0], [3.0, 3.0, 4.0, 4.0, 5.0, 5.0], atol=1e-5)


@pytest.mark.parametrize("method", ["native", "matmul"])
def test_its_method_crops(method):
  cropper = pyramid_pooling.PyramidCropper(3, 5, 2, 32.0, 1, method)
  with mock.patch.object(pyramid_pooling.pyramid_ops, "pack") as pack:
    cropper.pack((), tf.zeros([1, 2]))
  assert pack.call_args.args[2:] == (3, 3, method)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gradient_share", [0.5, 1.0])
def test_the_second_stage_runs_in_the_mode_of_the_call(training, gradient_share):
  stage = mock.Mock(return_value=tf.zeros([3, 4], tf.bfloat16))
  cropper = pyramid_pooling.PyramidCropper(3, 4, 2, 32.0, 1)
  size_px = tf.constant([[32.0, 32.0]])
  maps = cropper.pack((tf.ones([1, 4, 4, 5]), tf.ones([1, 2, 2, 5])), size_px)
  features = pyramid_pooling.PyramidFeatures(cropper, stage, gradient_share)
  found = features(maps, tf.constant([[[0.0, 0.0, 1.0, 1.0]] * 3]), size_px, training)
  assert found.dtype == tf.float32
  ((crops,), options) = stage.call_args
  assert crops.shape == [3, 2, 2, 5]
  assert options == {"training": training}
