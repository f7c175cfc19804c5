"""Detections and annotated boxes of one image: which belong together, and how far others overlap.

Where objects touch, a box that overlaps an annotated one is no proof that it is the same object,
nor that it is another one. So overlap is measured here, and what it means is left to `calibration`,
which sees how far detections of annotated objects overlap their neighbours in this data set.

Letters: D detections, N annotated boxes.
"""

import dataclasses

import numpy as np

from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import voc_metrics

MATCH_IOU = 0.5
# Below it, a detection and a box have nothing to do with each other; as in `error_analysis`.
NEAR_IOU = 0.1
# A detection of which so much lies in a crowd or a region to be ignored is part of it.
_INSIDE = 0.5
NUM_SURROUNDINGS = 4
# Share of the image's side from which on a box touches its border.
_BORDER = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
  """One image.

  Attributes:
    image: the annotated objects.
    boxes: float64 [D, 4] of the detections, ymin, xmin, ymax, xmax in pixels of the file; best
      score first, of equal ones by their coordinates.
    scores: float64 [D].
    classes: int64 [D], from 1.
    iou: float64 [D, N].
    own: int64 [D], the annotated box of its class that a detection matches; -1 without.
    is_ignored: bool [D], detections of which nothing can be said: they match a difficult object, or
      lie in a crowd of their class or a region to be ignored.
  """

  image: ground_truth.ImageTruth
  boxes: np.ndarray
  scores: np.ndarray
  classes: np.ndarray
  iou: np.ndarray
  own: np.ndarray
  is_ignored: np.ndarray

  @property
  def same_class(self) -> np.ndarray:
    """bool [D, N]."""
    return self.classes[:, np.newaxis] == self.image.classes

  @property
  def is_matched(self) -> np.ndarray:
    """bool [D]."""
    return self.own >= 0

  def surroundings(self, own: np.ndarray | None = None) -> np.ndarray:
    """Overlaps of detections with what is not their own object, and the image's border.

    Args:
      own: int64 [D], the annotated box of each detection, -1 without; None is `self.own`.

    Returns:
      float64 [D, 4]: the largest IoU with another annotated box of its class or a better detection
      of it, the largest share of its area that lies in one of these, the largest IoU with an
      annotated box of another class, and 1 where it touches the border of the image, as many
      annotate no objects that are cut off.
    """
    own = self.own if own is None else own
    num_detections = len(self.scores)
    real = ~self.image.is_crowd
    is_own = np.arange(len(real)) == own[:, np.newaxis]  # [D, N]
    given = np.where(self.same_class & real & ~is_own, self.iou, 0.0)  # [D, N]
    others = np.where(~self.same_class & real, self.iou, 0.0)  # [D, N]
    between = voc_metrics.pairwise_iou(self.boxes, self.boxes)  # [D, D]
    better = np.tri(num_detections, k=-1, dtype=bool)  # Column before row: the better score.
    alike = self.classes[:, np.newaxis] == self.classes
    between = np.where(better & alike, between, 0.0)  # [D, D]
    both = np.concatenate([given, between], axis=1)  # [D, N + D]
    areas = _areas(self.boxes)
    other_areas = np.concatenate([_areas(self.image.boxes.corners), areas])
    shares = _covered(both, areas, other_areas)
    at_border = _at_border(self.boxes, self.image.size)
    return np.stack([_largest(both), _largest(shares), _largest(others), at_border], axis=1)


def pair(
  image: ground_truth.ImageTruth,
  found: detection_files.Detections,
  regions: np.ndarray | None = None,
) -> Places:
  """Pairs the detections of an image with its annotated boxes, each with one at most.

  Of all pairs of a class with an IoU of 0.5 and more, those of the largest product of score and IoU
  come first: by score alone, a detection of an object without a box would take that of an object
  that it touches.

  Args:
    image: the annotations.
    found: the detections.
    regions: float64 [M, 4], ymin, xmin, ymax, xmax of places where nothing can be said; None has
      none.
  """
  corners = found.boxes.corners
  order = np.lexsort((*corners.T[::-1], found.classes, -found.scores))
  boxes, scores, classes = corners[order], found.scores[order], found.classes[order]
  iou = voc_metrics.pairwise_iou(boxes, image.boxes.corners)  # [D, N]
  same_class = classes[:, np.newaxis] == image.classes  # [D, N]
  allowed = same_class & ~image.is_crowd & (iou >= MATCH_IOU)
  own = assign(np.where(allowed, scores[:, np.newaxis] * iou, 0.0))
  inside = _covered(iou, _areas(boxes), _areas(image.boxes.corners))
  is_inside = (same_class & image.is_crowd & (inside >= _INSIDE)).any(axis=1)
  if regions is not None:
    inside = _covered(voc_metrics.pairwise_iou(boxes, regions), _areas(boxes), _areas(regions))
    is_inside |= (inside >= _INSIDE).any(axis=1)
  on_difficult = np.append(image.difficult, False)[own]  # The last one is that of -1.
  return Places(image, boxes, scores, classes, iou, own, on_difficult | (is_inside & (own < 0)))


def assign(weights: np.ndarray) -> np.ndarray:
  """Pairs rows with columns, the largest weight first, each once at most.

  Args:
    weights: float [D, N]; pairs of weight 0 are none.

  Returns:
    int64 [D], the column of each row; -1 without.
  """
  chosen = np.full(len(weights), -1, np.int64)
  rows, columns = np.nonzero(weights > 0.0)
  order = np.argsort(-weights[rows, columns], kind="stable")
  is_taken = np.zeros(weights.shape[1], bool)
  for row, column in zip(rows[order], columns[order], strict=True):
    if chosen[row] < 0 and not is_taken[column]:
      chosen[row] = column
      is_taken[column] = True
  return chosen


def _areas(boxes: np.ndarray) -> np.ndarray:
  return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)


def _covered(iou: np.ndarray, areas: np.ndarray, other_areas: np.ndarray) -> np.ndarray:
  """Share of each box's area that lies in each other one, float64 [D, M], from their IoU."""
  shared = iou / (1.0 + iou) * (areas[:, np.newaxis] + other_areas)
  wide = np.broadcast_to(areas[:, np.newaxis], shared.shape)
  return np.divide(shared, wide, out=np.zeros(shared.shape), where=wide > 0.0)


def _at_border(boxes: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
  """1 for boxes that reach the border, float64 [D]; 0 where the size is not known."""
  if size is None:
    return np.zeros(len(boxes))
  limits = np.array(size, np.float64)
  reach = _BORDER * limits
  touches = (boxes[:, :2] <= reach) | (boxes[:, 2:] >= limits - reach)
  return touches.any(axis=1).astype(np.float64)


def _largest(values: np.ndarray) -> np.ndarray:
  return values.max(axis=1, initial=0.0)
