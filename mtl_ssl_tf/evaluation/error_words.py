"""Lines that say in words which kind of error costs most, and what helps against it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

# Below so many points of mean AP lost to a kind, nothing is advised.
MIN_POINTS = 1.0
_NUM_PAIRS = 3
# Kind of `error_analysis` to what would be gained, and by what.
_GAINS = {
  "classification": "right classes",
  "false_negative": "finding missed objects",
  "localisation": "exact boxes",
  "background": "no detections on background",
  "redundancy": "no duplicates",
}
_CAUSES = {
  "classification": "confused classes",
  "false_negative": "missed objects",
  "localisation": "misplaced boxes",
  "background": "detections on background",
  "redundancy": "duplicate detections",
}
_REMEDIES = {
  "classification": "start weights (--init), longer training, more images of these classes",
  "false_negative": (
    "anchors of the objects' sizes (task.anchors), a larger input (task.data.input_size), longer"
    " training"
  ),
  "localisation": (
    "anchors of the objects' shapes (task.anchors), a larger input (task.data.input_size), longer"
    " training"
  ),
  "background": (
    "annotations without gaps (mtl-ssl audit-labels), more training images, longer training"
  ),
  "redundancy": "a smaller task.detections.nms_iou",
}


def describe(
  mean_ap: float,
  costs: Mapping[str, float],
  confusion: np.ndarray,
  class_names: Sequence[str],
  score_threshold: float,
) -> list[str]:
  """Returns one line of all kinds of error, and one of the costliest.

  Args:
    mean_ap: a fraction.
    costs: mean AP that fixing a kind gains, a fraction, by kind of `error_analysis`.
    confusion: int [C, C], objects by true class (row) and detected class (column), background 0.
    class_names: class 1 first.
    score_threshold: of the detections that `confusion` counts.

  Returns:
    No line where mean AP or costs are not known (no objects), and the first line alone where the
    costliest kind costs less than `MIN_POINTS`.
  """
  if math.isnan(mean_ap) or any(math.isnan(cost) for cost in costs.values()):
    return []
  points = {kind: 100.0 * costs[kind] for kind in _GAINS}
  gains = ", ".join(f"{words} {points[kind]:.1f}" for kind, words in _GAINS.items())
  lines = [f"of {100.0 * (1.0 - mean_ap):.1f} points of mAP lost, fixed alone would gain: {gains}"]
  worst = max(points, key=points.get)
  if points[worst] < MIN_POINTS:
    return lines
  detail = ""
  pairs = confused_pairs(confusion, class_names)
  if worst == "classification" and pairs:
    named = ", ".join(
      f"{true} taken for {detected} {number} times" for true, detected, number in pairs[:_NUM_PAIRS]
    )
    detail = f" (at score {score_threshold:g} and more: {named})"
  lines.append(f"most are lost to {_CAUSES[worst]}{detail}; what helps: {_REMEDIES[worst]}")
  return lines


def confused_pairs(confusion: np.ndarray, class_names: Sequence[str]) -> list[tuple[str, str, int]]:
  """Returns (true class, detected class, objects) of all confusions, the most frequent first."""
  pairs = [
    (class_names[row - 1], class_names[column - 1], int(confusion[row, column]))
    for row, column in np.argwhere(confusion)
    if row and column and row != column
  ]
  return sorted(pairs, key=lambda pair: -pair[2])
