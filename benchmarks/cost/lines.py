"""Whether what was measured grows in a straight line, and where it no longer does."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TOLERANCE = 0.2
_FEWEST_POINTS = 3


class Line(NamedTuple):
  """A straight line through the lower half of some points.

  Attributes:
    fixed: value at 0.
    slope: of one more.
    leaves_at: the first place from which on the points are off the line, None if they stay.
    ratio: there, measured over line.
  """

  fixed: float
  slope: float
  leaves_at: float | None
  ratio: float | None


def fit(
  places: Sequence[float], values: Sequence[float], tolerance: float = TOLERANCE
) -> Line | None:
  """Fits a line to the lower half of the points and follows it upwards.

  Args:
    places: ascending.
    values: at each.
    tolerance: share of the line's value that a point may be off.

  Returns:
    The line, by least squares through the first half, rounded up and at least two; None for fewer
    than three points.
  """
  if len(places) < _FEWEST_POINTS:
    return None
  places, values = np.asarray(places, np.float64), np.asarray(values, np.float64)
  lower = (len(places) + 1) // 2
  slope, fixed = np.polyfit(places[:lower], values[:lower], 1)
  expected = fixed + slope * places
  # A line that falls below 0 is left for certain.
  is_off = np.abs(values - expected) > tolerance * expected
  stays = ~is_off[::-1]
  # All points from here to the end are off; one between them alone is an accident of measuring.
  first = len(places) - int(np.argmax(stays)) if stays.any() else 0
  if first == len(places):
    return Line(float(fixed), float(slope), None, None)
  ratio = float(values[first] / expected[first]) if expected[first] > 0.0 else float("inf")
  return Line(float(fixed), float(slope), float(places[first]), ratio)
