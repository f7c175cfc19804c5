"""Whether a score is the share of detections that are right: reliability by score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Bin(NamedTuple):
  """Detections of a range of scores.

  Attributes:
    low: smallest score.
    high: largest score, which belongs to the next bin unless it is 1.
    count: detections.
    mean_score: of them; NaN without any.
    share_right: share of them that are matches; NaN without any.
  """

  low: float
  high: float
  count: int
  mean_score: float
  share_right: float


def reliability(scores: np.ndarray, hits: np.ndarray, num_bins: int = 10) -> list[Bin]:
  """Returns bins of equal width from 0 to 1.

  Args:
    scores: float [D] of 0 to 1.
    hits: bool [D], whether a detection is a match.
    num_bins: how many.
  """
  edges = np.linspace(0.0, 1.0, num_bins + 1)
  places = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, num_bins - 1)  # [D]
  counts = np.bincount(places, minlength=num_bins)
  with np.errstate(invalid="ignore"):
    mean_scores = np.bincount(places, scores, num_bins) / counts
    shares = np.bincount(places, hits, num_bins) / counts
  columns = (edges[:-1], edges[1:], counts, mean_scores, shares)
  return [Bin(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def expected_error(bins: Sequence[Bin], min_score: float = 0.0) -> float:
  """Returns the expected calibration error: |mean score - share of matches|, by count of a bin.

  Args:
    bins: of all detections.
    min_score: bins that begin below it are left out.

  Returns:
    A fraction; NaN without detections.

  Reference: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
  """
  counted = [one for one in bins if one.count and one.low >= min_score - 1e-9]
  total = sum(one.count for one in counted)
  if not total:
    return float("nan")
  return sum(one.count * abs(one.mean_score - one.share_right) for one in counted) / total
