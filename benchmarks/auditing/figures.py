"""Figures of a ranking: how early it has the objects whose boxes were erased."""

from collections.abc import Sequence

import numpy as np

from benchmarks.auditing import arms
from mtl_ssl_tf.evaluation import voc_metrics

_HIT_IOU = 0.5
_FIRST = (50, 100, 200)
# COCO's bounds of small and medium objects, square pixels.
_SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
NAMES = ("AP", "recall at N", *(f"precision at {count}" for count in _FIRST), "AP by image")


def hits(ranking: arms.Ranking, erased: Sequence[np.ndarray]) -> np.ndarray:
  """The erased box that each detection of a ranking finds.

  A hit is an erased box of the class, not hit before, that overlaps by half and more; of several
  the one of the largest IoU.

  Args:
    ranking: of detections.
    erased: float64 [M, 5] for each image: ymin, xmin, ymax, xmax, class.

  Returns:
    int64 [R], number of the erased box among those of all images; -1 for none.
  """
  starts = np.cumsum([0, *map(len, erased)])
  is_hit = np.zeros(starts[-1], bool)
  found = np.full(len(ranking.values), -1, np.int64)
  for row, (image, box, class_id) in enumerate(
    zip(ranking.images, ranking.boxes, ranking.classes, strict=True)
  ):
    rows = erased[image]
    if not len(rows):
      continue
    iou = voc_metrics.pairwise_iou(box[np.newaxis], rows[:, :4])[0]
    taken = is_hit[starts[image] : starts[image + 1]]
    iou[(rows[:, 4] != class_id) | taken] = -1.0
    best = int(iou.argmax())
    if iou[best] >= _HIT_IOU:
      found[row] = starts[image] + best
      is_hit[found[row]] = True
  return found


def measure(ranking: arms.Ranking, erased: Sequence[np.ndarray]) -> dict[str, float]:
  """Returns the figures of a ranking by name, fractions; NaN where nothing was erased.

  Args:
    ranking: of detections.
    erased: as in `hits`.
  """
  found = hits(ranking, erased)
  is_hit = found >= 0
  total = sum(map(len, erased))
  boxes = np.concatenate([np.zeros([0, 5]), *erased])
  areas = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1)
  early = found[:total][is_hit[:total]]
  figures = {
    "AP": voc_metrics.average_precision(is_hit, total, "area"),
    "recall at N": len(early) / total if total else float("nan"),
  }
  # A list that is too short has not found more in the places that it lacks.
  figures |= {f"precision at {count}": float(is_hit[:count].sum() / count) for count in _FIRST}
  figures["AP by image"] = _by_image(ranking, erased)
  for name, (low, high) in _SIZES.items():
    of_size = (areas >= low) & (areas < high)
    recalled = of_size[early].sum()
    figures[f"recall at N, {name}"] = recalled / of_size.sum() if of_size.any() else float("nan")
  return {name: float(value) for name, value in figures.items()}


def _by_image(ranking: arms.Ranking, erased: Sequence[np.ndarray]) -> float:
  """AP of the images, ranked by their first detection, of which those with an erased box count."""
  _, first = np.unique(ranking.images, return_index=True)
  order = ranking.images[np.sort(first)]
  has_erased = np.array([len(rows) > 0 for rows in erased], bool)
  return voc_metrics.average_precision(has_erased[order], int(has_erased.sum()), "area")
