"""The gradient of native crops, which threads would add up in any order."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tf_config

from mtl_ssl_tf.training import determinism


def crop_gradient() -> np.ndarray:
  gradients = tf.random.stateless_normal([64, 14, 14, 32], [5, 6])
  boxes = tf.random.stateless_uniform([64, 4], [3, 4])
  return tf.raw_ops.CropAndResizeGradImage(
    grads=gradients, boxes=boxes, box_ind=[0] * 64, image_size=[1, 8, 12, 32], T=tf.float32
  ).numpy()


def test_equal_bits():
  with determinism.deterministic(True):
    first = crop_gradient()
    assert all(np.array_equal(first, crop_gradient()) for _ in range(100))


@pytest.mark.parametrize("wanted", [True, False])
def test_only_inside_and_only_if_wanted(wanted):
  with determinism.deterministic(wanted):
    assert tf_config.is_op_determinism_enabled() == wanted
  assert not tf_config.is_op_determinism_enabled()


def test_what_was_on_before_stays_on():
  with determinism.deterministic(True):
    with determinism.deterministic(True):
      pass
    assert tf_config.is_op_determinism_enabled()


def test_data_are_begun_to_be_read_without():
  seen = []

  class Data:
    def __iter__(self):
      seen.append(tf_config.is_op_determinism_enabled())
      return iter([1, 2])

  for wanted in (True, False):
    with determinism.deterministic(wanted):
      assert list(determinism.Batches(Data())) == [1, 2]
      assert tf_config.is_op_determinism_enabled() == wanted
  assert seen == [False, False]
