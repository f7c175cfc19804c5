import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_ssl_tf.labels import ignored_regions
from tests.labels import oracles

_PADDING = [-1.0, -1.0, -1.0, -1.0]
_compiled = tf.function(ignored_regions.in_ignored_region, jit_compile=True)


class InIgnoredRegionTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_worked_case(self, jit_compile):
    region = [0.0, 0.0, 10.0, 20.0]
    boxes = [
      [2.0, 2.0, 4.0, 4.0],  # inside
      [9.0, 0.0, 11.0, 1.0],  # half of it inside, IoU 1/201
      [9.0, 0.0, 12.0, 1.0],  # a third of it inside
      [0.0, 0.0, 25.0, 20.0],  # 0.4 of it inside, IoU 0.4
      [0.0, 0.0, 40.0, 20.0],  # a quarter
      [10.0, 0.0, 12.0, 20.0],  # touches it
      [5.0, 5.0, 5.0, 9.0],  # has no area
      [50.0, 50.0, 60.0, 60.0],  # inside an object
      _PADDING,
    ]
    gt_boxes = tf.constant([[[50.0, 50.0, 60.0, 60.0], region, _PADDING], [_PADDING] * 3])
    fn = tf.function(ignored_regions.in_ignored_region, jit_compile=jit_compile)
    inside = fn(tf.constant(boxes), gt_boxes, tf.constant([[1, 0, -1], [-1] * 3]), 0.4)
    expected = [True, True, False, True, False, False, False, False, False]
    self.assertAllEqual(inside, [expected, [False] * 9])
    # With boxes of each image's own, and another threshold.
    stricter = fn(tf.constant([boxes] * 2), gt_boxes, tf.constant([[1, 0, -1], [-1] * 3]), 0.5)
    expected[3] = False
    self.assertAllEqual(stricter, [expected, [False] * 9])


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(scene=oracles.scenes(regions=True), min_iou=st.sampled_from([0.3, 0.5]))
def test_equals_the_oracle(scene, min_iou):
  # Fractions of an eighth, so that both sides of a threshold are met exactly.
  boxes = oracles.random_windows(np.random.default_rng(len(scene.boxes)), scene, 20)
  boxes = np.concatenate([np.round(boxes / 8.0) * 8.0, boxes])
  gt_boxes, gt_classes = scene.padded(100)
  inside = _compiled(boxes, gt_boxes[np.newaxis], gt_classes[np.newaxis], min_iou)[0]
  expected = oracles.in_ignored_region(boxes, scene.boxes, scene.classes, min_iou)
  np.testing.assert_array_equal(inside, expected)
