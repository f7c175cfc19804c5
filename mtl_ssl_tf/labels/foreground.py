"""Labels and weights of the foreground task: a coarse mask of the image, 1 where objects are.

Letters besides the project's own: h, w cells of the mask. The mask spans the image content,
whatever its shape: cell (i, j) covers rows i/h … (i+1)/h and columns j/w … (j+1)/w of it.
"""

import tensorflow as tf


def foreground_labels(
  gt_boxes_norm: tf.Tensor, gt_classes: tf.Tensor, mask_size: int | tuple[int, int] = 64
) -> tf.Tensor:
  """Mask with 1 in the cells of the objects' boxes, elsewhere 0.

  A box holds the rows from floor(h·ymin) to floor(h·ymax + 0.99), both included and at most h-1,
  and likewise the columns: all cells that it touches, and at the bottom and right one more. So even
  a box without height or width holds some cell.

  Args:
    gt_boxes_norm: float32 [B, N, 4], fractions of the image content; padding rows are -1.
    gt_classes: int32 [B, N], 1 … num_classes-1; padding is -1.
    mask_size: number of cells along each side, or (h, w).
    All without the leading B for one image.

  Returns:
    float32 [B, h, w].

  Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, foreground task.
  Which cells a box holds is the released code's rule; the paper gives none.
  """
  cells = _cells_of_boxes(gt_boxes_norm, gt_classes, mask_size)  # [B, N, h, w]
  return tf.cast(tf.reduce_any(cells, axis=-3), tf.float32)  # [B, h, w]


def foreground_weights(
  gt_boxes_norm: tf.Tensor, gt_classes: tf.Tensor, mask_size: int | tuple[int, int] = 64
) -> tf.Tensor:
  """Loss weights of the mask's cells by which each object counts about as much as the image.

  A cell weighs 1 / (number of cells of the smallest box that holds it), a cell of the background
  1 / (h·w); the weights of an image are then divided by their mean.

  Args:
    gt_boxes_norm: float32 [B, N, 4], fractions of the image content; padding rows are -1.
    gt_classes: int32 [B, N], 1 … num_classes-1; padding is -1.
    mask_size: number of cells along each side, or (h, w).
    All without the leading B for one image.

  Returns:
    float32 [B, h, w], mean 1 over each image's cells; all 1 without objects.

  Reference: the released code; the paper averages the loss over cells without weights.
  """
  cells = tf.cast(_cells_of_boxes(gt_boxes_norm, gt_classes, mask_size), tf.float32)
  num_cells = tf.reduce_sum(cells, axis=[-2, -1], keepdims=True)  # [B, N, 1, 1]
  inverse_areas = tf.reduce_max(tf.math.divide_no_nan(cells, num_cells), axis=-3)  # [B, h, w]
  height, width = cells.shape[-2:]
  weights = tf.maximum(inverse_areas, 1.0 / (height * width))  # [B, h, w]
  return weights / tf.reduce_mean(weights, axis=[-2, -1], keepdims=True)


def _cells_of_boxes(
  gt_boxes_norm: tf.Tensor, gt_classes: tf.Tensor, mask_size: int | tuple[int, int]
) -> tf.Tensor:
  """Which cells each box holds; bool [B, N, h, w], none for padding."""
  height, width = (mask_size, mask_size) if isinstance(mask_size, int) else mask_size
  ymin, xmin, ymax, xmax = tf.unstack(gt_boxes_norm, axis=-1)  # [B, N] each
  rows = _span(ymin, ymax, height)[..., :, tf.newaxis]  # [B, N, h, 1]
  columns = _span(xmin, xmax, width)[..., tf.newaxis, :]  # [B, N, 1, w]
  return rows & columns & (gt_classes > 0)[..., tf.newaxis, tf.newaxis]  # [B, N, h, w]


def _span(low: tf.Tensor, high: tf.Tensor, num_cells: int) -> tf.Tensor:
  """Which of the cells along a side lie between low and high; bool [B, N, num_cells]."""
  last_cell = num_cells - 1.0
  first = tf.clip_by_value(tf.floor(num_cells * low), 0.0, last_cell)  # [B, N]
  last = tf.minimum(tf.floor(num_cells * high + 0.99), last_cell)  # [B, N]
  last = tf.maximum(last, first)  # [B, N]
  cells = tf.range(num_cells, dtype=tf.float32)  # [cells]
  return (cells >= first[..., tf.newaxis]) & (cells <= last[..., tf.newaxis])
