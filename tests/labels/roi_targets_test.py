import functools
import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.labels import roi_targets

_SETTINGS = {
  "num_samples": 256,
  "positive_fraction": 0.25,
  "positive_iou": 0.5,
  "append_gt": False,
}
_PADDING = [-1.0, -1.0, -1.0, -1.0]
_GT_BOXES = [[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 40.0]]
_GT_CLASSES = [4, 2]
_PROPOSALS = [
  [0.0, 0.0, 10.0, 4.0],  # IoU 0.4 with the first object
  [20.0, 20.0, 30.0, 30.0],  # IoU 0.5 with the second
  [0.0, 0.0, 10.0, 10.0],  # the first object, but this proposal does not exist
  [50.0, 50.0, 60.0, 60.0],  # overlaps nothing
]
_PROPOSAL_VALID = [True, True, False, True]


def _targets(gt_boxes, gt_classes, seeds=((0, 0),), jit_compile=False, **kwargs):
  num_images = len(gt_boxes)
  settings = {**_SETTINGS, **kwargs}
  targets_fn = tf.function(
    functools.partial(roi_targets.roi_targets, **settings), jit_compile=jit_compile
  )
  return targets_fn(
    tf.constant([_PROPOSALS] * num_images),
    tf.constant([_PROPOSAL_VALID] * num_images),
    tf.constant(gt_boxes, tf.float32),
    tf.constant(gt_classes),
    tf.constant(seeds),
  )


class RoiTargetsTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_worked_case(self, jit_compile):
    targets = _targets(
      [[_PADDING, *_GT_BOXES]], [[-1, *_GT_CLASSES]], jit_compile=jit_compile, num_samples=5
    )
    self.assertAllEqual(
      targets.boxes_px, [[_PROPOSALS[1], _PROPOSALS[0], _PROPOSALS[3], _PADDING, _PADDING]]
    )
    self.assertAllEqual(targets.valid, [[True, True, True, False, False]])
    self.assertAllEqual(targets.classes, [[2, 0, 0, 0, 0]])
    self.assertAllEqual(targets.is_positive, [[True, False, False, False, False]])
    self.assertAllEqual(targets.gt_indices, [[2, 0, 0, 0, 0]])
    # The second object is twice as wide; its centre lies half a proposal to the right.
    deltas = np.zeros([1, 5, 4])
    deltas[0, 0] = [0.0, 5.0, 0.0, 5.0 * math.log(2.0)]
    self.assertAllClose(targets.box_deltas, deltas, atol=1e-5)

  @parameterized.parameters(False, True)
  def test_objects_may_join_the_proposals(self, jit_compile):
    targets = _targets(
      [[*_GT_BOXES, _PADDING]],
      [[*_GT_CLASSES, -1]],
      jit_compile=jit_compile,
      num_samples=8,
      positive_fraction=0.5,
      append_gt=True,
    )
    self.assertAllEqual(
      targets.boxes_px,
      [[_PROPOSALS[1], *_GT_BOXES, _PROPOSALS[0], _PROPOSALS[3], *[_PADDING] * 3]],
    )
    self.assertAllEqual(targets.classes, [[2, 4, 2, 0, 0, 0, 0, 0]])
    self.assertAllEqual(targets.gt_indices, [[1, 0, 1, 0, 0, 0, 0, 0]])
    self.assertAllClose(targets.box_deltas[0, 1:], np.zeros([7, 4]), atol=1e-5)

  @parameterized.parameters(False, True)
  def test_regions_take_their_proposals_out(self, jit_compile):
    # The first object now is a region: with IoU 0.4 proposal 0 is background, but it lies inside.
    # The second object's proposal lies in another region, and stays positive.
    boxes = [[_GT_BOXES[1], _GT_BOXES[0], [15.0, 15.0, 45.0, 45.0], _PADDING]]
    targets = _targets(boxes, [[2, 0, 0, -1]], jit_compile=jit_compile, num_samples=4)
    self.assertAllEqual(targets.boxes_px, [[_PROPOSALS[1], _PROPOSALS[3], _PADDING, _PADDING]])
    self.assertAllEqual(targets.valid, [[True, True, False, False]])
    self.assertAllEqual(targets.classes, [[2, 0, 0, 0]])
    self.assertAllEqual(targets.is_positive, [[True, False, False, False]])

  def test_regions_do_not_join_the_proposals(self):
    targets = _targets(
      [[_GT_BOXES[1], _GT_BOXES[0]]], [[2, 0]], num_samples=6, positive_fraction=0.5, append_gt=True
    )
    self.assertAllEqual(
      targets.boxes_px, [[_PROPOSALS[1], _GT_BOXES[1], _PROPOSALS[3], *[_PADDING] * 3]]
    )

  def test_no_objects(self):
    targets = _targets([[_PADDING] * 2], [[-1, -1]], num_samples=4)
    self.assertAllEqual(targets.valid, [[True, True, True, False]])
    self.assertAllEqual(targets.classes, [[0] * 4])
    self.assertAllEqual(targets.is_positive, [[False] * 4])
    self.assertAllEqual(targets.box_deltas, np.zeros([1, 4, 4]))

  def test_limits_of_the_minibatch(self):
    # Every existing proposal is positive from an IoU of zero on; half of two may be.
    targets = _targets(
      [_GT_BOXES], [_GT_CLASSES], num_samples=2, positive_fraction=0.5, positive_iou=0.0
    )
    self.assertAllEqual(targets.valid, [[True, False]])
    self.assertAllEqual(targets.is_positive, [[True, False]])

  def test_padding_changes_nothing(self):
    plain = _targets([_GT_BOXES], [_GT_CLASSES], num_samples=2)
    padded = _targets([_GT_BOXES + [_PADDING] * 3], [[*_GT_CLASSES, -1, -1, -1]], num_samples=2)
    for expected, actual in zip(plain, padded, strict=True):
      self.assertAllEqual(expected, actual)

  def test_batch_equals_one_by_one(self):
    gt_boxes, gt_classes = [_GT_BOXES, [_GT_BOXES[1], _PADDING]], [_GT_CLASSES, [1, -1]]
    seeds = [[1, 2], [3, 4]]
    together = _targets(gt_boxes, gt_classes, seeds, num_samples=2)
    for image in range(2):
      alone = _targets([gt_boxes[image]], [gt_classes[image]], [seeds[image]], num_samples=2)
      for field_together, field_alone in zip(together, alone, strict=True):
        self.assertAllEqual(field_together[image], field_alone[0])

  def test_no_gradient_into_the_proposals(self):
    proposals = tf.constant([_PROPOSALS])
    with tf.GradientTape() as tape:
      tape.watch(proposals)
      targets = roi_targets.roi_targets(
        proposals,
        tf.constant([_PROPOSAL_VALID]),
        tf.constant([_GT_BOXES]),
        tf.constant([_GT_CLASSES]),
        tf.constant([[0, 0]]),
        **_SETTINGS,
      )
      total = tf.reduce_sum(targets.boxes_px) + tf.reduce_sum(targets.box_deltas)
    self.assertIsNone(tape.gradient(total, proposals))


if __name__ == "__main__":
  tf.test.main()
