"""Exact area of unions of boxes inside windows, for any number of overlapping boxes.

The plane is cut into horizontal strips at every top and bottom edge, so that within one strip each
box is either absent or a plain interval of x. Going through the intervals from left to right, every
box keeps only the part beyond the furthest right edge seen so far. The parts kept are disjoint and
the gaps between them are disjoint too: both areas are sums of non-negative terms, nothing is
subtracted from a total, and what is zero comes out as exactly zero.

A grid cut at all edges both ways, contracted by two matrix products, gives the same areas. But
accelerators round the factors of a matrix product to TF32 or bfloat16 unless set otherwise, which
costs three digits, and with many classes the grid is the slower of the two.

Further letters: G groups of boxes, R = 2N+1 strips. The leading axes, written B,
may be any number of axes or none.
"""

import tensorflow as tf

_INF = float("inf")


def union_fractions(
  windows: tf.Tensor, boxes: tf.Tensor, group_ids: tf.Tensor, num_groups: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Shares of each window's area that each group of boxes covers, and that no box covers.

  Boxes of different groups may overlap, so the shares can add up to more than one.

  Args:
    windows: float32 [B, S, 4], in the frame of the boxes.
    boxes: float32 [B, N, 4]; a box without area covers nothing.
    group_ids: int32 [B, N], the group of each box in 0 … num_groups-1. A negative id takes the box
      out, whatever its coordinates.
    num_groups: int, G.

  Returns:
    float32 [B, S, G], the area of the union of each group's boxes inside the window, as a share of
      the window; 0 for a window without area.
    float32 [B, S], the share that no box covers; 0 for a window without area.
  """
  present = (group_ids >= 0) & tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)  # [B, N]
  ymin, xmin, ymax, xmax = tf.unstack(boxes[..., tf.newaxis, :, :], axis=-1)  # [B, 1, N] each
  top, bottom = _strips(boxes)  # [B, R, 1] each
  # Strip edges are copies of box edges, so exact comparisons are safe.
  active = present[..., tf.newaxis, :] & (ymin <= top) & (ymax >= bottom)  # [B, R, N]

  same_group = group_ids[..., :, tf.newaxis] == group_ids[..., tf.newaxis, :]  # [B, N, N]
  further_left = _further_left(boxes[..., 1])  # [B, N, N]
  group_reach = _reach(xmax, active, further_left & same_group)  # [B, R, N]
  reach = _reach(xmax, active, further_left)  # [B, R, N]
  last_end = tf.reduce_max(tf.where(active, xmax, -_INF), axis=-1, keepdims=True)  # [B, R, 1]

  wymin, wxmin, wymax, wxmax = tf.unstack(windows[..., tf.newaxis, tf.newaxis, :], axis=-1)
  heights = _overlaps(wymin, wymax, top, bottom)  # [B, S, R, 1]
  own_widths = _overlaps(wxmin, wxmax, tf.maximum(xmin, group_reach), xmax)  # [B, S, R, N]
  gap_widths = _overlaps(wxmin, wxmax, reach, xmin)  # [B, S, R, N]
  # Behind the last box of a strip, or from end to end of a strip without any.
  last_widths = _overlaps(wxmin, wxmax, last_end, tf.fill(tf.shape(last_end), _INF))

  active = active[..., tf.newaxis, :, :]  # [B, 1, R, N]
  own_areas = tf.reduce_sum(tf.where(active, heights * own_widths, 0.0), axis=-2)  # [B, S, N]
  gap_areas = tf.reduce_sum(tf.where(active, heights * gap_widths, 0.0), axis=-2)  # [B, S, N]
  last_area = tf.reduce_sum(heights * last_widths, axis=[-2, -1])  # [B, S]
  in_group = tf.one_hot(group_ids, num_groups)[..., tf.newaxis, :, :]  # [B, 1, N, G]
  covered = tf.reduce_sum(own_areas[..., tf.newaxis] * in_group, axis=-2)  # [B, S, G]
  uncovered = tf.reduce_sum(gap_areas, axis=-1) + last_area  # [B, S]

  areas = tf.reduce_prod(windows[..., 2:] - windows[..., :2], axis=-1)  # [B, S]
  covered = tf.math.divide_no_nan(covered, areas[..., tf.newaxis])  # [B, S, G]
  return covered, tf.math.divide_no_nan(uncovered, areas)


def _strips(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Tops and bottoms [B, R, 1] of the strips between all edges; the outer two have no end."""
  edges = tf.sort(tf.concat([boxes[..., 0], boxes[..., 2]], axis=-1), axis=-1)  # [B, 2N]
  end = tf.fill(tf.concat([tf.shape(edges)[:-1], [1]], axis=0), _INF)  # [B, 1]
  top = tf.concat([-end, edges], axis=-1)  # [B, R]
  bottom = tf.concat([edges, end], axis=-1)  # [B, R]
  return top[..., tf.newaxis], bottom[..., tf.newaxis]


def _further_left(xmin: tf.Tensor) -> tf.Tensor:
  """Whether box j comes before box i, at [.., i, j]; equal left edges go by row. [B, N, N]."""
  mine, other = xmin[..., :, tf.newaxis], xmin[..., tf.newaxis, :]  # [B, N, 1], [B, 1, N]
  rows = tf.range(tf.shape(xmin)[-1])  # [N]
  return (other < mine) | ((other == mine) & (rows < rows[:, tf.newaxis]))  # [B, N, N]


def _reach(xmax: tf.Tensor, active: tf.Tensor, comes_before: tf.Tensor) -> tf.Tensor:
  """Furthest right edge in each strip of the boxes that come before each box; [B, R, N]."""
  counted = active[..., tf.newaxis, :] & comes_before[..., tf.newaxis, :, :]  # [B, R, N, N]
  return tf.reduce_max(tf.where(counted, xmax[..., tf.newaxis, :], -_INF), axis=-1)  # [B, R, N]


def _overlaps(wmin: tf.Tensor, wmax: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
  """Lengths of the intervals [low, high] ([B, R, N]) inside window sides ([B, S, 1, 1])."""
  low, high = low[..., tf.newaxis, :, :], high[..., tf.newaxis, :, :]  # [B, 1, R, N]
  return tf.nn.relu(tf.minimum(wmax, high) - tf.maximum(wmin, low))  # [B, S, R, N]
