"""The curve against a slow fit of the same likelihood, and against what made up the data."""

import numpy as np
import pytest

from mtl_ssl_tf.auditing import calibration


def _drawn(seed, number, share, *, slope=1.5, intercept=-0.5, overlap_weight=-3.0):
  """Scores, classes, overlaps, matches and objects of detections drawn from a known curve."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(0.0, 2.0, number)
  scores = 1.0 / (1.0 + np.exp(-logits))
  overlaps = np.stack([rng.uniform(0, 1, number), *np.zeros([3, number])], axis=1)
  truth = 1.0 / (1.0 + np.exp(-(intercept + slope * logits + overlap_weight * overlaps[:, 0])))
  is_object = rng.random(number) < truth
  is_matched = is_object & (rng.random(number) < share)
  return scores, np.ones(number, int), overlaps, is_matched, truth


@pytest.mark.parametrize("share", [0.95, 0.7, 0.5])
def test_what_made_the_data_is_found(share):
  *columns, truth = _drawn(0, 20000, share)
  found = calibration.fit(*columns, 1)
  assert abs(found.annotated_share - share) < 0.04
  estimate = found.are_objects(*columns[:3])
  assert np.abs(estimate - truth).max() < 0.08
  # Among those without a box, as many are objects as it says.
  unmatched = ~columns[3]
  said = found.are_missing(*columns[:3])[unmatched]
  actual = (truth * (1 - share) / (1 - truth * share))[unmatched]
  assert abs(said.mean() - actual.mean()) < 0.01
  assert np.corrcoef(said, actual)[0, 1] > 0.99


def test_it_is_the_maximum_of_the_likelihood():
  """No small change of any number of the fit makes the data more probable."""
  *columns, _ = _drawn(1, 3000, 0.8)
  scores, _, overlaps, is_matched = columns
  found = calibration.fit(*columns, 1)
  rows = np.column_stack([np.ones_like(scores), np.log(scores / (1 - scores)), overlaps])

  def value(weights, own, share):
    # The same priors, written out.
    probability = share / (1 + np.exp(-rows @ (weights + np.append(own, [0, 0, 0, 0]))))
    total = np.where(is_matched, np.log(probability), np.log1p(-probability)).sum()
    total -= (
      0.5 * (np.array([0.1, 1, 0.1, 0.1, 0.1, 1]) * (weights - [0, 1, 0, 0, 0, 0]) ** 2).sum()
    )
    total -= 0.5 * (np.array([1, 4]) * own**2).sum()
    return total + 9 * np.log(share) + 1 * np.log(1 - share)

  at = [found.weights, found.class_weights[0], found.annotated_share]
  best = value(*at)
  for place, numbers in ((0, (0, 1, 2)), (1, (0, 1))):
    for number in numbers:
      for change in (-0.03, 0.03):
        moved = [*at]
        moved[place] = moved[place] + change * (np.arange(len(moved[place])) == number)
        assert value(*moved) < best
  for change in (-0.02, 0.02):
    assert value(*at[:2], at[2] + change) < best


def test_unmatched_objects_do_not_lower_it():
  """What a fit that takes unmatched for wrong would say of sure detections is lower."""
  *columns, truth = _drawn(2, 20000, 0.6)
  found = calibration.fit(*columns, 1)
  sure = truth > 0.95
  estimate = found.are_objects(*columns[:3])[sure]
  assert estimate.mean() > 0.93 > columns[3][sure].mean() + 0.2


def test_classes_have_curves_of_their_own():
  first, second = _drawn(3, 4000, 0.8, intercept=-3.0), _drawn(4, 4000, 0.8, intercept=1.0)
  scores, _, overlaps, is_matched, _ = map(np.concatenate, zip(first, second, strict=True))
  classes = np.repeat([1, 2], 4000)
  found = calibration.fit(scores, classes, overlaps, is_matched, 3)
  same = np.array([0.5, 0.5, 0.5])
  estimate = found.are_objects(same, np.array([1, 2, 3]), np.zeros([3, 4]))
  np.testing.assert_allclose(
    estimate[:2], [1 / (1 + np.exp(3.0)), 1 / (1 + np.exp(-1.0))], atol=0.08
  )
  # A class of which there is nothing has that of all.
  assert estimate[0] < estimate[2] < estimate[1]
  assert found.class_weights[2].tolist() == [0.0, 0.0]


def test_it_rises_with_the_score():
  *columns, _ = _drawn(5, 500, 0.9, slope=-1.0)  # A detector that is worse than none.
  found = calibration.fit(*columns, 1)
  scores = np.linspace(0.0, 1.0, 50)
  values = found.are_missing(scores, np.ones(50, int), np.zeros([50, 4]))
  assert (np.diff(values[1:-1]) > 0).all() and (values >= 0).all() and (values <= 1).all()


def test_without_data_scores_are_probabilities():
  nothing = np.zeros(0), np.zeros(0, int), np.zeros([0, 4]), np.zeros(0, bool)
  found = calibration.fit(*nothing, 2)
  scores = np.array([0.1, 0.5, 0.9])
  np.testing.assert_allclose(
    found.are_objects(scores, np.array([1, 2, 1]), np.zeros([3, 4])), 0.99 * scores
  )
  assert found.annotated_share == 0.9


def test_order_of_rows_changes_nothing():
  *columns, _ = _drawn(6, 2000, 0.8)
  order = np.random.default_rng(0).permutation(2000)
  one = calibration.fit(*columns, 1)
  other = calibration.fit(*(column[order] for column in columns), 1)
  np.testing.assert_array_equal(one.weights, other.weights)
  assert one.annotated_share == other.annotated_share


def test_many_rows_are_thinned(monkeypatch):
  *columns, _ = _drawn(7, 9000, 0.8)
  whole = calibration.fit(*columns, 1)
  monkeypatch.setattr(calibration, "_MAX_ROWS", 4000)
  thin = calibration.fit(*columns, 1)
  assert 0 < np.abs(whole.weights[:3] - thin.weights[:3]).max() < 0.5
  np.testing.assert_allclose(thin.annotated_share, whole.annotated_share, atol=0.05)


@pytest.mark.parametrize("score", [-0.1, 1.5])
def test_scores_that_are_no_probabilities(score):
  with pytest.raises(ValueError, match=f"a detection's score is {score}; accepted: 0 to 1"):
    calibration.fit(np.array([0.5, score]), np.ones(2, int), np.zeros([2, 4]), np.ones(2, bool), 1)
