import functools
import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.labels import rpn_targets

_SETTINGS = {
  "num_samples": 256,
  "positive_fraction": 0.5,
  "positive_iou": 0.7,
  "negative_iou": 0.3,
}
_PADDING = [-1.0, -1.0, -1.0, -1.0]
_ANCHORS = [
  [0.0, 0.0, 10.0, 10.0],  # IoU 0.8 with the first object
  [0.0, 0.0, 10.0, 16.0],  # IoU 0.5 with it
  [20.0, 20.0, 30.0, 30.0],  # IoU 0.2 with the second object, its best candidate
  [20.0, 18.0, 30.0, 22.0],  # IoU 1 with the second object, but no candidate
  [40.0, 40.0, 50.0, 50.0],  # overlaps nothing
]
_IS_CANDIDATE = [True, True, True, False, True]
_GT_BOXES = [[0.0, 0.0, 10.0, 8.0], [20.0, 18.0, 30.0, 22.0]]


def _targets(gt_boxes, gt_classes, seeds=None, jit_compile=False, **kwargs):
  num_images = len(gt_boxes)
  seeds = [[image, 5] for image in range(num_images)] if seeds is None else seeds
  settings = {**_SETTINGS, **kwargs}
  targets_fn = tf.function(
    functools.partial(rpn_targets.rpn_targets, **settings), jit_compile=jit_compile
  )
  return targets_fn(
    tf.constant(_ANCHORS),
    tf.constant([_IS_CANDIDATE] * num_images),
    tf.constant(gt_boxes, tf.float32),
    tf.constant(gt_classes),
    tf.constant(seeds),
  )


class RpnTargetsTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_worked_case(self, jit_compile):
    targets = _targets([[*_GT_BOXES, _PADDING]], [[3, 1, -1]], jit_compile=jit_compile)
    self.assertAllEqual(targets.objectness, [[1, 0, 1, 0, 0]])
    self.assertAllEqual(targets.selected, [[True, False, True, False, True]])
    self.assertAllEqual(targets.positive, [[True, False, True, False, False]])
    self.assertAllEqual(targets.gt_indices, [[0, 0, 1, 0, 0]])
    # The first object lies 1 px left of its anchor's centre, at 0.8 of the width; the second
    # 5 px left, at 0.4 of the width.
    nothing = [0.0] * 4
    self.assertAllClose(
      targets.box_deltas,
      [
        [
          [0.0, -1.0, 0.0, 5.0 * math.log(0.8)],
          nothing,
          [0.0, -5.0, 0.0, 5.0 * math.log(0.4)],
          nothing,
          nothing,
        ]
      ],
      atol=1e-5,
    )

  @parameterized.parameters(False, True)
  def test_regions_take_their_anchors_out(self, jit_compile):
    # Besides the objects: a large region in which anchor 4 lies, although their IoU is 1/36.
    region = [30.0, 20.0, 90.0, 80.0]
    gt_boxes, gt_classes = [[*_GT_BOXES, region, _PADDING]], [[3, 1, 0, -1]]
    targets = _targets(gt_boxes, gt_classes, jit_compile=jit_compile)
    self.assertAllEqual(targets.objectness, [[1, 0, 1, 0, 0]])
    self.assertAllEqual(targets.selected, [[True, False, True, False, False]])

  def test_a_region_claims_nothing_and_leaves_positives_alone(self):
    # The first two boxes now are regions. Anchor 0 lies in the first, with IoU 0.8; anchor 1 has
    # IoU 0.5 with it; anchor 2 has IoU 0.2 with the second and 0.4 of it lies there. The object
    # claims anchor 4, half of which lies in a third region.
    gt_boxes = [*_GT_BOXES, [46.0, 46.0, 56.0, 56.0], [40.0, 40.0, 50.0, 45.0]]
    targets = _targets([gt_boxes], [[0, 0, 3, 0]])
    self.assertAllEqual(targets.objectness, [[0, 0, 0, 0, 1]])
    self.assertAllEqual(targets.selected, [[False, False, True, False, True]])
    self.assertAllEqual(targets.positive, [[False] * 4 + [True]])

  def test_near_a_region_the_threshold_of_negatives_counts(self):
    # The region is 0.45 of anchor 4, which is no negative from an IoU of 0.3 on.
    gt_boxes = [[[40.0, 40.0, 50.0, 44.5]]]
    self.assertAllEqual(_targets(gt_boxes, [[0]]).selected, [[True, True, True, False, False]])
    stricter = _targets(gt_boxes, [[0]], negative_iou=0.5)
    self.assertAllEqual(stricter.selected, [_IS_CANDIDATE])

  def test_without_objects_regions_are_not_background(self):
    targets = _targets([[_GT_BOXES[0], _PADDING]] * 2, [[0, -1], [-1, -1]])
    self.assertAllEqual(targets.selected, [[False, False, True, False, True], _IS_CANDIDATE])
    self.assertAllEqual(targets.objectness, tf.zeros([2, 5]))

  def test_no_objects(self):
    targets = _targets([[_PADDING] * 2], [[-1, -1]])
    self.assertAllEqual(targets.objectness, [[0] * 5])
    self.assertAllEqual(targets.selected, [_IS_CANDIDATE])
    self.assertAllEqual(targets.positive, [[False] * 5])
    self.assertAllEqual(targets.box_deltas, np.zeros([1, 5, 4]))

  def test_padding_changes_nothing(self):
    plain = _targets([_GT_BOXES], [[3, 1]])
    padded = _targets([_GT_BOXES + [_PADDING] * 3], [[3, 1, -1, -1, -1]])
    for expected, actual in zip(plain, padded, strict=True):
      self.assertAllEqual(expected, actual)

  def test_batch_equals_one_by_one(self):
    gt_boxes, gt_classes = [_GT_BOXES, [_GT_BOXES[1], _PADDING]], [[3, 1], [1, -1]]
    together = _targets(gt_boxes, gt_classes, [[1, 2], [3, 4]], num_samples=2)
    for image, seed in enumerate([[1, 2], [3, 4]]):
      alone = _targets([gt_boxes[image]], [gt_classes[image]], [seed], num_samples=2)
      for field_together, field_alone in zip(together, alone, strict=True):
        self.assertAllEqual(field_together[image], field_alone[0])

  def test_minibatch_and_thresholds_are_settings(self):
    # Now anchor 1 is positive, too, and of three positives one is sampled; nothing is negative.
    targets = _targets(
      [_GT_BOXES],
      [[3, 1]],
      num_samples=4,
      positive_fraction=0.25,
      positive_iou=0.5,
      negative_iou=0.0,
    )
    self.assertAllEqual(targets.objectness, [[1, 1, 1, 0, 0]])
    self.assertEqual(np.sum(targets.positive), 1)
    self.assertAllEqual(targets.selected, targets.positive)


if __name__ == "__main__":
  tf.test.main()
