"""Losses of the RPN and of the main head, with the released normalisers."""

import tensorflow as tf

from mtl_ssl_tf.losses import annotated_classes


def smooth_l1(errors: tf.Tensor, sigma: float) -> tf.Tensor:
  """Quadratic near zero, linear beyond 1 / sigma^2; summed over the last axis.

  Args:
    errors: float32 [..., 4].
    sigma: larger makes the quadratic part narrower; 3 in the RPN, 1 in the second stage.

  Returns:
    float32 [...].

  Reference: Ren et al., "Faster R-CNN", NeurIPS 2015, and its released code for sigma.
  """
  squared = sigma * sigma
  size = tf.abs(errors)
  values = tf.where(size < 1.0 / squared, 0.5 * squared * size * size, size - 0.5 / squared)
  return tf.reduce_sum(values, axis=-1)


def rpn_losses(
  logits: tf.Tensor,
  deltas: tf.Tensor,
  target_objectness: tf.Tensor,
  target_deltas: tf.Tensor,
  selected: tf.Tensor,
  positive: tf.Tensor,
  sigma: float,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Objectness and box loss, both divided by an image's sampled anchors, then averaged.

  Args:
    logits: float32 [B, A, 2].
    deltas: float32 [B, A, 4].
    target_objectness: int32 [B, A], 1 for objects.
    target_deltas: float32 [B, A, 4].
    selected: bool [B, A], the sampled anchors.
    positive: bool [B, A], the sampled positives.
    sigma: of the smooth L1 loss.

  Returns:
    Two scalars: objectness and box loss.
  """
  selected = tf.cast(selected, tf.float32)  # [B, A]
  num_selected = tf.maximum(tf.reduce_sum(selected, axis=1), 1.0)  # [B]
  entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(target_objectness, logits)
  objectness = tf.reduce_sum(entropy * selected, axis=1) / num_selected  # [B]
  box_errors = smooth_l1(deltas - target_deltas, sigma) * tf.cast(positive, tf.float32)
  box = tf.reduce_sum(box_errors, axis=1) / num_selected  # [B]
  return tf.reduce_mean(objectness), tf.reduce_mean(box)


def roi_class_loss(
  logits: tf.Tensor,
  target_classes: tf.Tensor,
  valid: tf.Tensor,
  annotated: tf.Tensor | None = None,
) -> tf.Tensor:
  """Cross entropy over an image's sampled boxes, averaged over images.

  Args:
    logits: float32 [B, K, C].
    target_classes: int32 [B, K], 0 for background.
    valid: bool [B, K], false in padding rows.
    annotated: float32 [B, K, C], 1 for the classes that each box's place is annotated for: no box
      is taught to be background where it may be of another class, see `annotated_classes`. None is
      all classes.

  Returns:
    A scalar.
  """
  if annotated is not None:
    one_hot = tf.one_hot(target_classes, logits.shape[-1])  # [B, K, C]
    logits = annotated_classes.merge_into_background(logits, one_hot, annotated)
  entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(target_classes, logits)
  return _mean_over_valid(entropy, valid, valid)


def roi_box_loss(
  deltas: tf.Tensor,
  target_classes: tf.Tensor,
  target_deltas: tf.Tensor,
  positive: tf.Tensor,
  valid: tf.Tensor,
  sigma: float,
) -> tf.Tensor:
  """Smooth L1 of the target class's box deltas, divided by all sampled boxes of the image.

  Args:
    deltas: float32 [B, K, C - 1, 4], or [B, K, 1, 4] for all classes.
    target_classes: int32 [B, K].
    target_deltas: float32 [B, K, 4].
    positive: bool [B, K].
    valid: bool [B, K].
    sigma: of the smooth L1 loss.

  Returns:
    A scalar.
  """
  columns = tf.clip_by_value(target_classes - 1, 0, deltas.shape[2] - 1)  # [B, K]
  own = tf.gather(deltas, columns, axis=2, batch_dims=2)  # [B, K, 4]
  return _mean_over_valid(smooth_l1(own - target_deltas, sigma), positive, valid)


def _mean_over_valid(values: tf.Tensor, counted: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
  """Sum of `values` where `counted`, over the number of `valid` rows; averaged over images."""
  total = tf.reduce_sum(values * tf.cast(counted, tf.float32), axis=1)  # [B]
  num_valid = tf.reduce_sum(tf.cast(valid, tf.float32), axis=1)  # [B]
  return tf.reduce_mean(total / tf.maximum(num_valid, 1.0))
