"""Labels and weights of the foreground task: a coarse mask of the image, 1 where objects are.

Further letters: h, w cells of the mask. The mask spans the image content,
whatever its shape: cell (i, j) covers rows i/h … (i+1)/h and columns j/w … (j+1)/w of it.
"""

import tensorflow as tf

from mtl_ssl_tf.configs import auxiliary as auxiliary_config
from mtl_ssl_tf.configs import fields


def foreground_labels(
  gt_boxes_norm: tf.Tensor, gt_classes: tf.Tensor, mask_size: int | tuple[int, int]
) -> tf.Tensor:
  """Mask with 1 in the cells of the objects' boxes, elsewhere 0.

  A box holds the rows from floor(h·ymin) to floor(h·ymax + 0.99), both included and at most h-1,
  and likewise the columns: all cells that it touches, and at the bottom and right one more. So even
  a box without height or width holds some cell.

  Args:
    gt_boxes_norm: float32 [B, N, 4], fractions of the image content; padding rows are -1.
    gt_classes: int32 [B, N], 1 … num_classes-1; rows of 0 or less are no objects.
    mask_size: number of cells along each side, or (h, w).
    All without the leading B for one image.

  Returns:
    float32 [B, h, w].

  Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, foreground task.
  The cells of a box follow the released code; the paper gives no rule.
  """
  cells = _cells_of_boxes(gt_boxes_norm, gt_classes > 0, mask_size)  # [B, N, h, w]
  return tf.cast(tf.reduce_any(cells, axis=-3), tf.float32)  # [B, h, w]


def foreground_weights(
  gt_boxes_norm: tf.Tensor,
  gt_classes: tf.Tensor,
  mask_size: int | tuple[int, int],
  weighting: str,
) -> tf.Tensor:
  """Loss weights of the mask's cells, 0 where only regions to be ignored are.

  `uniform` gives every other cell the same weight. By `inverse_area` each object counts about as
  much as the image: a cell weighs 1 / (number of cells of the smallest box that holds it), a cell
  of the background 1 / (h·w). Either way, the weights of an image are then divided by their mean,
  so that its loss is a mean over the cells that count and regions to be ignored make it no smaller.

  Args:
    gt_boxes_norm: float32 [B, N, 4], fractions of the image content; padding rows are -1.
    gt_classes: int32 [B, N], 1 … num_classes-1, or 0 for a region to be ignored; padding is -1.
    mask_size: number of cells along each side, or (h, w).
    weighting: `uniform` or `inverse_area`.
    All without the leading B for one image.

  Returns:
    float32 [B, h, w], mean 1 over each image's cells, all 1 without boxes; all 0 if regions to be
    ignored leave no cell.

  Raises:
    ValueError: `weighting` is neither of the two.

  Reference: the paper averages the loss over cells without weights; the released code weights them
  by inverse area. Neither knows regions to be ignored.
  """
  fields.check_value(auxiliary_config.Foreground, "weighting", weighting)
  is_object, is_region = gt_classes > 0, tf.equal(gt_classes, 0)  # [B, N] each
  cells = _cells_of_boxes(gt_boxes_norm, is_object, mask_size)  # [B, N, h, w]
  region_cells = _cells_of_boxes(gt_boxes_norm, is_region, mask_size)  # [B, N, h, w]
  counted = tf.reduce_any(cells, axis=-3) | ~tf.reduce_any(region_cells, axis=-3)  # [B, h, w]
  height, width = cells.shape[-2:]
  if weighting == "uniform":
    counted = tf.cast(counted, tf.float32)
    # By their number, not by a mean, which compiled code may round: without regions, exactly 1.
    num_counted = tf.reduce_sum(counted, axis=[-2, -1], keepdims=True)  # [B, 1, 1]
    return tf.math.divide_no_nan(counted * float(height * width), num_counted)
  cells = tf.cast(cells, tf.float32)
  num_cells = tf.reduce_sum(cells, axis=[-2, -1], keepdims=True)  # [B, N, 1, 1]
  inverse_areas = tf.reduce_max(tf.math.divide_no_nan(cells, num_cells), axis=-3)  # [B, h, w]
  weights = tf.maximum(inverse_areas, 1.0 / (height * width))  # [B, h, w]
  weights = tf.where(counted, weights, 0.0)
  mean = tf.reduce_mean(weights, axis=[-2, -1], keepdims=True)  # [B, 1, 1]
  return tf.math.divide_no_nan(weights, mean)


def without_regions(
  weights: tf.Tensor, mask: tf.Tensor, regions_norm: tf.Tensor, is_region: tf.Tensor
) -> tf.Tensor:
  """Weights that are 0 in the cells of some regions as well, where these are not foreground.

  The weights of an image are then as large together as they were, see `foreground_weights`.

  Args:
    weights: float32 [B, h, w], of `foreground_weights`.
    mask: float32 [B, h, w], of `foreground_labels`.
    regions_norm: float32 [B, K, 4], fractions of the image content.
    is_region: bool [B, K]; other rows do not count.

  Returns:
    float32 [B, h, w].
  """
  size = (mask.shape[-2], mask.shape[-1])
  inside = tf.reduce_any(_cells_of_boxes(regions_norm, is_region, size), axis=-3)  # [B, h, w]
  kept = tf.where(inside & (mask < 0.5), 0.0, weights)
  sums = [tf.reduce_sum(of, axis=[-2, -1], keepdims=True) for of in (weights, kept)]  # [B, 1, 1]
  return tf.math.divide_no_nan(kept * sums[0], sums[1])


def _cells_of_boxes(
  gt_boxes_norm: tf.Tensor, counted: tf.Tensor, mask_size: int | tuple[int, int]
) -> tf.Tensor:
  """Returns the cells of each box, bool [B, N, h, w]; none for boxes not `counted`, bool [B, N]."""
  height, width = (mask_size, mask_size) if isinstance(mask_size, int) else mask_size
  ymin, xmin, ymax, xmax = tf.unstack(gt_boxes_norm, axis=-1)  # [B, N] each
  rows = _span(ymin, ymax, height)[..., :, tf.newaxis]  # [B, N, h, 1]
  columns = _span(xmin, xmax, width)[..., tf.newaxis, :]  # [B, N, 1, w]
  return rows & columns & counted[..., tf.newaxis, tf.newaxis]  # [B, N, h, w]


def _span(low: tf.Tensor, high: tf.Tensor, num_cells: int) -> tf.Tensor:
  """Returns whether each cell along a side lies between low and high; bool [B, N, num_cells]."""
  last_cell = num_cells - 1.0
  first = tf.clip_by_value(tf.floor(num_cells * low), 0.0, last_cell)  # [B, N]
  last = tf.minimum(tf.floor(num_cells * high + 0.99), last_cell)  # [B, N]
  last = tf.maximum(last, first)  # [B, N]
  cells = tf.range(num_cells, dtype=tf.float32)  # [cells]
  return (cells >= first[..., tf.newaxis]) & (cells <= last[..., tf.newaxis])
