"""Areas, overlaps and frames of boxes `[ymin, xmin, ymax, xmax]`.

Everything here treats a padded box (all -1) and a box without area alike: it overlaps nothing.
Clipping and changing the frame leave padded boxes as they are.
"""

import tensorflow as tf


def is_padding(boxes: tf.Tensor) -> tf.Tensor:
  """Says which boxes [..., 4] are padding, that is, -1 in all four places; bool [...]."""
  return tf.reduce_all(tf.equal(boxes, -1.0), axis=-1)


def area(boxes: tf.Tensor) -> tf.Tensor:
  """Area of boxes [..., 4], in squared units of their frame; 0 if a side is not positive; [...]."""
  height = tf.maximum(boxes[..., 2] - boxes[..., 0], 0.0)
  width = tf.maximum(boxes[..., 3] - boxes[..., 1], 0.0)
  return height * width


def pairwise_intersection(boxes1: tf.Tensor, boxes2: tf.Tensor) -> tf.Tensor:
  """Area that each box of one set shares with each box of the other.

  Args:
    boxes1: float32 [..., N, 4], any frame; padding is -1.
    boxes2: float32 [..., M, 4], the same frame; leading axes broadcast against those of `boxes1`.

  Returns:
    float32 [..., N, M]; 0 where either box is padding or has no area.
  """
  ymin1, xmin1, ymax1, xmax1 = tf.split(boxes1, 4, axis=-1)  # [..., N, 1] each
  ymin2, xmin2, ymax2, xmax2 = tf.unstack(boxes2[..., tf.newaxis, :, :], axis=-1)  # [..., 1, M]
  height = tf.minimum(ymax1, ymax2) - tf.maximum(ymin1, ymin2)  # [..., N, M]
  width = tf.minimum(xmax1, xmax2) - tf.maximum(xmin1, xmin2)  # [..., N, M]
  return tf.maximum(height, 0.0) * tf.maximum(width, 0.0)


def pairwise_iou(boxes1: tf.Tensor, boxes2: tf.Tensor) -> tf.Tensor:
  """Intersection over union of each box of one set with each box of the other.

  Unlike the Model Garden's `bbox_overlap`, which marks padding by an IoU of -1 that an arg-max or
  a threshold has to know of, padding has IoU 0 with everything.

  Args:
    boxes1: float32 [..., N, 4], any frame; padding is -1.
    boxes2: float32 [..., M, 4], the same frame; leading axes broadcast against those of `boxes1`.

  Returns:
    float32 [..., N, M] in [0, 1]; 0 where either box is padding or has no area.
  """
  intersection = pairwise_intersection(boxes1, boxes2)  # [..., N, M]
  areas1 = area(boxes1)[..., :, tf.newaxis]  # [..., N, 1]
  areas2 = area(boxes2)[..., tf.newaxis, :]  # [..., 1, M]
  return tf.math.divide_no_nan(intersection, areas1 + areas2 - intersection)


def clip_to_size(boxes_px: tf.Tensor, image_size_px: tf.Tensor) -> tf.Tensor:
  """Moves the sides of boxes that stick out of the image onto its border.

  Args:
    boxes_px: float32 [B, ..., 4], pixels; padding is -1 and stays -1.
    image_size_px: float32 [B, 2], height and width of the image content.

  Returns:
    float32 [B, ..., 4]; a box that lies outside has no area left.
  """
  limits = _sides(image_size_px, boxes_px)  # [B, ..., 4]
  clipped = tf.clip_by_value(boxes_px, 0.0, limits)
  return _keep_padding(boxes_px, clipped)


def normalize(boxes_px: tf.Tensor, image_size_px: tf.Tensor) -> tf.Tensor:
  """Turns pixels into fractions of the image content.

  Args:
    boxes_px: float32 [B, ..., 4], pixels; padding is -1 and stays -1.
    image_size_px: float32 [B, 2], height and width of the image content.

  Returns:
    float32 [B, ..., 4].
  """
  return _keep_padding(boxes_px, boxes_px / _sides(image_size_px, boxes_px))


def denormalize(boxes_norm: tf.Tensor, image_size_px: tf.Tensor) -> tf.Tensor:
  """Turns fractions of the image content into pixels; the inverse of `normalize`.

  Args:
    boxes_norm: float32 [B, ..., 4], fractions; padding is -1 and stays -1.
    image_size_px: float32 [B, 2], height and width of the image content.

  Returns:
    float32 [B, ..., 4].
  """
  return _keep_padding(boxes_norm, boxes_norm * _sides(image_size_px, boxes_norm))


def _sides(image_size_px: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
  """Height, width, height, width [B, 1, ..., 1, 4], to go with boxes [B, ..., 4]."""
  sides = tf.concat([image_size_px, image_size_px], axis=-1)  # [B, 4]
  return tf.reshape(sides, [-1] + [1] * (len(boxes.shape) - 2) + [4])


def _keep_padding(boxes: tf.Tensor, changed_boxes: tf.Tensor) -> tf.Tensor:
  return tf.where(is_padding(boxes)[..., tf.newaxis], boxes, changed_boxes)
