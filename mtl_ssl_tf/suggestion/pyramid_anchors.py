"""Anchors of a feature pyramid that cover the boxes of a data set.

Every level has the same anchors, measured in its own cells, so that sides double from level to
level. What is left to choose: how many cells the smallest anchor has, how many sizes there are to a
doubling, and the aspect ratios, which come from clusters of box shapes.
"""

import dataclasses
import itertools

import numpy as np

from mtl_ssl_tf.suggestion import anchors as anchors_lib

_CELLS = (3.0, 4.0, 6.0, 8.0)
# Sizes to a doubling, at equal factors.
_LEVEL_SCALES = ((1.0,), (1.0, 1.41), (1.0, 1.26, 1.59))
_MOST_RATIOS = 3
# Centres of boxes lie between those of cells: a quarter of a stride off, in each direction, in the
# mean.
_OFFSET = 0.25


@dataclasses.dataclass(frozen=True)
class PyramidAnchors:
  """Values of `task.anchors` with `roi_head.type: fpn`.

  Attributes:
    cells: side of the square anchor of scale 1, cells of the level.
    level_scales: relative to it, ascending.
    aspect_ratios: width over height, ascending.
    levels: finest and coarsest level; level l has a cell every 2^l pixels.
  """

  cells: float
  level_scales: tuple[float, ...]
  aspect_ratios: tuple[float, ...]
  levels: tuple[int, int]

  @property
  def per_cell(self) -> int:
    """Returns the number of anchors of a cell."""
    return len(self.level_scales) * len(self.aspect_ratios)

  @property
  def shapes(self) -> np.ndarray:
    """Returns float64 [A, 3], height, width and stride of the anchors of all levels, pixels."""
    strides = [2.0**level for level in range(self.levels[0], self.levels[1] + 1)]
    found = []
    for stride, scale, ratio in itertools.product(strides, self.level_scales, self.aspect_ratios):
      side, root = stride * self.cells * scale, ratio**0.5
      found.append((side / root, side * root, stride))
    return np.array(found)


def recall(boxes: np.ndarray, anchors: PyramidAnchors, iou: float) -> float:
  """Returns the share of boxes that some anchor overlaps by at least `iou`.

  Each anchor's centre is taken to be off the box's by a quarter of a stride in each direction.

  Args:
    boxes: float [N, 2], heights and widths in pixels of the resized image.
    anchors: to be judged.
    iou: above 0, at most 1.
  """
  return float((_ious(boxes, anchors.shapes).max(axis=1) >= iou).mean())


def fit(boxes: np.ndarray, classes: np.ndarray, levels: tuple[int, int]) -> PyramidAnchors:
  """Returns the anchors that suit the boxes: few, and covering as well as more would.

  Args:
    boxes: float [N, 2], heights and widths in pixels of the resized image.
    classes: int [N]; each class counts as much as any other.
    levels: finest and coarsest.
  """
  boxes = anchors_lib.balanced(np.maximum(boxes, 1.0), classes)
  centers, counts = anchors_lib.k_means(boxes)
  ratios = {
    tuple(sorted({round(ratio, 2) for ratio in found}))
    for found in (
      anchors_lib.centers_1d(centers[:, 1] / centers[:, 0], counts, number)
      for number in range(1, _MOST_RATIOS + 1)
    )
  }
  candidates = [
    PyramidAnchors(*values, levels) for values in itertools.product(_CELLS, _LEVEL_SCALES, ratios)
  ]
  candidates.sort(key=lambda anchors: (anchors.per_cell, anchors.cells, anchors.aspect_ratios))
  best, best_score = candidates[0], _score(boxes, candidates[0])
  for anchors in candidates[1:]:
    score = _score(boxes, anchors)
    if score > best_score + anchors_lib.AS_GOOD * (anchors.per_cell - best.per_cell):
      best, best_score = anchors, score
  return best


def _score(boxes: np.ndarray, anchors: PyramidAnchors) -> float:
  # What trains well is what many boxes overlap by 0.7, and all by 0.5.
  return recall(boxes, anchors, 0.5) + recall(boxes, anchors, 0.7)


def _ious(boxes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
  """Returns float64 [N, A], IoU of boxes [N, 2] and shapes [A, 3] that are `_OFFSET` apart."""
  sides, strides = shapes[:, :2], shapes[:, 2:]
  boxes = boxes[:, np.newaxis]  # [N, 1, 2]
  # Of two intervals whose middles are apart, which reach as far as the nearer ends.
  apart = 0.5 * (boxes + sides) - _OFFSET * strides  # [N, A, 2]
  shared = np.minimum(np.minimum(boxes, sides), np.maximum(apart, 0.0))
  intersection = shared.prod(axis=-1)  # [N, A]
  return intersection / (boxes.prod(axis=-1) + sides.prod(axis=-1) - intersection)
