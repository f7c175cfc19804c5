"""Box deltas: a box relative to another one, by centre and size, in both stages of the detector."""

import math
from collections.abc import Sequence

import tensorflow as tf

_EPSILON = 1e-8
# No anchor has to grow a thousandfold to reach any box of an image, so the limit is out of the way
# of all sane deltas; it keeps a diverging network's boxes finite, and NaN out of its gradients.
_MAX_LOG_SIZE_RATIO = math.log(1000.0)


def encode(
  boxes: tf.Tensor,
  anchors: tf.Tensor,
  scale_factors: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
) -> tf.Tensor:
  """Deltas [ty, tx, th, tw] from anchors to boxes.

  ty is the distance of the centres in anchor heights, th the logarithm of the ratio of the
  heights, each times its scale factor; tx and tw likewise. 1e-8 is added to all sizes, and a
  negative size counts as none: the deltas of a padded or empty box are finite, and meaningless.

  Args:
    boxes: float32 [..., 4], any frame; padding is -1.
    anchors: float32 [..., 4], the same frame; leading axes broadcast.
    scale_factors: what the four numbers are multiplied by.

  Returns:
    float32 [..., 4].

  Reference: Ren et al., "Faster R-CNN", NeurIPS 2015, section 3.1.2.
  """
  box_centers, box_sizes = _centers_and_sizes(boxes)  # [..., 2] each
  anchor_centers, anchor_sizes = _centers_and_sizes(anchors)  # [..., 2] each
  box_sizes = tf.maximum(box_sizes, 0.0) + _EPSILON
  anchor_sizes = tf.maximum(anchor_sizes, 0.0) + _EPSILON
  shifts = (box_centers - anchor_centers) / anchor_sizes  # [..., 2]
  growths = tf.math.log(box_sizes / anchor_sizes)  # [..., 2]
  return tf.concat([shifts, growths], axis=-1) * tf.constant(scale_factors)  # [..., 4]


def decode(
  deltas: tf.Tensor,
  anchors: tf.Tensor,
  scale_factors: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
) -> tf.Tensor:
  """Boxes from anchors and deltas [ty, tx, th, tw]; the inverse of `encode`.

  Args:
    deltas: float32 [..., 4], as returned by `encode`.
    anchors: float32 [..., 4], any frame; leading axes broadcast.
    scale_factors: what the four numbers were multiplied by.

  Returns:
    float32 [..., 4], in the frame of the anchors. A box grows at most a thousandfold.
  """
  anchor_centers, anchor_sizes = _centers_and_sizes(anchors)  # [..., 2] each
  shifts, growths = tf.split(deltas / tf.constant(scale_factors), 2, axis=-1)  # [..., 2] each
  centers = anchor_centers + shifts * anchor_sizes  # [..., 2]
  half_sizes = 0.5 * anchor_sizes * tf.exp(tf.minimum(growths, _MAX_LOG_SIZE_RATIO))
  return tf.concat([centers - half_sizes, centers + half_sizes], axis=-1)  # [..., 4]


def _centers_and_sizes(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  top_left, bottom_right = tf.split(boxes, 2, axis=-1)  # [..., 2] each
  sizes = bottom_right - top_left
  return top_left + 0.5 * sizes, sizes
