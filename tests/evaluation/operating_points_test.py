"""The score of the highest F1, by hand."""

import numpy as np
import pytest

from mtl_ssl_tf.evaluation import operating_points, voc_evaluator


def points(scores, hits, num_objects):
  found = np.cumsum(hits)
  return np.stack([found / num_objects, found / np.arange(1, len(hits) + 1), scores], axis=1)


def test_highest_f1():
  # Of three objects: precision 1, 1/2, 2/3, 2/4 and recall 1/3, 1/3, 2/3, 2/3.
  point = operating_points.best_f1(points([0.9, 0.8, 0.7, 0.2], [1, 0, 1, 0], 3))
  assert point == (0.45, pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_equal_scores_are_kept_or_left_out_together():
  # The first two alone would have an F1 of 1; with the third, of the same score, it is 0.8.
  point = operating_points.best_f1(points([0.9, 0.5, 0.5], [1, 1, 0], 2))
  assert point.f1 == pytest.approx(0.8)
  assert point.threshold == 0.25


def test_of_equal_f1_the_highest_score():
  # 1/2 after the first (1, 1/3) and after the third, fourth and fifth (2/5, 2/3).
  point = operating_points.best_f1(points([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 0, 0, 1], 3))
  assert point.recall == pytest.approx(1 / 3)
  assert point.threshold == pytest.approx(0.85)


@pytest.mark.parametrize(
  ("scores", "threshold"),
  [
    ([0.9, 0.1], 0.5),
    ([0.9], 0.45),
    ([1.0, 0.99999], 0.999995),
    ([0.5, np.nextafter(0.5, 0.0)], 0.5),
  ],
)
def test_threshold_lies_above_what_is_left_out(scores, threshold):
  hits = [1, 0][: len(scores)]
  found = operating_points.best_f1(points(scores, hits, 1)).threshold
  assert found == pytest.approx(threshold)
  assert all(score < found for score in scores[1:]) and found <= scores[0]


@pytest.mark.parametrize(
  "curve",
  [
    np.zeros([0, 3]),
    points([0.9, 0.8], [0, 0], 2),
    np.array([[np.nan, 0.0, 0.9]]),
  ],
)
def test_nothing_to_measure(curve):
  assert operating_points.best_f1(curve) is None


def test_curves_of_the_evaluator():
  evaluator = voc_evaluator.VOCEvaluator(["cat", "dog"])
  box = np.array([[0.0, 0, 10, 10]])
  evaluator.update(box, np.array([1]), None, box, np.array([0.75]), np.array([1]))
  curves = evaluator.curves()
  assert operating_points.best_f1(curves["cat"]) == (0.375, 1.0, 1.0, 1.0)
  assert operating_points.best_f1(curves["dog"]) is None
