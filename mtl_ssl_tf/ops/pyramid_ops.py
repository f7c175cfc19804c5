"""Crops of a feature pyramid, each box from the level that suits its size.

A crop has s x s cells, and each is the mean of n x n bilinear samples, evenly spread over the box
(RoIAlign). A pixel p of the image lies at p / stride on a map, whose cell i is at i. Samples
between the last cell of an image's content and its border take that last cell.

All levels lie in one packed map, from which every box is cropped once:

  `native`: an image that holds the levels side by side, each with its last row and column repeated,
    which TensorFlow's kernel crops. The faster one outside compiled code.
  `matmul`: a list of all cells, from which four neighbours of each sample are gathered. It
    compiles. A product with interpolation matrices, as for a single map (`crop_ops`), would have to
    crop every box from every level.

Letters: B images, R boxes, L levels of h x w cells, c channels; N cells of all levels.

Reference: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, section 4.2; He
et al., "Mask R-CNN", ICCV 2017, section 3.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.ops import crop_ops

CANONICAL_LEVEL = 4
# A box of just the canonical size belongs to the canonical level, whatever is rounded.
_EPSILON = 1e-6


class PackedMaps(NamedTuple):
  """A pyramid's levels in one tensor, see above.

  Attributes:
    cells: [B, h', w', c] for `native`, [B, N, c] for `matmul`.
    maps: all levels of the pyramid, each [B, h, w, c], finest first; there may be coarser ones than
      in `cells`.
  """

  cells: tf.Tensor
  maps: tuple[tf.Tensor, ...]


def box_levels(
  boxes_px: tf.Tensor, min_level: int, max_level: int, canonical_size_px: float
) -> tf.Tensor:
  """Returns int32 [B, R], the level of each box [B, R, 4]; that of padding is `min_level`.

  A box of area `canonical_size_px` squared belongs to level 4, and a level more or less for each
  doubling or halving of its side, as far as there are levels.
  """
  heights, widths = boxes_px[..., 2] - boxes_px[..., 0], boxes_px[..., 3] - boxes_px[..., 1]
  areas = tf.maximum(heights, 0.0) * tf.maximum(widths, 0.0)  # [B, R]
  # At least the area of a millionth of a pixel, whose logarithm is finite.
  sides = tf.sqrt(tf.maximum(areas, 1e-12)) / canonical_size_px
  steps = tf.floor(tf.math.log(sides) / np.log(2.0) + _EPSILON)  # [B, R]
  return tf.cast(tf.clip_by_value(CANONICAL_LEVEL + steps, min_level, max_level), tf.int32)


def pack(
  maps: Sequence[tf.Tensor], image_size_px: tf.Tensor, min_level: int, num_levels: int, method: str
) -> PackedMaps:
  """Puts the maps of a pyramid together, once for all crops of an image.

  Args:
    maps: each [B, h, w, c], finest first; h and w known statically.
    image_size_px: float32 [B, 2], height and width of the image content.
    min_level: of the first map.
    num_levels: L, of the maps that boxes are cut from, the first ones.
    method: one of `crop_ops.METHODS`.

  Raises:
    ValueError: for another method.
  """
  crop_ops.check_method(method)
  maps, levels = tuple(maps), maps[:num_levels]
  if method == "matmul":
    flat = [tf.reshape(m, [-1, m.shape[1] * m.shape[2], m.shape[3]]) for m in levels]
    return PackedMaps(tf.concat(flat, axis=1), maps)
  first, *others = (
    _repeat_last(m, tf.math.ceil(image_size_px / 2.0 ** (min_level + i)) - 1.0)
    for i, m in enumerate(levels)
  )
  width = max(first.shape[2], sum(m.shape[2] for m in others))
  rows = [_fill(first, first.shape[1], width)]
  if others:
    height = others[0].shape[1]
    below = tf.concat([_fill(m, height, m.shape[2]) for m in others], axis=2)
    rows.append(_fill(below, height, width))
  return PackedMaps(tf.concat(rows, axis=1), maps)


def crop(
  packed: PackedMaps,
  boxes_px: tf.Tensor,
  levels: tf.Tensor,
  image_size_px: tf.Tensor,
  *,
  min_level: int,
  crop_size: int,
  num_samples: int,
) -> tf.Tensor:
  """Returns crops [B, R, s, s, c] of boxes.

  Args:
    packed: of `pack`, of the same images.
    boxes_px: float32 [B, R, 4]. A box less than a cell high or wide counts as a cell; padding
      yields a crop of any values.
    levels: int32 [B, R], of `box_levels`.
    image_size_px: float32 [B, 2], height and width of the image content.
    min_level: of the first map.
    crop_size: s.
    num_samples: n, samples a side of each cell of a crop.
  """
  rows = levels - min_level  # [B, R], of the levels in `packed`
  strides = tf.pow(2.0, tf.cast(levels, tf.float32))[..., tf.newaxis]  # [B, R, 1]
  last = tf.math.ceil(image_size_px[:, tf.newaxis] / strides) - 1.0  # [B, R, 2]
  first_side, sizes = _on_map(boxes_px, strides, last)  # [B, R, 2] each
  # Samples lie in the middle of equal parts of a box.
  num = crop_size * num_samples
  steps = sizes / num  # [B, R, 2]
  first = first_side + 0.5 * steps  # [B, R, 2]
  if packed.cells.shape.rank == 3:
    return _gather_crops(packed, rows, first, steps, last, crop_size, num_samples)
  corners = tf.gather(tf.constant(_native_corners(packed.maps), tf.float32), rows)  # [B, R, 2]
  return _native_crops(packed.cells, corners + first, steps, crop_size, num_samples)


def _on_map(
  boxes_px: tf.Tensor, strides: tf.Tensor, last: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the first sides and the sizes of boxes in cells, both [B, R, 2]."""
  first, end = tf.split(boxes_px, 2, axis=-1)  # [B, R, 2] each
  sizes = tf.minimum(tf.maximum((end - first) / strides, 1.0), last + 1.0)
  return tf.clip_by_value(first / strides, 0.0, last + 1.0 - sizes), sizes


def _repeat_last(maps: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
  """Returns a map [B, h + 1, w + 1, c]; the row after the last one of the content, and the column
  likewise, are the last ones again.
  """
  for axis in (1, 2):
    before, after = [[0, 0]] * 4, [[0, 0]] * 4
    before[axis], after[axis] = [1, 0], [0, 1]
    cells = tf.range(maps.shape[axis] + 1, dtype=tf.float32)  # [cells]
    is_next = cells == last[:, axis - 1, tf.newaxis] + 1.0  # [B, cells]
    shape = [-1, 1, 1, 1]
    shape[axis] = cells.shape[0]
    maps = tf.where(tf.reshape(is_next, shape), tf.pad(maps, before), tf.pad(maps, after))
  return maps


def _native_corners(maps: Sequence[tf.Tensor]) -> list[tuple[int, int]]:
  """Returns row and column of each level's first cell among the cells for `native`."""
  corners, column = [(0, 0)], 0
  for m in maps[1:]:
    corners.append((maps[0].shape[1] + 1, column))
    column += m.shape[2] + 1
  return corners


def _fill(maps: tf.Tensor, height: int, width: int) -> tf.Tensor:
  """Adds zeros at the end of rows and columns, up to a size."""
  missing = [[0, height - maps.shape[1]], [0, width - maps.shape[2]]]
  return maps if missing == [[0, 0], [0, 0]] else tf.pad(maps, [[0, 0], *missing, [0, 0]])


def _native_crops(
  cells: tf.Tensor, first: tf.Tensor, steps: tf.Tensor, crop_size: int, num_samples: int
) -> tf.Tensor:
  """Crops by TensorFlow's kernel, from places [B, R, 2] of first samples and steps between them."""
  num_images, num_boxes = tf.unstack(tf.shape(first)[:2])
  num = crop_size * num_samples
  # The kernel takes fractions of the map from its first to its last cell.
  map_last = tf.constant([max(side - 1, 1) for side in cells.shape[1:3]] * 2, tf.float32)  # [4]
  corners = tf.concat([first, first + (num - 1) * steps], axis=-1) / map_last  # [B, R, 4]
  # It gives float32 of any input, but takes no bfloat16.
  crops = tf.image.crop_and_resize(
    tf.cast(cells, tf.float32),
    tf.reshape(corners, [-1, 4]),
    tf.repeat(tf.range(num_images), num_boxes),
    (num, num),
  )  # [B R, s n, s n, c]
  if num_samples > 1:
    crops = tf.nn.avg_pool2d(crops, num_samples, num_samples, "VALID")  # [B R, s, s, c]
  shape = [num_images, first.shape[1] or num_boxes, crop_size, crop_size, cells.shape[-1]]
  return tf.cast(tf.reshape(crops, shape), cells.dtype)


def _gather_crops(
  packed: PackedMaps,
  levels: tf.Tensor,
  first: tf.Tensor,
  steps: tf.Tensor,
  last: tf.Tensor,
  crop_size: int,
  num_samples: int,
) -> tf.Tensor:
  """Crops by gathering cells, from places and steps as in `_native_crops`.

  The n x n samples of a cell of a crop have 4 n^2 cells of the map, or fewer: these are gathered.
  """
  dtype, depth = packed.cells.dtype, packed.cells.shape[-1]
  counts = [m.shape[1] * m.shape[2] for m in packed.maps]
  starts = tf.gather(tf.constant(np.cumsum([0, *counts[:-1]]), tf.int32), levels)  # [B, R]
  widths = tf.gather(tf.constant([m.shape[2] for m in packed.maps]), levels)  # [B, R]
  (rows, row_shares), (columns, column_shares) = (
    _neighbours(first[..., axis], steps[..., axis], last[..., axis], crop_size, num_samples)
    for axis in range(2)
  )  # [B, R, s, 2 n] each
  rows = starts[..., tf.newaxis, tf.newaxis] + rows * widths[..., tf.newaxis, tf.newaxis]
  num_boxes, num_cells = levels.shape[1], (2 * num_samples) ** 2
  # TensorFlow Lite has no slice of so many axes, which `tf.newaxis` would be.
  by_row = [-1, num_boxes, crop_size, 1, 2 * num_samples, 1]
  by_column = [-1, num_boxes, 1, crop_size, 1, 2 * num_samples]
  # [B, R, s, s, 2 n, 2 n]: crop row, crop column, cell above or below, cell to the left or right.
  indices = tf.reshape(rows, by_row) + tf.reshape(columns, by_column)
  shares = tf.reshape(row_shares, by_row) * tf.reshape(column_shares, by_column)
  flat = tf.reshape(indices, [-1, num_boxes * crop_size**2 * num_cells])
  cells = tf.gather(packed.cells, flat, batch_dims=1)  # [B, R s s 4 n n, c]
  cells = tf.reshape(cells, [-1, num_boxes, crop_size, crop_size, num_cells, depth])
  shares = tf.reshape(tf.cast(shares, dtype), [-1, num_boxes, crop_size, crop_size, num_cells, 1])
  return tf.reduce_sum(cells * shares, axis=4)  # [B, R, s, s, c]


def _neighbours(
  first: tf.Tensor, steps: tf.Tensor, last: tf.Tensor, crop_size: int, num_samples: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the cells on both sides of the samples along one axis, and their shares in the mean.

  Args:
    first, steps, last: float32 [B, R]: place of the first sample, distance to the next, last cell.
    crop_size, num_samples: s, n.

  Returns:
    int32 and float32 [B, R, s, 2 n].
  """
  num = crop_size * num_samples
  places = first[..., tf.newaxis] + steps[..., tf.newaxis] * tf.range(num, dtype=tf.float32)
  places = tf.minimum(places, last[..., tf.newaxis])  # [B, R, s n]
  below = tf.floor(places)
  above = tf.minimum(below + 1.0, last[..., tf.newaxis])
  share = places - below
  cells = tf.stack([below, above], axis=-1)  # [B, R, s n, 2]
  shares = tf.stack([1.0 - share, share], axis=-1) / num_samples
  shape = [-1, first.shape[1], crop_size, 2 * num_samples]
  return tf.cast(tf.reshape(cells, shape), tf.int32), tf.reshape(shares, shape)
