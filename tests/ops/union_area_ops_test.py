import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings

from mtl_ssl_tf.ops import union_area_ops
from tests.labels import oracles

NUM_GROUPS = 3
NUM_ROWS = 100


def _run(windows, boxes, group_ids, jit_compile=True):
  fn = tf.function(union_area_ops.union_fractions, jit_compile=jit_compile)
  covered, uncovered = fn(
    tf.constant(windows, tf.float32),
    tf.constant(boxes, tf.float32),
    tf.constant(group_ids, tf.int32),
    NUM_GROUPS,
  )
  return covered.numpy(), uncovered.numpy()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_overlaps_count_once_in_a_group_and_in_each_group(jit_compile):
  # Window 10 × 10. Group 0: A and B overlap in 2 × 2. Group 1: C overlaps B in 1 × 2.
  #
  #     0   2   4   6   8  10
  #   0 A A A A . . . . . .
  #   2 A A * * B B . . . .      * = A and B
  #   4 . . B B B B . . . .
  #   5 . . # # B B . . . .      # = B and C
  #   6 . . C C . . . . . .      all other rows are empty from 8 on
  boxes = [[0, 0, 4, 4], [2, 2, 6, 6], [5, 2, 8, 4]]
  covered, uncovered = _run([[0, 0, 10, 10]], boxes, [0, 0, 1], jit_compile)
  np.testing.assert_allclose(covered, [[0.28, 0.06, 0.0]], rtol=1e-6)
  np.testing.assert_allclose(uncovered, [1.0 - 0.28 - 0.04], rtol=1e-6)


def test_boxes_are_cut_at_the_window():
  # The box fills the right half of the first window, none of the second, which only touches it,
  # and all of the third.
  windows = [[0, 0, 10, 10], [0, 0, 10, 5], [2, 6, 8, 9]]
  covered, uncovered = _run(windows, [[-5, 5, 20, 30]], [0])
  np.testing.assert_allclose(covered[:, 0], [0.5, 0.0, 1.0], rtol=1e-6)
  np.testing.assert_allclose(uncovered, [0.5, 1.0, 0.0], rtol=1e-6)


def test_a_covered_window_has_exactly_nothing_uncovered():
  # Thirds and sevenths are no binary fractions: subtracting areas would leave a remainder, and its
  # square root would be a label of 3e-4.
  edges = np.linspace(0.0, 1.0, 8, dtype=np.float32)
  sides = list(itertools.pairwise(edges))
  boxes = [[a, c, b, d] for a, b in sides for c, d in sides]
  thirds = np.float32(1.0) / np.float32(3.0)
  _, uncovered = _run([[0, 0, 1, 1], [thirds, thirds, 1, 1]], boxes, [0] * len(boxes))
  np.testing.assert_array_equal(uncovered, [0.0, 0.0])


def test_more_boxes_than_the_released_code_can_handle():
  # Twelve boxes, of which only the last two overlap, in one quarter of the window; the other ten
  # are strips of 0.001 each elsewhere. Inclusion-exclusion over decimal strings gives 0.51 here.
  strips = [[0.6, x / 20, 0.7, x / 20 + 0.01] for x in range(10)]
  boxes = [*strips, [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]]
  covered, uncovered = _run([[0, 0, 1, 1]], boxes, [2] * 12)
  np.testing.assert_allclose(covered, [[0.0, 0.0, 0.26]], rtol=1e-6)
  np.testing.assert_allclose(uncovered, [0.74], rtol=1e-6)


@pytest.mark.parametrize(
  ("boxes", "group_ids"),
  [
    ([[-1, -1, -1, -1]], [-1]),
    ([[2, 2, 6, 6]], [-1]),
    ([[5, 2, 5, 6], [2, 5, 6, 5], [6, 2, 2, 6], [2, 6, 6, 2]], [0, 0, 0, 0]),
  ],
  ids=["padding", "taken out", "without area"],
)
def test_nothing_covers(boxes, group_ids):
  covered, uncovered = _run([[0, 0, 8, 8]], boxes, group_ids)
  np.testing.assert_array_equal(covered, [[0.0, 0.0, 0.0]])
  np.testing.assert_array_equal(uncovered, [1.0])


def test_boxes_without_area_change_nothing():
  # They lie inside, across and beside the real box, whose share stays a quarter.
  no_area = [[5, 2, 5, 6], [2, 5, 6, 5], [6, 2, 2, 6], [2, 6, 6, 2], [1, 1, 1, 1]]
  covered, uncovered = _run([[0, 0, 8, 8]], [*no_area, [2, 2, 6, 6]], [0] * 6)
  np.testing.assert_allclose(covered[0, 0], 0.25)
  np.testing.assert_allclose(uncovered, [0.75])


def test_a_window_without_area_has_no_shares():
  covered, uncovered = _run([[-1, -1, -1, -1], [3, 2, 3, 6]], [[0, 0, 8, 8]], [0])
  np.testing.assert_array_equal(covered, np.zeros([2, NUM_GROUPS]))
  np.testing.assert_array_equal(uncovered, [0.0, 0.0])


def test_leading_axes_and_padding_change_nothing():
  rng = np.random.default_rng(0)
  boxes = np.sort(rng.uniform(0, 100, [2, 2, 6, 2, 2]), axis=-2).reshape(2, 2, 6, 4)
  windows = np.sort(rng.uniform(0, 100, [2, 2, 4, 2, 2]), axis=-2).reshape(2, 2, 4, 4)
  group_ids = rng.integers(0, NUM_GROUPS, [2, 2, 6])
  covered, uncovered = _run(windows, boxes, group_ids, jit_compile=False)
  assert covered.shape == (2, 2, 4, NUM_GROUPS)
  for i in np.ndindex(2, 2):
    padded_boxes = np.pad(boxes[i], [[0, 5], [0, 0]], constant_values=-1.0)
    padded_ids = np.pad(group_ids[i], [0, 5], constant_values=-1)
    own_covered, own_uncovered = _run(windows[i], padded_boxes, padded_ids, jit_compile=False)
    np.testing.assert_allclose(own_covered, covered[i], atol=1e-6)
    np.testing.assert_allclose(own_uncovered, uncovered[i], atol=1e-6)


_compiled = tf.function(union_area_ops.union_fractions, jit_compile=True)


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(scene=oracles.scenes(num_classes=NUM_GROUPS + 1))
def test_equals_painting_the_cells(scene):
  windows = oracles.random_windows(np.random.default_rng(len(scene.boxes)), scene, 8)
  boxes, classes = scene.padded(NUM_ROWS)
  group_ids = np.where(classes > 0, classes - 1, -1)
  covered, uncovered = _compiled(windows, boxes, group_ids, NUM_GROUPS)
  for s, window in enumerate(windows):
    area = np.prod(window[2:].astype(np.float64) - window[:2])
    np.testing.assert_allclose(
      uncovered[s], oracles.covered_area(window, scene.boxes)[1] / area, rtol=1e-5, atol=1e-12
    )
    for group in range(NUM_GROUPS):
      own = scene.boxes[scene.classes == group + 1]
      np.testing.assert_allclose(
        covered[s, group], oracles.covered_area(window, own)[0] / area, rtol=1e-5, atol=1e-12
      )
