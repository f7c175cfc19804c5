"""Means over seeds, paired differences and the intervals around them.

Arms are trained with the same seeds, so that a difference is taken seed by seed: what a seed brings
to both arms cancels. Two sources of chance are told apart: the interval over seeds says what other
trainings would give, the bootstrap over images what other test images would give.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from mtl_ssl_tf.comparison import outcomes as outcomes_lib

CONFIDENCE = 0.95
_MOST_SEEDS = 10_000


@dataclasses.dataclass(frozen=True)
class Summary:
  """Figures of one arm.

  Attributes:
    count: seeds.
    mean: over them.
    deviation: sample standard deviation, NaN for a single seed.
  """

  count: int
  mean: float
  deviation: float


@dataclasses.dataclass(frozen=True)
class Difference:
  """Figures of an arm minus those of the first arm, seed by seed.

  Attributes:
    count: seeds that both arms have.
    mean: of the differences.
    deviation: their sample standard deviation, NaN for a single seed.
    low: lower end of Student's t interval of the mean, NaN for a single seed.
    high: upper end.
  """

  count: int
  mean: float
  deviation: float
  low: float
  high: float

  @property
  def word(self) -> str:
    """`better` or `worse` where the interval leaves zero out, else `no difference shown`."""
    if self.low > 0.0:
      return "better"
    if self.high < 0.0:
      return "worse"
    return "no difference shown"


def summary(values: Sequence[float]) -> Summary:
  """Returns mean and standard deviation of at least one figure."""
  deviation = statistics.stdev(values) if len(values) > 1 else math.nan
  return Summary(len(values), statistics.fmean(values), deviation)


def paired_difference(
  first: Mapping[int, float], other: Mapping[int, float], confidence: float = CONFIDENCE
) -> Difference | None:
  """Returns the difference `other` - `first` over the seeds that both have; None without any.

  Args:
    first: figure by seed.
    other: figure by seed.
    confidence: of the interval, between 0 and 1.
  """
  differences = [other[seed] - first[seed] for seed in sorted(first.keys() & other.keys())]
  if not differences:
    return None
  found = summary(differences)
  half = _half_width(found.deviation, found.count, confidence)
  return Difference(found.count, found.mean, found.deviation, found.mean - half, found.mean + half)


def seeds_to_tell(
  deviation: float, difference: float, confidence: float = CONFIDENCE
) -> int | None:
  """Returns how many seeds make the interval narrow enough to tell a difference from none.

  Args:
    deviation: sample standard deviation of the paired differences.
    difference: to be told, above 0, in the unit of `deviation`.
    confidence: of the interval.

  Returns:
    The fewest seeds whose interval reaches less far than `difference` to either side, if further
    seeds scatter as these do; None where the deviation is not known or ten thousand do not do.
  """
  if math.isnan(deviation):
    return None
  for count in range(2, _MOST_SEEDS + 1):
    if _half_width(deviation, count, confidence) < difference:
      return count
  return None


def _half_width(deviation: float, count: int, confidence: float) -> float:
  if count < 2:
    return math.nan
  quantile = stats.t.ppf(0.5 + confidence / 2.0, count - 1)
  return float(quantile) * deviation / math.sqrt(count)


def bootstrap_difference(
  first: Mapping[int, outcomes_lib.Outcomes],
  other: Mapping[int, outcomes_lib.Outcomes],
  draws: int = 1000,
  confidence: float = CONFIDENCE,
  seed: int = 0,
) -> tuple[float, float] | None:
  """Returns the interval of the difference of mean mAPs under resampling of the test images.

  Each draw takes as many images as there are, with replacement, the same for both arms and all
  seeds, and computes every mAP of them.

  Args:
    first: outcomes by seed, of the same images in the same order.
    other: outcomes by seed.
    draws: how many.
    confidence: of the interval, between its percentiles.
    seed: of the draws.

  Returns:
    (low, high) of `other` - `first` in per cent; None without a seed that both have.
  """
  seeds = sorted(first.keys() & other.keys())
  if not seeds:
    return None
  num_images = len(first[seeds[0]].num_objects)
  weights = np.random.default_rng(seed).multinomial(
    num_images, np.full(num_images, 1.0 / num_images), size=draws
  )  # [draws, images]
  gaps = np.mean(
    [
      outcomes_lib.mean_average_precisions(other[key], weights)
      - outcomes_lib.mean_average_precisions(first[key], weights)
      for key in seeds
    ],
    axis=0,
  )  # [draws]
  tail = 50.0 * (1.0 - confidence)
  low, high = np.nanpercentile(100.0 * gaps, [tail, 100.0 - tail])
  return float(low), float(high)
