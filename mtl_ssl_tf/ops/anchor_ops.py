"""Anchors on a feature map, as the released detectors place them.

Centres sit at multiples of the stride starting from zero, not at half a stride, so a map of
ceil(size / stride) cells has its last centres at the right and bottom of the image.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def grid_anchors(
  feature_size: tuple[int, int],
  stride: float,
  base_size: float,
  scales: Sequence[float],
  aspect_ratios: Sequence[float],
  whole_px: bool = False,
) -> np.ndarray:
  """Anchors of every cell of a feature map.

  An anchor of scale s and aspect ratio r (width over height) is s·base/√r high and s·base·√r
  wide, and may stick out of the image.

  Args:
    feature_size: (rows, columns) of the feature map.
    stride: pixels from one cell to the next.
    base_size: pixels, side of the square anchor of scale 1.
    scales: sizes relative to `base_size`.
    aspect_ratios: widths over heights.
    whole_px: round half heights and widths to whole pixels.

  Returns:
    float32 [A, 4], pixels, A = rows · columns · ratios · scales: cells row by row, in a cell
    all scales of the first ratio, then of the next.
  """
  roots, sizes = np.meshgrid(
    np.sqrt(np.asarray(aspect_ratios, np.float64)),
    base_size * np.asarray(scales, np.float64),
    indexing="ij",
  )  # [ratios, scales] each
  half_sizes = 0.5 * np.stack([sizes / roots, sizes * roots], axis=-1).reshape(-1, 2)
  half_sizes = np.round(half_sizes) if whole_px else half_sizes
  cells = np.stack(np.indices(feature_size), axis=-1).reshape(-1, 1, 2)  # [cells, 1, 2]
  centers = float(stride) * cells
  anchors = np.concatenate([centers - half_sizes, centers + half_sizes], axis=-1)
  return anchors.reshape(-1, 4).astype(np.float32)  # [A, 4]


def inside_image(anchors: tf.Tensor, image_size_px: tf.Tensor) -> tf.Tensor:
  """Says which anchors cross no border of the image.

  Args:
    anchors: float32 [A, 4], pixels.
    image_size_px: float32 [B, 2], height and width of the image content.

  Returns:
    bool [B, A].
  """
  fits_top_left = tf.reduce_all(anchors[:, :2] >= 0.0, axis=-1)  # [A]
  fits_bottom_right = tf.reduce_all(
    anchors[:, 2:] <= image_size_px[:, tf.newaxis, :], axis=-1
  )  # [B, A]
  return fits_top_left & fits_bottom_right


def on_content(
  feature_size: tuple[int, int],
  image_size_px: tf.Tensor,
  stride: int,
  anchors_per_cell: int,
) -> tf.Tensor:
  """Says which anchors belong to a cell that the image would have without its padding.

  The padded input may be larger than the image content; only the first ceil(size / stride) rows and
  columns of its feature map exist for the image alone.

  Args:
    feature_size: (rows, columns) of the padded input's feature map.
    image_size_px: float32 [B, 2], height and width of the image content.
    stride: pixels from one cell to the next.
    anchors_per_cell: number of ratios times number of scales.

  Returns:
    bool [B, A], anchors in the order of `grid_anchors`.
  """
  content_size = tf.math.ceil(image_size_px / stride)  # [B, 2]
  cells = np.stack(np.indices(feature_size), axis=-1).reshape(-1, 2)  # [cells, 2]
  exists = tf.reduce_all(
    tf.constant(cells, tf.float32) < content_size[:, tf.newaxis, :], axis=-1
  )  # [B, cells]
  return tf.repeat(exists, anchors_per_cell, axis=1)  # [B, A]
