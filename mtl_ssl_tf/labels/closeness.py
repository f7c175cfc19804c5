"""Labels of the closeness task: the classes of the objects that lie near an object."""

import tensorflow as tf


def closeness_labels(
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
  image_size_px: tf.Tensor,
  num_classes: int,
  *,
  include_same_class: bool,
  round_decimals: int | None,
) -> tf.Tensor:
  """Soft labels of objects: how near the nearest other object of each class is.

  The nearness of two objects is 1 minus the distance of their centres in image diagonals. An
  object's entry for class c is its nearness to the nearest of the other objects of class c, or 0
  if there is none; the row is then normalised. Only an object without others is background.

  Regions to be ignored have no label and are near nobody. Where nothing else is around an object,
  what they hold may well be near it, so that it has no label either.

  Args:
    gt_boxes_px: float32 [B, N, 4], pixels of the network input; padding rows are -1.
    gt_classes: int32 [B, N], 1 … num_classes-1, or 0 for a region to be ignored; padding is -1.
    image_size_px: float32 [B, 2], height and width of the image content.
    num_classes: int, background included.
    include_same_class: whether objects of the same class are near each other. The released code
      passes over them (False), so that an object that has only its like around is background.
    round_decimals: the released records keep 3 decimals; None does not round.
    All without the leading B for one image.

  Returns:
    float32 [B, N, num_classes], rows sum to 1; rows without a label (padding, regions, objects with
    only regions around) are all zero and carry no loss.

  Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, algorithm 2. The
  formula of the nearness is taken from the released code.
  """
  valid = gt_classes > 0  # [B, N]
  centers = 0.5 * (gt_boxes_px[..., :2] + gt_boxes_px[..., 2:])  # [B, N, 2]
  offsets = centers[..., :, tf.newaxis, :] - centers[..., tf.newaxis, :, :]  # [B, N, N, 2]
  diagonal_px = tf.norm(image_size_px, axis=-1)[..., tf.newaxis, tf.newaxis]  # [B, 1, 1]
  nearness = 1.0 - tf.norm(offsets, axis=-1) / diagonal_px  # [B, N, N]

  is_other = ~tf.eye(tf.shape(gt_classes)[-1], dtype=tf.bool)  # [N, N]
  if not include_same_class:
    is_other &= gt_classes[..., :, tf.newaxis] != gt_classes[..., tf.newaxis, :]  # [B, N, N]
  nearness = tf.where(is_other, nearness, 0.0)  # [B, N, N]

  # The row of class -1 is all zero, so that padding and regions are near nobody.
  of_class = tf.one_hot(tf.where(valid, gt_classes, -1), num_classes)  # [B, N, C]
  of_class = of_class[..., tf.newaxis, :, :]  # [B, 1, N, C]
  nearest = tf.reduce_max(nearness[..., tf.newaxis] * of_class, axis=-2)  # [B, N, C]
  total = tf.reduce_sum(nearest, axis=-1, keepdims=True)  # [B, N, 1]
  background = tf.one_hot(tf.zeros_like(gt_classes), num_classes)  # [B, N, C]
  any_region = tf.reduce_any(tf.equal(gt_classes, 0), axis=-1)[..., tf.newaxis, tf.newaxis]
  background = tf.where(any_region, 0.0, background)
  labels = tf.where(total > 0.0, tf.math.divide_no_nan(nearest, total), background)
  labels = tf.where(valid[..., tf.newaxis], labels, 0.0)  # [B, N, C]
  if round_decimals is not None:
    labels = tf.round(labels * 10.0**round_decimals) / 10.0**round_decimals
  return labels
