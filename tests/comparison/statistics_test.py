"""Means, paired differences and their intervals, against SciPy and against drawn samples."""

import math

import numpy as np
import pytest
from scipy import stats

from mtl_ssl_tf.comparison import outcomes, statistics


def test_summary():
  found = statistics.summary([1.0, 2.0, 6.0])
  assert found.count == 3
  assert found.mean == pytest.approx(3.0)
  assert found.deviation == pytest.approx(7.0**0.5)
  assert math.isnan(statistics.summary([4.0]).deviation)


def test_a_paired_difference_is_that_of_a_paired_t_test():
  first = {0: 60.0, 1: 52.0, 2: 58.0, 7: 55.0}
  other = {2: 61.0, 0: 64.0, 1: 57.0, 9: 99.0}
  found = statistics.paired_difference(first, other)
  expected = stats.ttest_rel([64.0, 57.0, 61.0], [60.0, 52.0, 58.0]).confidence_interval(0.95)
  assert found.count == 3
  assert found.mean == pytest.approx(4.0)
  assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
  assert found.word == "better"
  assert statistics.paired_difference(other, first).word == "worse"


def test_an_interval_around_zero_shows_nothing():
  found = statistics.paired_difference({0: 1.0, 1: 2.0}, {0: 2.0, 1: 2.5})
  assert found.low < 0.0 < found.high
  assert found.word == "no difference shown"


def test_one_seed_has_no_interval_and_no_word():
  found = statistics.paired_difference({0: 1.0}, {0: 9.0})
  assert found.mean == 8.0
  assert math.isnan(found.low) and math.isnan(found.high)
  assert found.word == "no difference shown"
  assert statistics.paired_difference({0: 1.0}, {1: 9.0}) is None


def test_seeds_to_tell_are_the_fewest_that_do():
  count = statistics.seeds_to_tell(1.5, 1.0)

  def half_width(n):
    return stats.t.ppf(0.975, n - 1) * 1.5 / n**0.5

  assert half_width(count) < 1.0 <= half_width(count - 1)
  assert statistics.seeds_to_tell(0.0, 1.0) == 2
  assert statistics.seeds_to_tell(math.nan, 1.0) is None
  assert statistics.seeds_to_tell(1e6, 1.0) is None


def made_up(hit_share, seed=0, num_images=40):
  """One object and one detection in each image, hit with a probability."""
  rng = np.random.default_rng(seed)
  order = rng.permutation(num_images)
  return outcomes.Outcomes(
    images=order,
    classes=np.ones(num_images, np.int64),
    hits=rng.random(num_images) < hit_share,
    num_objects=np.ones([num_images, 1], np.int64),
  )


def test_bootstrap_is_that_of_resampled_images():
  first, other = {3: made_up(0.5, 1)}, {3: made_up(0.9, 2), 4: made_up(0.1)}
  low, high = statistics.bootstrap_difference(first, other, draws=400, seed=5)
  rng, gaps = np.random.default_rng(0), []
  for _ in range(400):
    weights = np.bincount(rng.integers(0, 40, 40), minlength=40)[np.newaxis]
    gaps.append(
      outcomes.mean_average_precisions(other[3], weights)[0]
      - outcomes.mean_average_precisions(first[3], weights)[0]
    )
  expected = np.percentile(np.array(gaps) * 100.0, [2.5, 97.5])
  # Two samples of 400 draws: their percentiles lie some points apart.
  assert (low, high) == pytest.approx(tuple(expected), abs=6.0)
  assert low < high


def test_bootstrap_of_the_same_detections_is_zero_as_images_are_paired():
  found = {0: made_up(0.6, 1), 1: made_up(0.6, 2)}
  assert statistics.bootstrap_difference(found, found, draws=50) == (0.0, 0.0)
  assert statistics.bootstrap_difference(found, {2: found[0]}) is None
