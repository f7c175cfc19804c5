"""Marks anchors and proposals in regions to be ignored: crowds and other doubtful boxes.

Such regions are ground-truth rows with class 0. They are no objects, so nothing is
matched to them, and no background either, so nothing in them is a negative.
"""

import tensorflow as tf

from mtl_ssl_tf.ops import box_ops, matching_ops

# The lowest threshold at which COCO's evaluation forgives a detection inside a crowd.
_MIN_INSIDE = 0.5


def in_ignored_region(
  boxes_px: tf.Tensor, gt_boxes_px: tf.Tensor, gt_classes: tf.Tensor, min_iou: float
) -> tf.Tensor:
  """Returns the boxes that may not be negatives because of a region to be ignored.

  A box counts as in a region if their IoU is at least `min_iou`, as near an object, or if at least
  half of its own area lies inside: the region is often much larger than what it holds.

  Args:
    boxes_px: float32 [B, A, 4] or [A, 4], pixels; padding is -1.
    gt_boxes_px: float32 [B, N, 4], pixels; padding is -1.
    gt_classes: int32 [B, N], 0 for regions to be ignored.
    min_iou: from which IoU with an object on a box is no negative.

  Returns:
    bool [B, A], False everywhere in an image without such regions.

  Reference: intersection over the box's own area is how COCO's evaluation (pycocotools) compares
  detections with crowds, and what mmdetection's assigners call `ignore_iof`. The papers of
  Faster R-CNN and of this detector do not mention such regions.
  """
  is_region = tf.equal(gt_classes, 0)  # [B, N]
  own_area = box_ops.area(boxes_px)[..., tf.newaxis]  # [B, A, 1]

  def step(n: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    region_px = tf.gather(gt_boxes_px, [n], axis=1)  # [B, 1, 4]
    shared_area = box_ops.pairwise_intersection(boxes_px, region_px)  # [B, A, 1]
    lies_inside = (shared_area > 0.0) & (shared_area >= _MIN_INSIDE * own_area)  # [B, A, 1]
    is_near = box_ops.pairwise_iou(boxes_px, region_px) >= min_iou  # [B, A, 1]
    return n + 1, found | ((lies_inside | is_near)[..., 0] & tf.gather(is_region, [n], axis=1))

  # Box by box: few images have such regions, and anchors are many.
  end = matching_ops.number_of_rows(is_region)
  nowhere = tf.zeros([tf.shape(gt_boxes_px)[0], tf.shape(boxes_px)[-2]], tf.bool)  # [B, A]
  _, found = tf.while_loop(lambda n, _: n < end, step, (0, nowhere))
  return found
