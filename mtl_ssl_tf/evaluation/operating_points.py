"""The score from which on a class is detected best, by F1, read off its precision-recall curve."""

from typing import NamedTuple

import numpy as np

_DIGITS = 4


class OperatingPoint(NamedTuple):
  """Detections of a class from a score on.

  Attributes:
    threshold: the smallest score.
    precision: share of them that are matches.
    recall: share of the objects that they match.
    f1: the harmonic mean of both.
  """

  threshold: float
  precision: float
  recall: float
  f1: float


def best_f1(points: np.ndarray) -> OperatingPoint | None:
  """Returns the point of the highest F1; of equal ones the one of the highest score.

  The threshold lies midway between the last score that is kept and the next one: another processor
  may compute a score that differs in its last digit.

  Args:
    points: float [R, 3]: recall, precision and score, best score first, see `VOCEvaluator.curves`.

  Returns:
    None for a class without objects, or of which none was found.
  """
  if not len(points) or np.isnan(points[0, 0]) or not points[:, 1].any():
    return None
  recall, precision, scores = points.T
  total = np.maximum(recall + precision, np.finfo(np.float64).tiny)
  f1 = 2.0 * recall * precision / total  # [R]
  # A threshold keeps all detections of a score, or none.
  is_last = np.append(scores[1:] < scores[:-1], True)
  best = int(np.where(is_last, f1, -1.0).argmax())
  below = scores[best + 1] if best + 1 < len(scores) else 0.0
  return OperatingPoint(
    _between(float(below), float(scores[best])), precision[best], recall[best], f1[best]
  )


def _between(below: float, kept: float) -> float:
  """Returns a number above one score and at most the other, of few digits where there is one."""
  middle = 0.5 * (below + kept)
  rounded = round(middle, _DIGITS)
  return rounded if below < rounded < kept else middle if below < middle else kept
