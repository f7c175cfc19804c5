"""Losses of the three auxiliary tasks.

Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, sec. 3. Where the
released code differs, an argument says so.
"""

import tensorflow as tf

from mtl_ssl_tf.configs import auxiliary as auxiliary_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.losses import annotated_classes, batch_sum


def multi_object_loss(
  logits: tf.Tensor,
  labels: tf.Tensor,
  weights: tf.Tensor,
  num_views: int = 1,
  annotated: tf.Tensor | None = None,
) -> batch_sum.BatchSum:
  """Mean cross entropy with soft labels over the windows that count.

  Args:
    logits: float32 [B, S, C].
    labels: float32 [B, S, C], rows sum to 1.
    weights: float32 [B, S], 0 for windows that carry no loss.
    num_views: equal parts of the batch, each with a mean of its own.
    annotated: float32 [B, S, C], 1 for the classes that each window is annotated for: what no box
      of these covers is background or of another class, see `annotated_classes`. None is all.

  Returns:
    The sum of their cross entropies, over the sum of their weights.
  """
  if annotated is not None:
    logits = annotated_classes.merge_into_background(logits, labels, annotated)
  entropy = tf.nn.softmax_cross_entropy_with_logits(labels, logits)  # [B, S]
  return batch_sum.BatchSum(
    batch_sum.sum_by_view(entropy * weights, num_views), batch_sum.sum_by_view(weights, num_views)
  )


def closeness_loss(
  logits: tf.Tensor,
  labels: tf.Tensor,
  counted: tf.Tensor,
  drop_background: bool,
  normalizer: str,
  num_views: int = 1,
  annotated: tf.Tensor | None = None,
) -> batch_sum.BatchSum:
  """Cross entropy with soft labels over the positive boxes.

  Args:
    logits: float32 [B, K, C].
    labels: float32 [B, K, C], the label of each box's matched object.
    counted: bool [B, K], the positive boxes whose object has a label.
    drop_background: leave column 0 out of logits and labels (released code); boxes that only have
      background then add 0 but still count.
    normalizer: `batch_positives` divides by the positives of the batch; `per_image_sum` divides
      each image by its own and adds the images up (released code).
    num_views: equal parts of the batch, each with a divisor of its own.
    annotated: float32 [B, C], 1 for the classes that each image is annotated for. Where it is not
      all of them, how near these are to each other is all that a label says. None is all.

  Returns:
    The sum of cross entropies, over the number of positives where the batch has one divisor.

  Raises:
    ValueError: `normalizer` is neither of the two.
  """
  fields.check_value(auxiliary_config.Closeness, "normalizer", normalizer)
  if annotated is not None:
    logits = annotated_classes.among_annotated(logits, labels, annotated[:, tf.newaxis])
  if drop_background:
    logits, labels = logits[..., 1:], labels[..., 1:]
  entropy = -tf.reduce_sum(labels * tf.nn.log_softmax(logits), axis=-1)  # [B, K]
  counted = tf.cast(counted, tf.float32)  # [B, K]
  total = tf.reduce_sum(entropy * counted, axis=1)  # [B]
  num_counted = tf.reduce_sum(counted, axis=1)  # [B]
  if normalizer == "batch_positives":
    return batch_sum.BatchSum(
      batch_sum.sum_by_view(total, num_views), batch_sum.sum_by_view(num_counted, num_views)
    )
  return batch_sum.BatchSum(tf.reduce_sum(total / tf.maximum(num_counted, 1.0)))


def foreground_loss(logits: tf.Tensor, mask: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
  """Weighted mean cross entropy over the cells of the mask.

  Args:
    logits: float32 [B, h, w, 2], background and foreground.
    mask: float32 [B, h, w], 1 on foreground.
    weights: float32 [B, h, w].

  Returns:
    A scalar.
  """
  labels = tf.cast(mask > 0.5, tf.int32)  # [B, h, w]
  entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # [B, h, w]
  return tf.reduce_mean(entropy * weights)
