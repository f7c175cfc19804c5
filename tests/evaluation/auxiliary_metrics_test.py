"""Figures of the auxiliary tasks on cases worked by hand."""

import math

import numpy as np
import pytest

from mtl_ssl_tf.evaluation import auxiliary_metrics


class TestRankingAveragePrecision:
  @pytest.mark.parametrize(
    ("scores", "relevant", "expected"),
    [
      # Ranked: yes no yes no. Precision 1 at the first, 2/3 at the second relevant item.
      ([0.4, 0.3, 0.2, 0.1], [1, 0, 1, 0], (1 + 2 / 3) / 2),
      # The same items in another order of the arguments.
      ([0.1, 0.2, 0.4, 0.3], [0, 1, 1, 0], (1 + 2 / 3) / 2),
      ([0.4, 0.3, 0.2, 0.1], [1, 1, 0, 0], 1.0),
      ([0.4, 0.3, 0.2, 0.1], [0, 0, 0, 1], 1 / 4),
      # All tied: the share of relevant items.
      ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 1 / 4),
      ([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 1], 1 / 4),
      # One sure hit, then a tie of one relevant among two: precision 1 and 2/3.
      ([0.8, 0.1, 0.1], [1, 0, 1], (1 + 2 / 3) / 2),
      ([0.8, 0.1, 0.1], [1, 1, 0], (1 + 2 / 3) / 2),
    ],
  )
  def test_by_hand(self, scores, relevant, expected):
    value = auxiliary_metrics.ranking_average_precision(np.array(scores), np.array(relevant, bool))
    assert value == pytest.approx(expected)

  def test_nothing_relevant(self):
    value = auxiliary_metrics.ranking_average_precision(np.ones(3), np.zeros(3, bool))
    assert math.isnan(value)

  @pytest.mark.parametrize("seed", range(3))
  def test_random_rankings_with_ties(self, seed):
    # Slow and obvious: at every relevant item, the share of relevant ones among all that score
    # at least as high.
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, 30) / 10.0
    relevant = rng.uniform(size=30) < 0.4
    expected = np.mean([relevant[scores >= score].mean() for score in scores[relevant]])
    value = auxiliary_metrics.ranking_average_precision(scores, relevant)
    assert value == pytest.approx(expected)


def update_windows(evaluator, probabilities, labels, weights):
  evaluator.update(
    window_probabilities=np.array(probabilities, np.float32),
    window_labels=np.array(labels, np.float32),
    window_weights=np.array(weights, np.float32),
  )


class TestMultiObject:
  def test_means_over_windows_then_images(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    # Window 1 ranks both present classes first: AP 1, and equals its label: divergence 0.
    # Window 2 has the only present class last: AP 1/3; divergence ln(1 / 0.1) = 2.303.
    # Window 3 weighs nothing.
    update_windows(
      evaluator,
      [[0.5, 0.5, 0.0], [0.6, 0.3, 0.1], [math.nan, 0.0, 0.0]],
      [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
      [1, 1, 0],
    )
    # Second image: one window, AP 1, divergence ln 2.
    update_windows(evaluator, [[0.5, 0.25, 0.25]], [[1.0, 0.0, 0.0]], [1])
    result = evaluator.result()
    assert set(result) == {"auxiliary/multi_object_ranking_ap", "auxiliary/multi_object_kl"}
    assert result["auxiliary/multi_object_ranking_ap"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["auxiliary/multi_object_kl"] == pytest.approx(
      (math.log(10) / 2 + math.log(2)) / 2, abs=1e-6
    )

  def test_images_without_windows_do_not_spoil_the_mean(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    update_windows(evaluator, [[0.9, 0.1]], [[1.0, 0.0]], [1])
    update_windows(evaluator, [[0.1, 0.9]], [[1.0, 0.0]], [0])
    update_windows(evaluator, [[0.1, 0.9]], [[0.0, 0.0]], [1])
    update_windows(evaluator, np.zeros((0, 2)), np.zeros((0, 2)), [])
    assert evaluator.result()["auxiliary/multi_object_ranking_ap"] == 1.0

  def test_only_empty_images_give_nan_under_the_same_keys(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    update_windows(evaluator, [[0.1, 0.9]], [[1.0, 0.0]], [0])
    assert [math.isnan(value) for value in evaluator.result().values()] == [True, True]

  def test_a_probability_of_zero_stays_finite(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    update_windows(evaluator, [[1.0, 0.0]], [[0.0, 1.0]], [1])
    assert evaluator.result()["auxiliary/multi_object_kl"] == pytest.approx(7 * math.log(10))


def update_closeness(evaluator, probabilities, labels, valid):
  evaluator.update(
    closeness_probabilities=np.array(probabilities, np.float32),
    closeness_labels=np.array(labels, np.float32),
    closeness_valid=np.array(valid, bool),
  )


class TestCloseness:
  def test_counts_objects_with_neighbours_and_a_match(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    update_closeness(
      evaluator,
      [
        [0.9, 0.0, 0.1, 0.0],  # Right: class 2 among the objects, background has no say.
        [0.0, 0.2, 0.5, 0.3],  # Wrong: class 3 is nearest.
        [0.0, 1.0, 0.0, 0.0],  # No neighbour: not counted, though class 1 was predicted.
        [math.nan] * 4,  # No proposal matches: not counted.
        [0.0, 0.4, 0.3, 0.3],  # Right: classes 1 and 3 are equally near.
      ],
      [
        [0.0, 0.3, 0.7, 0.0],
        [0.0, 0.3, 0.3, 0.4],
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.4, 0.2, 0.4000001],
      ],
      [True, True, True, False, True],
    )
    assert evaluator.result() == {"auxiliary/closeness_accuracy": pytest.approx(2 / 3)}
    # An image without anything to count changes nothing; a second image weighs as the first.
    update_closeness(evaluator, np.zeros((1, 4)), [[1.0, 0.0, 0.0, 0.0]], [True])
    update_closeness(evaluator, np.full((2, 4), 0.25), np.full((2, 4), -1.0), [False, False])
    assert evaluator.result() == {"auxiliary/closeness_accuracy": pytest.approx(2 / 3)}
    update_closeness(evaluator, [[0.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 1.0]], [True])
    assert evaluator.result() == {"auxiliary/closeness_accuracy": pytest.approx(1 / 3)}

  def test_nothing_counted_is_nan(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    update_closeness(evaluator, np.zeros((0, 3)), np.zeros((0, 3)), [])
    assert math.isnan(evaluator.result()["auxiliary/closeness_accuracy"])


class TestForeground:
  def test_by_hand(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    # label      1 1 0 0    predicted  .9 .2 .8 .1
    # 2 of 4 cells right; intersection 1, union 3. Ranked: yes no yes no, AP (1 + 2/3) / 2.
    evaluator.update(
      foreground_probabilities=np.array([[0.9, 0.2], [0.8, 0.1]]),
      foreground_labels=np.array([[1, 1], [0, 0]], np.int32),
    )
    result = evaluator.result()
    assert result == {
      "auxiliary/foreground_pixel_accuracy": 0.5,
      "auxiliary/foreground_iou": pytest.approx(1 / 3),
      "auxiliary/foreground_ap": pytest.approx(5 / 6),
    }
    # An image without foreground, rightly predicted: 6 of 8 cells; the rest stays.
    evaluator.update(
      foreground_probabilities=np.full((2, 2), 0.5), foreground_labels=np.zeros((2, 2), bool)
    )
    result["auxiliary/foreground_pixel_accuracy"] = 0.75
    assert evaluator.result() == result

  def test_no_foreground_anywhere(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    evaluator.update(foreground_probabilities=np.zeros((2, 2)), foreground_labels=np.zeros((2, 2)))
    result = evaluator.result()
    assert result["auxiliary/foreground_pixel_accuracy"] == 1.0
    assert math.isnan(result["auxiliary/foreground_iou"])
    assert math.isnan(result["auxiliary/foreground_ap"])


class TestEvaluator:
  def test_tasks_that_never_came_have_no_keys(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    evaluator.update()
    assert evaluator.result() == {}

  def test_reset_forgets(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    update_windows(evaluator, [[0.1, 0.9]], [[1.0, 0.0]], [1])
    evaluator.update(foreground_probabilities=np.ones((2, 2)), foreground_labels=np.zeros((2, 2)))
    update_closeness(evaluator, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]], [True])
    evaluator.reset()
    assert evaluator.result() == {}
    update_windows(evaluator, [[0.9, 0.1]], [[1.0, 0.0]], [1])
    update_closeness(evaluator, [[0.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]], [True])
    evaluator.update(foreground_probabilities=np.ones((2, 2)), foreground_labels=np.ones((2, 2)))
    result = evaluator.result()
    assert result["auxiliary/multi_object_ranking_ap"] == 1.0
    assert result["auxiliary/closeness_accuracy"] == 1.0
    assert result["auxiliary/foreground_pixel_accuracy"] == 1.0
    assert result["auxiliary/foreground_iou"] == 1.0

  def test_a_task_given_in_part_is_refused(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    with pytest.raises(ValueError, match="window_labels, window_weights missing; accepted: all of"):
      evaluator.update(window_probabilities=np.ones((1, 2)))

  def test_shapes_that_disagree_are_refused(self):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    with pytest.raises(
      ValueError, match=r"foreground_labels \[1, 3\]; accepted: \[h, w\], \[h, w\]"
    ):
      evaluator.update(foreground_probabilities=np.ones((1, 2)), foreground_labels=np.ones((1, 3)))
    with pytest.raises(ValueError, match="shapes disagree: foreground_probabilities"):
      evaluator.update(foreground_probabilities=np.ones(2), foreground_labels=np.ones(2))

  @pytest.mark.parametrize(
    ("name", "arguments"),
    [
      (
        "window_probabilities",
        {
          "window_probabilities": np.full((1, 2), math.nan),
          "window_labels": np.full((1, 2), 0.5),
          "window_weights": np.ones(1),
        },
      ),
      (
        "closeness_probabilities",
        {
          "closeness_probabilities": np.full((1, 2), math.inf),
          "closeness_labels": np.array([[0.0, 1.0]]),
          "closeness_valid": np.ones(1, bool),
        },
      ),
      (
        "foreground_probabilities",
        {
          "foreground_probabilities": np.full((1, 1), math.nan),
          "foreground_labels": np.ones((1, 1)),
        },
      ),
    ],
  )
  def test_predictions_that_are_not_finite_are_refused_by_name(self, name, arguments):
    evaluator = auxiliary_metrics.AuxiliaryEvaluator()
    with pytest.raises(ValueError, match=f"{name} holds values that are not finite"):
      evaluator.update(**arguments)
