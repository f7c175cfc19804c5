"""Reliability by score, by hand."""

import numpy as np
import pytest

from mtl_ssl_tf.evaluation import calibration


def test_bins():
  scores = np.array([0.0, 0.4, 0.5, 0.75, 1.0])
  bins = calibration.reliability(scores, np.array([False, True, True, False, True]), num_bins=2)
  assert bins == [
    (0.0, 0.5, 2, pytest.approx(0.2), 0.5),
    (0.5, 1.0, 3, pytest.approx(0.75), pytest.approx(2 / 3)),
  ]
  # 2/5 of 0.3, and 3/5 of 1/12.
  assert calibration.expected_error(bins) == pytest.approx(0.12 + 0.05)
  assert calibration.expected_error(bins, min_score=0.5) == pytest.approx(1 / 12)


def test_scores_that_are_right_have_no_error():
  scores = np.repeat([0.25, 0.75], 4)
  hits = np.array([True, False, False, False, True, True, True, False])
  bins = calibration.reliability(scores, hits)
  assert [one.count for one in bins] == [0, 0, 4, 0, 0, 0, 0, 4, 0, 0]
  assert calibration.expected_error(bins) == 0.0


def test_no_detections():
  bins = calibration.reliability(np.zeros(0), np.zeros(0, bool))
  assert len(bins) == 10 and np.isnan(bins[0].mean_score)
  assert np.isnan(calibration.expected_error(bins))
