"""Two runs: which is better, and in which images."""

import numpy as np
import pytest

from mtl_ssl_tf.comparison import outcomes, statistics
from mtl_ssl_tf.reporting import pairs


def test_difference_is_the_first_run_minus_the_other(found):
  compared = pairs.compare(*found)
  difference = 100.0 * (found[0].figures[pairs.METRIC] - found[1].figures[pairs.METRIC])
  low, high = compared.interval
  assert low < difference < high and difference > 0.0
  reversed_low, reversed_high = pairs.compare(*found[::-1]).interval
  assert (reversed_low, reversed_high) == pytest.approx((-high, -low))
  itself = pairs.compare(found[0], found[0])
  assert itself.interval == (0.0, 0.0) and itself.word == "no difference shown"


def test_interval_is_the_bootstrap_of_compare(sources, found):
  first, other = (
    {
      0: outcomes.read(
        source.folder / "coco_results.json", source.folder / "coco_ground_truth.json"
      )
    }
    for source in sources
  )
  assert pairs.compare(*found).interval == statistics.bootstrap_difference(other, first)


def test_images_of_the_largest_gain_come_first(found):
  compared = pairs.compare(*found)
  gains = [
    there.num_errors - here.num_errors
    for here, there in zip(found[0].images, found[1].images, strict=True)
  ]
  better = compared.corrected_by_first(10)
  assert [pair.gain for pair in better] == sorted((g for g in gains if g > 0), reverse=True)
  worse = compared.corrected_by_other(10)
  assert [pair.gain for pair in worse] == sorted(g for g in gains if g < 0)
  assert len(compared.corrected_by_first(1)) == min(1, len(better)) == 1
  for pair in better:
    assert pair.first.truth is found[0].images[found[0].images.index(pair.first)].truth
    np.testing.assert_array_equal(pair.first.truth.classes, pair.other.truth.classes)
