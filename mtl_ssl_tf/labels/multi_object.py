"""Labels of the multi-object task: the share of a window that each class fills."""

import tensorflow as tf

from mtl_ssl_tf.ops import box_ops, union_area_ops


def multi_object_labels(
  windows: tf.Tensor,
  gt_boxes: tf.Tensor,
  gt_classes: tf.Tensor,
  num_classes: int,
  *,
  round_decimals: int | None,
) -> tf.Tensor:
  """Soft labels saying which classes a window shows, and how much of it each one fills.

  Before normalisation, the entry of an object class is the square root of the share of the window
  that the class's boxes cover together, and the background's is the square root of the share that
  no box covers. Boxes of two classes may overlap, and then their common part counts for both. What
  only regions to be ignored cover is no background either: the shares are those of the rest.

  Args:
    windows: float32 [B, S, 4], in the frame of the boxes, whichever it is.
    gt_boxes: float32 [B, N, 4]; padding rows are -1.
    gt_classes: int32 [B, N], 1 … num_classes-1, or 0 for a region to be ignored; padding is -1.
    num_classes: int, background included.
    round_decimals: the released records keep 3 decimals, so that their labels need not sum to 1;
      None does not round.
    All without the leading B for one image.

  Returns:
    float32 [B, S, num_classes], rows sum to 1. A window that meets no object is background; a
    window without area (padding), or of which regions to be ignored leave nothing, is all zero.

  Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, algorithm 1. The
  released code agrees up to 10 boxes in a window; beyond, its union area is wrong.
  """
  # Regions to be ignored are group 0. They keep what they cover from being uncovered, and nothing
  # else: their own column is the background's place. The area that is left out would divide all
  # shares alike, so that normalisation takes it away.
  covered, uncovered = union_area_ops.union_fractions(windows, gt_boxes, gt_classes, num_classes)
  shares = tf.concat([uncovered[..., tf.newaxis], covered[..., 1:]], axis=-1)  # [B, S, C]
  roots = tf.sqrt(shares)  # [B, S, C]
  labels = tf.math.divide_no_nan(roots, tf.reduce_sum(roots, axis=-1, keepdims=True))
  if round_decimals is not None:
    labels = tf.round(labels * 10.0**round_decimals) / 10.0**round_decimals
  return labels


def window_weights(windows: tf.Tensor, gt_boxes: tf.Tensor, gt_classes: tf.Tensor) -> tf.Tensor:
  """Loss weights of windows: 1 for each that shares some area with an object, otherwise 0.

  An image without objects has nothing to label its windows by, so that they carry no loss.

  Args:
    windows: float32 [B, S, 4], in the frame of the boxes.
    gt_boxes: float32 [B, N, 4]; padding rows are -1.
    gt_classes: int32 [B, N], 1 … num_classes-1; rows of 0 or less are no objects.
    All without the leading B for one image.

  Returns:
    float32 [B, S].
  """
  shared_area = box_ops.pairwise_intersection(windows, gt_boxes)  # [B, S, N]
  meets = (shared_area > 0.0) & (gt_classes > 0)[..., tf.newaxis, :]  # [B, S, N]
  return tf.cast(tf.reduce_any(meets, axis=-1), tf.float32)  # [B, S]
