import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.ops import box_ops, matching_ops

# Rows are anchors, columns ground-truth boxes. By 0.7 and 0.3: anchor 0 is positive for box 1,
# anchor 1 for box 0 right at the threshold, anchor 2 right at the other threshold is ignored,
# anchors 3 and 4 are negative.
_IOU = [
  [0.20, 0.80, 0.10],
  [0.70, 0.10, 0.10],
  [0.30, 0.00, 0.10],
  [0.29, 0.00, 0.15],
  [0.00, 0.00, 0.00],
]
_ALL = [[True, True, True]]


class MatchTest(parameterized.TestCase, tf.test.TestCase):
  def _match(self, iou, gt_valid, force_match=False, candidates=None, jit_compile=False):
    match_fn = tf.function(
      functools.partial(
        matching_ops.match,
        positive_threshold=0.7,
        negative_threshold=0.3,
        force_match=force_match,
        candidates=None if candidates is None else tf.constant(candidates),
      ),
      jit_compile=jit_compile,
    )
    return match_fn(tf.constant(iou, tf.float32), tf.constant(gt_valid))

  @parameterized.parameters(False, True)
  def test_thresholds(self, jit_compile):
    match = self._match([_IOU], _ALL, jit_compile=jit_compile)
    self.assertAllEqual(match.indices, [[1, 0, 0, 0, 0]])
    self.assertAllEqual(match.is_positive, [[True, True, False, False, False]])
    self.assertAllEqual(match.is_negative, [[False, False, False, True, True]])

  @parameterized.parameters(False, True)
  def test_forced_match(self, jit_compile):
    # Box 2 claims anchor 3, which it overlaps most although box 0 overlaps it more.
    match = self._match([_IOU], _ALL, force_match=True, jit_compile=jit_compile)
    self.assertAllEqual(match.indices, [[1, 0, 0, 2, 0]])
    self.assertAllEqual(match.is_positive, [[True, True, False, True, False]])
    self.assertAllEqual(match.is_negative, [[False, False, False, False, True]])

  @parameterized.parameters(False, True)
  def test_padding_never_wins_and_claims_nothing(self, jit_compile):
    # Box 1 is padding, whatever its overlaps say; anchor 0 is left with box 0.
    match = self._match([_IOU], [[True, False, True]], force_match=True, jit_compile=jit_compile)
    self.assertAllEqual(match.indices, [[0, 0, 0, 2, 0]])
    self.assertAllEqual(match.is_positive, [[False, True, False, True, False]])
    self.assertAllEqual(match.is_negative, [[True, False, False, False, True]])

  @parameterized.product(force_match=[False, True], jit_compile=[False, True])
  def test_only_padding_makes_everything_negative(self, force_match, jit_compile):
    match = self._match([_IOU], [[False] * 3], force_match, jit_compile=jit_compile)
    self.assertAllEqual(match.indices, [[0] * 5])
    self.assertAllEqual(match.is_positive, [[False] * 5])
    self.assertAllEqual(match.is_negative, [[True] * 5])

  @parameterized.parameters(False, True)
  def test_candidates(self, jit_compile):
    # Without anchors 1 and 3, box 0 claims anchor 2 and box 2 the first of three equal anchors,
    # which box 1 matches by itself: the first claimant, box 1, gets it.
    match = self._match(
      [_IOU],
      _ALL,
      force_match=True,
      candidates=[[True, False, True, False, True]],
      jit_compile=jit_compile,
    )
    self.assertAllEqual(match.indices, [[1, 0, 0, 0, 0]])
    self.assertAllEqual(match.is_positive, [[True, False, True, False, False]])
    self.assertAllEqual(match.is_negative, [[False, False, False, False, True]])

  def test_no_candidates_in_an_image(self):
    match = self._match([_IOU], _ALL, force_match=True, candidates=[[False] * 5])
    self.assertAllEqual(match.is_positive, [[False] * 5])
    self.assertAllEqual(match.is_negative, [[False] * 5])

  def test_first_of_two_claimants_gets_the_anchor(self):
    match = self._match([[[0.1, 0.2], [0.5, 0.6]]], [[True, True]], force_match=True)
    self.assertAllEqual(match.indices, [[1, 0]])
    self.assertAllEqual(match.is_positive, [[False, True]])

  def test_box_that_overlaps_nothing_claims_the_first_candidate(self):
    match = self._match([[[0.0]] * 3], [[True]], force_match=True, candidates=[[False, True, True]])
    self.assertAllEqual(match.is_positive, [[False, True, False]])
    self.assertAllEqual(match.is_negative, [[False, False, True]])

  def test_batch_equals_one_by_one(self):
    ious = [_IOU, [row[::-1] for row in _IOU]]
    gt_valid = [[True, True, True], [True, True, False]]
    candidates = [[True] * 5, [False, True, True, True, True]]
    together = self._match(ious, gt_valid, force_match=True, candidates=candidates)
    for image in range(2):
      alone = self._match(
        ious[image : image + 1],
        gt_valid[image : image + 1],
        force_match=True,
        candidates=candidates[image : image + 1],
      )
      for field_together, field_alone in zip(together, alone, strict=True):
        self.assertAllEqual(field_together[image], field_alone[0])

  @parameterized.product(
    force_match=[False, True], with_candidates=[False, True], jit_compile=[False, True]
  )
  def test_box_by_box(self, force_match, with_candidates, jit_compile):
    # On a coarse grid, so that many overlaps are equal.
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, [60, 2])
    anchors = np.concatenate([first, first + rng.integers(1, 4, [60, 2])], axis=-1)
    first = rng.integers(0, 5, [3, 9, 2])
    boxes = np.concatenate([first, first + rng.integers(1, 4, [3, 9, 2])], axis=-1)
    # Full, with gaps, and empty.
    valid = np.array(
      [[True] * 9, [True, False, True, False, True, True] + [False] * 3, [False] * 9]
    )
    boxes[~valid] = -1
    anchors, boxes = tf.constant(anchors, tf.float32), tf.constant(boxes, tf.float32)
    candidates = tf.constant(rng.uniform(size=[3, 60]) < 0.7) if with_candidates else None
    options = (tf.constant(valid), 0.6, 0.3, force_match, candidates)
    expected = matching_ops.match(box_ops.pairwise_iou(anchors, boxes), *options)
    match_fn = tf.function(
      lambda boxes: matching_ops.match_boxes(anchors, boxes, *options), jit_compile=jit_compile
    )
    for field, value in zip(match_fn(boxes), expected, strict=True):
      self.assertAllEqual(field, value)
    self.assertGreater(np.sum(expected.is_positive), 5)

  def test_rows_up_to_the_last_that_is_used(self):
    used = [[False, True, False, False], [True, False, False, False]]
    self.assertEqual(int(matching_ops.number_of_rows(tf.constant(used))), 2)
    self.assertEqual(int(matching_ops.number_of_rows(tf.zeros([2, 4], tf.bool))), 0)
    self.assertEqual(int(matching_ops.number_of_rows(tf.ones([2, 4], tf.bool))), 4)

  def test_thresholds_in_the_wrong_order(self):
    with self.assertRaisesRegex(ValueError, "negative_threshold is 0.5"):
      matching_ops.match(tf.zeros([1, 2, 3]), tf.ones([1, 3], tf.bool), 0.3, 0.5)
    with self.assertRaisesRegex(ValueError, "negative_threshold is 0.5"):
      matching_ops.match_boxes(
        tf.zeros([2, 4]), tf.zeros([1, 3, 4]), tf.ones([1, 3], tf.bool), 0.3, 0.5
      )


if __name__ == "__main__":
  tf.test.main()
