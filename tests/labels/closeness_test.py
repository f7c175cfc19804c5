import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_ssl_tf.labels import closeness
from tests.labels import oracles

_PADDING = [-1.0, -1.0, -1.0, -1.0]


def _labels(boxes, classes, size, num_classes, include_same_class=True, round_decimals=None):
  return closeness.closeness_labels(
    boxes,
    classes,
    size,
    num_classes,
    include_same_class=include_same_class,
    round_decimals=round_decimals,
  )


_compiled = tf.function(_labels, jit_compile=True)

# Image of 300 × 400, diagonal 500. Boxes of 20 × 20 around these centres (y, x):
#
#     x  50  100       200             400
#   y 50 A . . B . . . . C                    A, B class 1    C, D class 2    E class 3
#    170 D
#    290 . . . . . . . . E
_CENTERS = {"A": (50, 50), "B": (50, 100), "C": (50, 200), "D": (170, 50), "E": (290, 200)}
_CLASSES = {"A": 1, "B": 1, "C": 2, "D": 2, "E": 3}
_SIZE = [300.0, 400.0]


def _objects(names):
  boxes = [[y - 10.0, x - 10.0, y + 10.0, x + 10.0] for y, x in (_CENTERS[n] for n in names)]
  return tf.constant(boxes, shape=[len(names), 4]), tf.constant(
    [_CLASSES[n] for n in names], tf.int32
  )


class ClosenessLabelsTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_worked_case(self, jit_compile):
    boxes, classes = _objects("ABCDE")
    label_fn = tf.function(_labels, jit_compile=jit_compile)
    labels = label_fn(boxes[tf.newaxis], classes[tf.newaxis], tf.constant([_SIZE]), 5)
    # From A: B is 50 px away, D 120 (C, of the same class, 150), E hypot(240, 150) = 283.02.
    a = np.array([0.0, 1.0 - 50 / 500, 1.0 - 120 / 500, 1.0 - np.hypot(240, 150) / 500, 0.0])
    self.assertAllClose(labels[0, 0], a / a.sum())
    # From E: B is hypot(240, 100) = 260 px away, D hypot(120, 150) = 192.09 (C 240), and there is
    # no other of class 3.
    e = np.array([0.0, 1.0 - 260 / 500, 1.0 - np.hypot(120, 150) / 500, 0.0, 0.0])
    self.assertAllClose(labels[0, 4], e / e.sum())

  def test_own_class_passed_over_as_released(self):
    boxes, classes = _objects("ABC")
    labels = _labels(boxes, classes, _SIZE, 3, include_same_class=False)
    # A and B see C only, C sees the nearer of A and B.
    self.assertAllClose(labels, [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])

  @parameterized.parameters((True, [0.0, 1.0, 0.0]), (False, [1.0, 0.0, 0.0]))
  def test_only_the_like_around(self, include_same_class, expected):
    boxes, classes = _objects("AB")
    labels = _compiled(boxes, classes, _SIZE, 3, include_same_class)
    self.assertAllClose(labels, [expected, expected])

  def test_objects_in_the_same_place_are_as_near_as_can_be(self):
    boxes, _ = _objects("AA")
    labels = _compiled(boxes, tf.constant([1, 2]), _SIZE, 4)
    self.assertAllClose(labels, [[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]])

  def test_one_object_is_background(self):
    self.assertAllEqual(_compiled(*_objects("C"), _SIZE, 3), [[1.0, 0.0, 0.0]])

  def test_no_objects(self):
    self.assertEqual(_compiled(*_objects(""), _SIZE, 3).shape, [0, 3])
    only_padding = _compiled(tf.constant([_PADDING] * 2), tf.constant([-1, -1]), _SIZE, 3)
    self.assertAllEqual(only_padding, tf.zeros([2, 3]))

  @parameterized.parameters(False, True)
  def test_regions_are_nobodys_neighbours(self, jit_compile):
    boxes, classes = _objects("ABCDE")
    label_fn = tf.function(_labels, jit_compile=jit_compile)
    # B, next to A, and E are regions: A, C and D see each other as if these were not there.
    regions = tf.where(tf.constant([False, True, False, False, True]), 0, classes)
    labels = label_fn(boxes, regions, _SIZE, 4)
    alone = label_fn(*_objects("ACD"), _SIZE, 4)
    self.assertAllClose(tf.gather(labels, [0, 2, 3]), alone)
    self.assertAllEqual(tf.gather(labels, [1, 4]), tf.zeros([2, 4]))

  @parameterized.parameters(False, True)
  def test_an_object_with_only_regions_around_has_no_label(self, include_same_class):
    boxes, _ = _objects("ABC")
    boxes, size = tf.stack([boxes] * 3), tf.constant([_SIZE] * 3)
    classes = tf.constant([[1, 0, -1], [1, -1, -1], [1, 1, 0]])
    labels = _compiled(boxes, classes, size, 3, include_same_class)
    self.assertAllEqual(labels[0], tf.zeros([3, 3]))
    self.assertAllEqual(labels[1, 0], [1.0, 0.0, 0.0])
    # Two of a class: near each other, or passed over, so that only the region is left.
    expected = [0.0, 1.0, 0.0] if include_same_class else [0.0, 0.0, 0.0]
    self.assertAllEqual(labels[2], [expected, expected, [0.0] * 3])

  def test_three_decimals(self):
    labels = _compiled(*_objects("ABD"), _SIZE, 3, round_decimals=3)
    # From A: 0.9 and 0.76 of 1.66.
    self.assertAllClose(labels[0], [0.0, 0.542, 0.458], atol=1e-7)

  def test_batch_equals_one_by_one_with_less_padding(self):
    boxes = np.full([2, 6, 4], -1.0, np.float32)
    classes = np.full([2, 6], -1, np.int32)
    boxes[0, :5], classes[0, :5] = _objects("ABCDE")
    boxes[1, :2], classes[1, :2] = _objects("CE")
    sizes = tf.constant([_SIZE, [600.0, 450.0]])
    labels = _compiled(boxes, classes, sizes, 4)
    for image, count in enumerate((5, 2)):
      own = _compiled(boxes[image, :count], classes[image, :count], sizes[image], 4)
      self.assertAllClose(own, labels[image, :count], atol=1e-6)
      self.assertAllEqual(labels[image, count:], tf.zeros([6 - count, 4]))

  def test_flip_changes_nothing(self):
    boxes, classes = _objects("ABCDE")
    flipped = tf.stack(
      [boxes[:, 0], 400.0 - boxes[:, 3], boxes[:, 2], 400.0 - boxes[:, 1]], axis=-1
    )
    self.assertAllClose(
      _compiled(boxes, classes, _SIZE, 4), _compiled(flipped, classes, _SIZE, 4), atol=1e-6
    )


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
  scene=oracles.scenes(num_classes=81) | oracles.scenes(num_classes=81, regions=True),
  include_same_class=st.booleans(),
)
def test_equals_the_oracle(scene, include_same_class):
  expected = oracles.closeness_labels(
    scene.boxes, scene.classes, scene.size, 81, include_same_class
  )
  labels = _compiled(*scene.padded(100), scene.size, 81, include_same_class).numpy()
  np.testing.assert_allclose(labels[: len(expected)], expected, atol=1e-5)
  np.testing.assert_array_equal(labels[len(expected) :], 0.0)
