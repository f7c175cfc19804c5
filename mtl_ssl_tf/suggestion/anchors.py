"""Anchors that cover the boxes of a data set: k-means by IoU, then the grid that comes nearest.

A detector has all scales of `task.anchors` in all aspect ratios. Clusters of box shapes say which
scales and ratios there are; the smallest such grid that covers as well as any is taken.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.data.inspection import anchor_shapes

_CLUSTERS = 9
_ROUNDS = 100
_MOST_SCALES, _MOST_RATIOS = 6, 3
# A grid is as good as a larger one if each further anchor covers fewer boxes than this share.
AS_GOOD = 0.01
# Boxes of each class that anchors are fitted to, so that a frequent class is not all that counts.
_BOXES_OF_CLASS = 300


@dataclasses.dataclass(frozen=True)
class Anchors:
  """Values of `task.anchors`.

  Attributes:
    base_size_px: side of the square anchor of scale 1.
    scales: relative to it, ascending.
    aspect_ratios: width over height, ascending.
  """

  base_size_px: float
  scales: tuple[float, ...]
  aspect_ratios: tuple[float, ...]

  @property
  def shapes(self) -> np.ndarray:
    """Returns float64 [A, 2], heights and widths."""
    return anchor_shapes.grid_shapes(self.base_size_px, self.scales, self.aspect_ratios)


def recall(boxes: np.ndarray, anchors: Anchors, iou: float) -> float:
  """Returns the share of boxes that some anchor around their centre overlaps by at least `iou`.

  Args:
    boxes: float [N, 2], heights and widths in pixels of the resized image.
    anchors: to be judged. Those of a real grid lie up to half a stride off, so that this is the
      most that they can cover.
    iou: above 0, at most 1.
  """
  return float((anchor_shapes.shape_ious(boxes, anchors.shapes).max(axis=1) >= iou).mean())


def k_means(boxes: np.ndarray, number: int = _CLUSTERS) -> tuple[np.ndarray, np.ndarray]:
  """Returns shapes [K, 2] of clusters by IoU distance, and the boxes of each [K].

  Starts from boxes at equal steps of area, so that the same boxes always give the same clusters.

  Args:
    boxes: float [N, 2].
    number: of clusters at most; fewer where there are not so many different boxes.
  """
  different = np.unique(boxes, axis=0)
  different = different[np.argsort(different.prod(axis=1), kind="stable")]
  number = min(number, len(different))
  places = np.linspace(0, len(different) - 1, number).round().astype(int)
  centers = different[places]
  nearest = np.full(len(boxes), -1)
  for _ in range(_ROUNDS):
    before, nearest = nearest, anchor_shapes.shape_ious(boxes, centers).argmax(axis=1)  # [N]
    if np.array_equal(before, nearest):
      break
    centers = np.array(
      [
        np.median(boxes[nearest == k], axis=0) if (nearest == k).any() else centers[k]
        for k in range(number)
      ]
    )
  counts = np.bincount(nearest, minlength=number)  # [K]
  return centers[counts > 0], counts[counts > 0]


def balanced(boxes: np.ndarray, classes: np.ndarray) -> np.ndarray:
  """Returns float [M, 2], as many boxes of each class, at equal steps of its areas.

  Args:
    boxes: float [N, 2].
    classes: int [N].
  """
  parts = []
  for number in np.unique(classes):
    of_class = boxes[classes == number]
    of_class = of_class[np.argsort(of_class.prod(axis=1), kind="stable")]
    places = np.linspace(0, len(of_class) - 1, _BOXES_OF_CLASS).round().astype(int)
    parts.append(of_class[places])
  return np.concatenate(parts)


def fit(boxes: np.ndarray, classes: np.ndarray) -> Anchors:
  """Returns the anchors that suit the boxes: few, and covering as well as more would.

  Args:
    boxes: float [N, 2], heights and widths in pixels of the resized image.
    classes: int [N]; each class counts as much as any other.
  """
  boxes = balanced(np.maximum(boxes, 1.0), classes)
  centers, counts = k_means(boxes)
  sides, ratios = np.sqrt(centers.prod(axis=1)), centers[:, 1] / centers[:, 0]  # [K] each
  best, best_score = None, -1.0
  grids = [
    (centers_1d(sides, counts, s), centers_1d(ratios, counts, r))
    for s, r in itertools.product(range(1, _MOST_SCALES + 1), range(1, _MOST_RATIOS + 1))
  ]
  for grid in sorted(set(grids), key=lambda grid: (len(grid[0]) * len(grid[1]), grid)):
    anchors = _rounded(*grid)
    # What trains well is what many boxes overlap by 0.7, and all by 0.5.
    score = recall(boxes, anchors, 0.5) + recall(boxes, anchors, 0.7)
    if score > best_score + AS_GOOD * (len(grid[0]) * len(grid[1]) - _number(best)):
      best, best_score = anchors, score
  return best


def _number(anchors: Anchors | None) -> int:
  return 0 if anchors is None else len(anchors.scales) * len(anchors.aspect_ratios)


def centers_1d(values: np.ndarray, counts: np.ndarray, number: int) -> tuple[float, ...]:
  """Returns `number` centres of weighted values in their logarithm, ascending; at most all."""
  order = np.argsort(values, kind="stable")
  logs, weights = np.log(values[order]), counts[order].astype(float)
  number = min(number, len(np.unique(values)))
  best, best_cost = None, np.inf
  # There are few values, so that every way to cut them into runs can be tried.
  for cuts in itertools.combinations(range(1, len(logs)), number - 1):
    runs = list(itertools.pairwise((0, *cuts, len(logs))))
    means = [np.average(logs[a:b], weights=weights[a:b]) for a, b in runs]
    cost = sum(
      (weights[a:b] * (logs[a:b] - mean) ** 2).sum()
      for (a, b), mean in zip(runs, means, strict=True)
    )
    if cost < best_cost:
      best, best_cost = means, cost
  return tuple(float(np.exp(mean)) for mean in best)


def _rounded(sides: Sequence[float], ratios: Sequence[float]) -> Anchors:
  """Returns anchors with numbers that people would write: sides in whole pixels."""
  base = float(max(1, round(max(sides))))
  scales = sorted({round(max(1.0, side) / base, 3) for side in sides})
  return Anchors(base, tuple(scales), tuple(sorted({round(ratio, 2) for ratio in ratios})))
