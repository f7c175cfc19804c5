"""Targets of a cascade's later stages (`roi_targets.rematched`) against a loop over boxes."""

import math

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.labels import roi_targets

PADDING = [-1.0, -1.0, -1.0, -1.0]
# Two objects, a region to be ignored, padding in between.
GT_BOXES = np.array([[[0, 0, 10, 10], PADDING, [20, 20, 30, 40], [60, 0, 100, 100]]], np.float32)
GT_CLASSES = np.array([[4, -1, 2, 0]])


def iou(a, b):
  height = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
  width = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
  areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
  union = sum(areas) - height * width
  return height * width / union if union > 0.0 else 0.0


def deltas(box, anchor):
  (ay, ax), (ah, aw) = (anchor[:2] + anchor[2:]) / 2, anchor[2:] - anchor[:2]
  (by, bx), (bh, bw) = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
  return [
    10 * (by - ay) / ah,
    10 * (bx - ax) / aw,
    5 * math.log(bh / ah),
    5 * math.log(bw / aw),
  ]


def oracle(boxes, valid, gt_boxes, gt_classes, positive_iou):
  """Rows of valid, class, deltas, positive and index."""
  found = []
  for box, is_valid in zip(boxes, valid, strict=True):
    nothing = (False, 0, [0.0] * 4, False, 0)
    area = max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
    if not is_valid or area == 0.0:
      found.append(nothing)
      continue
    overlaps = [iou(box, gt) if c > 0 else -1.0 for gt, c in zip(gt_boxes, gt_classes, strict=True)]
    best = int(np.argmax(overlaps))
    if overlaps[best] >= positive_iou:
      target = deltas(gt_boxes[best], box)
      found.append((True, int(gt_classes[best]), target, True, best))
      continue
    ignored = False
    for gt, c in zip(gt_boxes, gt_classes, strict=True):
      if c == 0:
        height = max(min(box[2], gt[2]) - max(box[0], gt[0]), 0.0)
        width = max(min(box[3], gt[3]) - max(box[1], gt[1]), 0.0)
        ignored |= height * width >= 0.5 * area or iou(box, gt) >= positive_iou
    found.append(nothing if ignored else (True, 0, [0.0] * 4, False, 0))
  return found


def run(boxes, valid, gt_boxes, gt_classes, positive_iou, jit_compile=False):
  rematched = tf.function(roi_targets.rematched, jit_compile=jit_compile)
  inputs = (tf.constant(boxes, tf.float32), tf.constant(valid), tf.constant(gt_boxes, tf.float32))
  return rematched(*inputs, tf.constant(gt_classes, tf.int32), positive_iou)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_worked_case(jit_compile):
  boxes = [
    [0, 0, 10, 6.5],  # IoU 0.65 with the first object
    [20, 20, 30, 34],  # IoU 0.7 with the second
    [40, 40, 50, 50],  # overlaps nothing
    [70, 10, 80, 20],  # in the region to be ignored
    [0, 0, 10, 10],  # the first object, but the sample has no such row
    [20, 96, 30, 96],  # has left the image
    PADDING,
  ]
  valid = [True, True, True, True, False, True, False]
  found = run([boxes], [valid], GT_BOXES, GT_CLASSES, 0.7, jit_compile)
  np.testing.assert_array_equal(found.valid, [[True, True, True, False, False, False, False]])
  np.testing.assert_array_equal(found.classes, [[0, 2, 0, 0, 0, 0, 0]])
  np.testing.assert_array_equal(found.gt_indices, [[0, 2, 0, 0, 0, 0, 0]])
  np.testing.assert_array_equal(found.is_positive[0, :3], [False, True, False])
  np.testing.assert_array_equal(found.boxes_px[0, 0], [0, 0, 10, 6.5])
  np.testing.assert_array_equal(found.boxes_px[0, 3:], [PADDING] * 4)
  looser = run([boxes], [valid], GT_BOXES, GT_CLASSES, 0.65, jit_compile)
  np.testing.assert_array_equal(looser.classes, [[4, 2, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("positive_iou", [0.5, 0.6, 0.7])
def test_as_a_loop_over_boxes(positive_iou):
  rng = np.random.default_rng(0)
  gt_boxes = np.repeat(GT_BOXES, 2, axis=0)
  gt_classes = np.array([GT_CLASSES[0], [0, -1, 3, 1]])
  boxes = np.array([gt_boxes[:, rng.choice([0, 2, 3])] for _ in range(60)]).transpose(1, 0, 2)
  sides = boxes[..., 2:] - boxes[..., :2]
  boxes = boxes + rng.normal(size=boxes.shape) * 0.12 * np.concatenate([sides, sides], axis=-1)
  valid = rng.random([2, 60]) < 0.9
  found = run(boxes, valid, gt_boxes, gt_classes, positive_iou)
  kinds = set()
  for image in range(2):
    expected = oracle(
      boxes[image].astype(np.float32),
      valid[image],
      gt_boxes[image],
      gt_classes[image],
      positive_iou,
    )
    for row, (is_valid, name, target, is_positive, index) in enumerate(expected):
      ours = (found.valid, found.classes, found.is_positive, found.gt_indices)
      assert [int(values[image, row]) for values in ours] == [is_valid, name, is_positive, index]
      np.testing.assert_allclose(found.box_deltas[image, row], target, atol=1e-3)
      kinds.add((is_valid, is_positive, bool(valid[image, row])))
  assert len(kinds) == 4  # Positive, negative, ignored and missing ones.


def test_padding_and_order_change_nothing():
  boxes = np.array([[[1, 1, 10, 9], [20, 22, 30, 40], [50, 50, 58, 60]]], np.float32)
  expected = run(boxes, [[True] * 3], GT_BOXES, GT_CLASSES, 0.6)
  more = np.concatenate([boxes[:, ::-1], [[PADDING] * 2]], axis=1)
  valid = [[True, True, True, False, False]]
  padded = np.concatenate([GT_BOXES, [[PADDING]]], axis=1)
  found = run(more, valid, padded, np.append(GT_CLASSES, [[-1]], axis=1), 0.6)
  for values, theirs in zip(found, expected, strict=True):
    np.testing.assert_allclose(values[:, :3], theirs[:, ::-1], atol=1e-6)
  np.testing.assert_array_equal(found.valid[:, 3:], [[False, False]])


def test_nothing_but_background_without_objects():
  found = run([[[0, 0, 9, 9]]], [[True]], [[PADDING]], [[-1]], 0.5)
  assert found.valid.numpy().tolist() == [[True]]
  assert found.classes.numpy().tolist() == [[0]]


def test_no_gradient_passes_into_the_boxes():
  boxes = tf.constant([[[1.0, 1.0, 10.0, 9.0]]])
  with tf.GradientTape() as tape:
    tape.watch(boxes)
    found = roi_targets.rematched(
      boxes, tf.constant([[True]]), tf.constant(GT_BOXES), tf.constant(GT_CLASSES, tf.int32), 0.5
    )
    total = tf.reduce_sum(found.box_deltas) + tf.reduce_sum(found.boxes_px)
  assert found.is_positive.numpy().all()
  assert tape.gradient(total, boxes) is None
