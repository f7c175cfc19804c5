"""pycocotools' matching and accumulation over whole arrays, equal to it and some ten times faster.

pycocotools walks through every image, class, size range and threshold in Python, which takes
minutes for 5,000 images with 100 detections each. Most pairs of image and class hold no object, and
there nothing can match; in the others all size ranges and thresholds are matched at once. The
overlaps, the thresholds and the size ranges are pycocotools' own.

Letters: D detections, N ground-truth objects, A size ranges, T IoU thresholds, R recall levels,
M limits on the detections of an image, C classes; d and n are those of one image and class.
"""

from typing import NamedTuple

import numpy as np
from pycocotools import cocoeval
from pycocotools import mask as coco_mask


class Rows(NamedTuple):
  """Objects or detections of all images, one row each.

  Attributes:
    images: int64 [n], place of the image in the order that decides between equal scores.
    classes: int64 [n], 0 ... C-1.
    boxes_xywh: float64 [n, 4], left, top, width and height in pixels of the file.
    areas: float64 [n], square pixels; they decide the size range.
  """

  images: np.ndarray
  classes: np.ndarray
  boxes_xywh: np.ndarray
  areas: np.ndarray

  def take(self, rows: np.ndarray) -> "Rows":
    """The given rows in the given order."""
    return Rows(*(values[rows] for values in self))


def accumulate(
  params: cocoeval.Params,
  num_classes: int,
  objects: Rows,
  is_crowd: np.ndarray,
  is_ignored: np.ndarray,
  detections: Rows,
  scores: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Interpolated precision and recall as `COCOeval.accumulate` has them.

  Args:
    params: thresholds, recall levels, size ranges and limits on detections.
    num_classes: C.
    objects: ground truth, N rows.
    is_crowd: bool [N], regions that any number of detections may match.
    is_ignored: bool [N], whether a match counts neither for nor against; crowds are.
    detections: D rows.
    scores: float64 [D].

  Returns:
    precision float64 [T, R, C, A, M] and recall float64 [T, C, A, M]; -1 for a class without
    objects of the size.
  """
  ranges = np.array(params.areaRng, np.float64)  # [A, 2]
  thresholds, levels = np.array(params.iouThrs), np.array(params.recThrs)
  limits = sorted(params.maxDets)

  order = np.lexsort((-scores, detections.images, detections.classes))  # [D]
  ranks = _ranks_in_group(_pair_keys(detections.take(order)))  # [D]
  detections, scores = detections.take(order), scores[order]
  order = np.lexsort((objects.images, objects.classes))  # [N]
  objects, is_crowd, is_ignored = objects.take(order), is_crowd[order], is_ignored[order]

  gt_ignored = is_ignored | _outside(objects.areas, ranges)  # [A, N]
  matched, ignored = _match(objects, is_crowd, gt_ignored, detections, thresholds)  # [D, A, T] each
  ignored |= ~matched & _outside(detections.areas, ranges).T[:, :, np.newaxis]

  A, T, C, M = len(ranges), len(thresholds), num_classes, len(limits)
  precision = -np.ones([T, len(levels), C, A, M])
  recall = -np.ones([T, C, A, M])
  class_ids = np.arange(C + 1)
  gt_ends = np.searchsorted(objects.classes, class_ids)  # [C + 1]
  ends = np.searchsorted(detections.classes, class_ids)  # [C + 1]
  for k in range(C):
    num_objects = np.sum(~gt_ignored[:, gt_ends[k] : gt_ends[k + 1]], axis=1)  # [A]
    rows = np.arange(ends[k], ends[k + 1])
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    for m, limit in enumerate(limits):
      counted = rows[ranks[rows] < limit]  # [d]
      hits, counts = matched[counted], ~ignored[counted]  # [d, A, T]
      for a in np.flatnonzero(num_objects):
        precision[:, :, k, a, m], recall[:, k, a, m] = _read_curves(
          (hits[:, a] & counts[:, a]).T, (~hits[:, a] & counts[:, a]).T, num_objects[a], levels
        )
  return precision, recall


def _match(
  objects: Rows,
  is_crowd: np.ndarray,
  gt_ignored: np.ndarray,
  detections: Rows,
  thresholds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Whether each detection matches an object, and whether that object is ignored: [D, A, T].

  Both sets are sorted by class and image, detections of a pair by descending score.
  """
  matched = np.zeros([len(detections.images), len(gt_ignored), len(thresholds)], bool)
  ignored = np.zeros_like(matched)
  keys, gt_keys = _pair_keys(detections), _pair_keys(objects)
  pairs, gt_starts = np.unique(gt_keys, return_index=True)
  gt_ends = np.append(gt_starts[1:], len(gt_keys))
  starts, ends = np.searchsorted(keys, pairs), np.searchsorted(keys, pairs, side="right")
  for pair in np.flatnonzero(ends > starts):
    rows, gt_rows = slice(starts[pair], ends[pair]), slice(gt_starts[pair], gt_ends[pair])
    iou = coco_mask.iou(
      detections.boxes_xywh[rows],
      objects.boxes_xywh[gt_rows],
      is_crowd[gt_rows].astype(np.uint8),
    )  # [d, n]
    _match_pair(
      iou, is_crowd[gt_rows], gt_ignored[:, gt_rows], thresholds, matched[rows], ignored[rows]
    )
  return matched, ignored


def _match_pair(
  iou: np.ndarray,
  is_crowd: np.ndarray,
  gt_ignored: np.ndarray,
  thresholds: np.ndarray,
  matched: np.ndarray,
  ignored: np.ndarray,
) -> None:
  """Matches the detections of one image and class, and notes it in the last two arguments.

  By descending score, each takes the object that it overlaps most among those still free, or, if
  none of these is left at the threshold, among the ignored ones. Of equal overlaps the last wins.

  Args:
    iou: float64 [d, n].
    is_crowd: bool [n].
    gt_ignored: bool [A, n].
    thresholds: float64 [T].
    matched: bool [d, A, T], all False.
    ignored: bool [d, A, T], all False.
  """
  n = iou.shape[1]
  taken = np.zeros([len(gt_ignored), len(thresholds), n], bool)  # [A, T, n]
  not_ignored = ~gt_ignored[:, np.newaxis]  # [A, 1, n]
  range_index, threshold_index = np.indices(taken.shape[:2])
  for d in np.flatnonzero(iou.max(axis=1) >= thresholds.min()):
    # The order by overlap as whole numbers, so that lifting the objects that count above the
    # ignored ones cannot round two overlaps together.
    place = np.empty(n, np.int64)
    place[np.argsort(iou[d], kind="stable")] = np.arange(1, n + 1)
    eligible = (iou[d] >= thresholds[:, np.newaxis]) & (~taken | is_crowd)  # [A, T, n]
    preference = eligible * (place + n * not_ignored)  # [A, T, n]
    best = preference.argmax(axis=-1)  # [A, T]
    found = preference.max(axis=-1) > 0  # [A, T]
    matched[d] = found
    ignored[d] = found & gt_ignored[range_index, best]
    taken[range_index, threshold_index, best] |= found


def _read_curves(
  hits: np.ndarray, misses: np.ndarray, num_objects: int, levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Precision [T, R] at the recall levels and the recall [T] reached; from bools [T, d]."""
  precision_at_levels, reached = np.zeros([len(hits), len(levels)]), np.zeros(len(hits))
  if not hits.shape[1]:
    return precision_at_levels, reached
  found, wrong = (np.cumsum(flags, axis=1).astype(np.float64) for flags in (hits, misses))  # [T, d]
  recall = found / num_objects
  # The smallest number keeps the first detections from dividing 0 by 0 where they are ignored.
  precision = found / (wrong + found + np.spacing(1))
  envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
  for t, (one_recall, one_envelope) in enumerate(zip(recall, envelope, strict=True)):
    at = np.searchsorted(one_recall, levels, side="left")
    inside = at < len(one_envelope)
    precision_at_levels[t, inside] = one_envelope[at[inside]]
  return precision_at_levels, recall[:, -1]


def _outside(areas: np.ndarray, ranges: np.ndarray) -> np.ndarray:
  """Whether each of [n] areas lies outside each size range: bool [A, n]."""
  return (areas < ranges[:, :1]) | (areas > ranges[:, 1:])


def _pair_keys(rows: Rows) -> np.ndarray:
  """One number for each pair of class and image, in the order of class, then image."""
  return rows.classes * 2**32 + rows.images


def _ranks_in_group(keys: np.ndarray) -> np.ndarray:
  """The place of each element among the equal ones next to it, from 0."""
  starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
  lengths = np.diff(np.append(starts, len(keys)))
  return np.arange(len(keys)) - np.repeat(starts, lengths)
