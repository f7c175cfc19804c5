"""Multi-object logits of the windows around a box, the evidence for refinement.

Q windows grow from each of R boxes to the whole image. Letters as in `detector.py`, and
`T` chunks of `n` windows.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from mtl_ssl_tf.modeling.heads import base

# Windows of an image that go through the second stage together, where only some are selected.
WINDOW_CHUNK_SIZE = 176


@dataclasses.dataclass(frozen=True)
class WindowEvidence:
  """Classifies the windows around boxes by the multi-object head.

  Attributes:
    num_classes: C.
    num_windows: Q, at least 2.
    chunk_size: most windows of an image that go through a second stage together, where only some
      boxes are selected.
  """

  num_classes: int
  num_windows: int
  chunk_size: int = WINDOW_CHUNK_SIZE

  def __call__(
    self,
    head: base.AuxiliaryHead,
    prepared: base.PreparedFeatures,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    box_features: tf.Tensor | None = None,
    selected: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Returns multi-object logits [B, R, Q, C] of the windows around boxes [B, R, 4].

    The outermost window of every box is the image, which is classified once. The head runs as at
    inference, and no gradient passes.

    Args:
      head: the multi-object head.
      prepared: of that head.
      boxes_norm: float32 [B, R, 4], fractions of the image content.
      image_size_px: float32 [B, 2].
      box_features: float32 [B, R, depth], the main head's for these boxes. A head that uses them
        takes them for the innermost windows, which are the boxes.
      selected: bool [B, R], the boxes whose windows are used, or None for all. Logits of the
        others may be anything.
    """
    prepared = tf.nest.map_structure(tf.stop_gradient, prepared)

    def predict(windows_norm: tf.Tensor, features: tf.Tensor | None = None) -> tf.Tensor:
      # Explicitly: what Keras takes by default is the mode of the call around this one.
      return head(prepared, windows_norm, image_size_px, training=False, box_features=features)

    windows = expanded_windows(boxes_norm, self.num_windows)  # [B, R, Q, 4]
    num_boxes, parts = boxes_norm.shape[1], []
    if head.uses_box_features and box_features is not None:
      innermost = predict(windows[:, :, 0], box_features)  # [B, R, C]
      parts.append(innermost[:, :, tf.newaxis])  # [B, R, 1, C]
      windows = windows[:, :, 1:]  # [B, R, Q - 1, 4]
    inner, image = windows[:, :, :-1], windows[:, :1, -1]  # [B, R, Q', 4], [B, 1, 4]
    num_inner = inner.shape[2]
    flat = tf.concat([tf.reshape(inner, [-1, num_boxes * num_inner, 4]), image], axis=1)
    # Heads on maps have computed their maps already; for the others, fewer windows cost less.
    if selected is not None and head.runs_on_crops:
      is_selected = tf.repeat(selected, num_inner, axis=1)  # [B, R Q']
      is_selected = tf.pad(is_selected, [[0, 0], [0, 1]], constant_values=True)  # [B, R Q' + 1]
      logits = predict_selected(predict, flat, is_selected, self.num_classes, self.chunk_size)
    else:
      logits = predict(flat)  # [B, R Q' + 1, C]
    parts.append(tf.reshape(logits[:, :-1], [-1, num_boxes, num_inner, self.num_classes]))
    parts.append(tf.repeat(logits[:, tf.newaxis, -1:], num_boxes, axis=1))  # [B, R, 1, C]
    return tf.stop_gradient(tf.concat(parts, axis=2))


def expanded_windows(boxes_norm: tf.Tensor, num_windows: int) -> tf.Tensor:
  """Windows growing from each box to the whole image, every side in equal steps.

  Args:
    boxes_norm: float32 [B, R, 4], fractions of the image content.
    num_windows: Q, at least 2; the first window is the box, the last the image.

  Returns:
    float32 [B, R, Q, 4].

  Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, refinement.
  """
  growth = tf.range(num_windows, dtype=tf.float32) / (num_windows - 1)  # [Q]
  top_left, bottom_right = tf.split(boxes_norm[:, :, tf.newaxis], 2, axis=-1)  # [B, R, 1, 2]
  growth = growth[:, tf.newaxis]  # [Q, 1]
  # In this form a side on the border stays there to the last bit; a window that sticks out by a
  # rounding error would lose its last row of samples.
  return tf.concat(
    [top_left - top_left * growth, bottom_right + (1.0 - bottom_right) * growth], axis=-1
  )  # [B, R, Q, 4]


def predict_selected(
  predict: Callable[[tf.Tensor], tf.Tensor],
  windows: tf.Tensor,
  selected: tf.Tensor,
  num_classes: int,
  chunk_size: int,
) -> tf.Tensor:
  """Returns the logits of selected windows.

  Windows are processed in chunks, selected ones first, until none is left: all sizes are static,
  the number of chunks is not. It is that of the image with the most selected windows.

  Args:
    predict: from windows [B, n, 4] to logits [B, n, C].
    windows: float32 [B, S, 4].
    selected: bool [B, S].
    num_classes: C.
    chunk_size: most windows of an image in a chunk.

  Returns:
    float32 [B, S, C]; anything where windows are not selected.
  """
  num_windows = windows.shape[1]
  num_chunks = -(-num_windows // chunk_size)
  chunk_size = -(-num_windows // num_chunks)  # Where all are selected, chunks are of one size.
  order = tf.argsort(tf.cast(~selected, tf.int32), stable=True)  # [B, S], selected ones first
  most = tf.reduce_max(tf.reduce_sum(tf.cast(selected, tf.int32), axis=1))
  padding = [[0, 0], [0, num_chunks * chunk_size - num_windows]]
  rows = tf.reshape(tf.pad(order, padding), [-1, num_chunks, chunk_size])  # [B, T, n]

  def process(index: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    chunk = tf.gather(windows, tf.gather(rows, index, axis=1), batch_dims=1)  # [B, n, 4]
    predicted = predict(chunk)  # [B, n, C]
    return index + 1, tf.tensor_scatter_nd_update(logits, [[index]], predicted[tf.newaxis])

  shape = [num_chunks, tf.shape(windows)[0], chunk_size, num_classes]
  _, logits = tf.while_loop(
    lambda index, _: index * chunk_size < most, process, (0, tf.zeros(shape))
  )  # [T, B, n, C]
  logits = tf.reshape(
    tf.transpose(logits, [1, 0, 2, 3]), [-1, num_chunks * chunk_size, num_classes]
  )  # [B, T n, C]
  return tf.gather(logits, tf.argsort(order), batch_dims=1)  # [B, S, C]
