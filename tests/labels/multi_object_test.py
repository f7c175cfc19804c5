import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import given, settings

from mtl_ssl_tf.labels import multi_object
from tests.labels import oracles

_PADDING = [-1.0, -1.0, -1.0, -1.0]


def _labels(boxes_of_windows, boxes, classes, num_classes, round_decimals=None):
  return multi_object.multi_object_labels(
    boxes_of_windows, boxes, classes, num_classes, round_decimals=round_decimals
  )


_compiled = tf.function(_labels, jit_compile=True)


class MultiObjectLabelsTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_worked_case(self, jit_compile):
    # One window of 10 × 10 around two boxes of class 1, which overlap, and one of class 2.
    #
    #     0         5        10
    #   0 1 1 1 1 1 . . . . .      class 1: rows 0-4, columns 0-4 and rows 0-4, columns 2-4, the
    #     1 1 1 1 1 . . . . .               second inside the first: 25 cells
    #     1 1 1 1 1 . . . . .      class 2: rows 4-7, columns 4-7: 16 cells, one of them on class 1
    #     1 1 1 1 1 . . . . .      no box: 100 - 25 - 16 + 1 = 60 cells
    #     1 1 1 1 # 2 2 2 . .
    #   5 . . . . 2 2 2 2 . .
    #     . . . . 2 2 2 2 . .
    #     . . . . 2 2 2 2 . .
    #     . . . . . . . . . .
    #  10 . . . . . . . . . .
    windows = tf.constant([[[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 3.0, 3.0], [8.0, 8.0, 9.0, 9.0]]])
    boxes = tf.constant(
      [[[0.0, 0.0, 5.0, 5.0], [0.0, 2.0, 5.0, 5.0], [4.0, 4.0, 8.0, 8.0], _PADDING]]
    )
    classes = tf.constant([[1, 1, 2, -1]])
    label_fn = tf.function(_labels, jit_compile=jit_compile)
    labels = label_fn(windows, boxes, classes, 4)
    roots = np.array([np.sqrt(60.0), 5.0, 4.0, 0.0])
    self.assertAllClose(labels[0, 0], roots / roots.sum())
    self.assertAllEqual(labels[0, 1], [0.0, 1.0, 0.0, 0.0])  # inside class 1, exactly
    self.assertAllEqual(labels[0, 2], [1.0, 0.0, 0.0, 0.0])  # beside all boxes, exactly

  @parameterized.parameters(False, True)
  def test_what_only_regions_cover_counts_as_nothing(self, jit_compile):
    # The window of 10 × 10 again, with class 1 in its upper left quarter, a region over its left
    # half, and another over its last two columns, which overlap neither.
    #
    #     0         5     8  10
    #   0 1 1 1 1 1 . . . x x      class 1: 25 cells, all of them in the first region, too
    #     ...                      regions alone: 25 cells below class 1 and 20 at the right
    #   5 x x x x x . . . x x      no box: 100 - 25 - 25 - 20 = 30 cells
    #     ...
    boxes = tf.constant(
      [[[0.0, 0.0, 5.0, 5.0], [0.0, 0.0, 10.0, 5.0], [0.0, 8.0, 10.0, 10.0], _PADDING]]
    )
    classes = tf.constant([[1, 0, 0, -1]])
    windows = tf.constant(
      [[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [6.0, 1.0, 9.0, 4.0], [6.0, 1.0, 9.0, 7.0]]]
    )
    label_fn = tf.function(_labels, jit_compile=jit_compile)
    labels = label_fn(windows, boxes, classes, 3)
    roots = np.array([np.sqrt(30.0), 5.0, 0.0])
    self.assertAllClose(labels[0, 0], roots / roots.sum())
    self.assertAllEqual(labels[0, 1], [0.0, 1.0, 0.0])  # Class 1 and regions only, exactly.
    self.assertAllEqual(labels[0, 2], [0.0, 0.0, 0.0])  # Nothing is left of it.
    self.assertAllEqual(labels[0, 3], [1.0, 0.0, 0.0])  # Background at its right.
    weight_fn = tf.function(multi_object.window_weights, jit_compile=jit_compile)
    self.assertAllEqual(weight_fn(windows, boxes, classes), [[1.0, 1.0, 0.0, 0.0]])

  def test_three_decimals(self):
    # A window of 30 × 30: class 1 fills its left half, class 2 its right half, class 3 one cell.
    boxes = tf.constant([[0.0, 0.0, 30.0, 15.0], [0.0, 15.0, 30.0, 30.0], [3.0, 3.0, 4.0, 4.0]])
    window = tf.constant([[0.0, 0.0, 30.0, 30.0]])
    labels = _labels(window, boxes, tf.constant([1, 2, 3]), 4)
    rounded = _labels(window, boxes, tf.constant([1, 2, 3]), 4, 3)
    total = 2.0 * np.sqrt(0.5) + 1.0 / 30.0
    self.assertAllClose(labels, [[0.0, np.sqrt(0.5) / total, np.sqrt(0.5) / total, 1 / 30 / total]])
    self.assertAllClose(rounded, [[0.0, 0.488, 0.488, 0.023]], atol=1e-7)

  @parameterized.parameters(([],), ([_PADDING] * 3,))
  def test_without_objects_all_is_background_and_carries_no_loss(self, boxes):
    boxes = tf.constant(boxes, tf.float32, shape=[len(boxes), 4])
    classes = tf.fill([len(boxes)], -1)
    windows = tf.constant([[0.0, 0.0, 32.0, 32.0], [8.0, 8.0, 50.0, 60.0]])
    labels = _compiled(windows, boxes, classes, 3)
    self.assertAllEqual(labels, [[1.0, 0.0, 0.0]] * 2)
    self.assertAllEqual(multi_object.window_weights(windows, boxes, classes), [0.0, 0.0])

  def test_a_padded_window_has_no_label(self):
    labels = _compiled(
      tf.constant([_PADDING]), tf.constant([[0.0, 0.0, 5.0, 5.0]]), tf.constant([1]), 3
    )
    self.assertAllEqual(labels, [[0.0, 0.0, 0.0]])

  def test_batch_equals_one_by_one_with_less_padding(self):
    rng = np.random.default_rng(3)
    boxes = np.sort(rng.uniform(0, 200, [3, 6, 2, 2]), axis=2).reshape(3, 6, 4).astype(np.float32)
    classes = rng.integers(1, 5, [3, 6]).astype(np.int32)
    windows = np.sort(rng.uniform(0, 200, [3, 7, 2, 2]), axis=2).reshape(3, 7, 4).astype(np.float32)
    for image, count in enumerate([4, 2, 0]):
      boxes[image, count:], classes[image, count:] = -1.0, -1
    labels = _compiled(windows, boxes, classes, 5)
    weights = multi_object.window_weights(windows, boxes, classes)
    for image in range(3):
      own = (windows[image], boxes[image, :4], classes[image, :4])
      self.assertAllClose(_compiled(*own, 5), labels[image], atol=1e-6)
      self.assertAllEqual(multi_object.window_weights(*own), weights[image])

  def test_flip_changes_nothing(self):
    boxes = tf.constant([[2.0, 3.0, 9.0, 14.0], [5.0, 0.0, 20.0, 8.0]])
    windows = tf.constant([[0.0, 0.0, 10.0, 10.0], [4.0, 6.0, 18.0, 17.0]])

    def flip(b):
      return tf.stack([b[:, 0], 20.0 - b[:, 3], b[:, 2], 20.0 - b[:, 1]], axis=-1)

    classes = tf.constant([1, 2])
    labels = _labels(windows, boxes, classes, 3)
    flipped = _labels(flip(windows), flip(boxes), classes, 3)
    self.assertAllClose(labels, flipped)


class WindowWeightsTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_only_windows_that_share_area_count(self, jit_compile):
    # The third box is no object, the last has no area.
    boxes = [[0.0, 0.0, 5.0, 5.0], [20.0, 20.0, 30.0, 30.0], [40.0, 40.0, 50.0, 50.0]]
    boxes = tf.constant([[*boxes, [2.0, 60.0, 2.0, 70.0]]])
    classes = tf.constant([[1, 2, -1, 1]])
    inside, touching, across = (
      [21.0, 21.0, 22.0, 22.0],
      [5.0, 0.0, 9.0, 9.0],
      [4.0, 4.0, 25.0, 25.0],
    )
    on_no_object, on_line = [41.0, 41.0, 45.0, 45.0], [0.0, 60.0, 9.0, 70.0]
    windows = tf.constant([[inside, touching, across, on_no_object, on_line]])
    weight_fn = tf.function(multi_object.window_weights, jit_compile=jit_compile)
    self.assertAllEqual(weight_fn(windows, boxes, classes), [[1.0, 0.0, 1.0, 0.0, 0.0]])


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(scene=oracles.scenes(num_classes=81) | oracles.scenes(num_classes=81, regions=True))
def test_equals_the_oracle(scene):
  windows = oracles.random_windows(np.random.default_rng(len(scene.boxes)), scene, 8)
  expected = oracles.multi_object_labels(windows, scene.boxes, scene.classes, 81)
  labels = _compiled(windows, *scene.padded(100), 81)
  np.testing.assert_allclose(labels, expected, atol=1e-5)
  np.testing.assert_array_equal(labels.numpy() == 0.0, expected == 0.0)
  has_area = np.all(scene.boxes[:, 2:] > scene.boxes[:, :2], axis=1)
  met = oracles.num_met(windows, scene.boxes[has_area & (scene.classes > 0)])
  weights = multi_object.window_weights(windows, scene.boxes, scene.classes)
  np.testing.assert_array_equal(weights, met > 0)
