"""The probability that a detection is an object, from its score, class and surroundings.

It is fitted on whether detections match annotated boxes. Some objects have none, so that a matched
detection is an object and an unmatched one may be. With c the share of the objects that are
annotated, a detection matches with probability c * sigmoid(w x): the curve levels off at c where a
fit that takes unmatched for wrong would have all scores mean less than they do. Expectation
maximisation estimates w and c together; the class of a detection changes intercept and slope.

What is reported is the probability that an unmatched detection is an object, (1 - c) p / (1 - c p).

Reference: Elkan and Noto, "Learning Classifiers from Only Positive and Unlabeled Data", KDD 2008,
whose c is that of objects annotated at random; the curve is Platt's, with logits of scores.
"""

import dataclasses

import numpy as np

# Logits of scores beyond it say nothing more; detectors write 1.0 for what is nearly so.
_MAX_LOGIT = 10.0
# Without data, scores are taken for probabilities. Precisions of the prior about that.
_PRIOR = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
_PRECISION = np.array([0.1, 1.0, 0.1, 0.1, 0.1, 1.0])
# Of what a class adds to intercept and slope.
_CLASS_PRECISION = np.array([1.0, 4.0])
# Objects that are taken to have been seen, with and without a box.
_ANNOTATED, _MISSING = 9.0, 1.0
_MIN_SLOPE = 0.05
# No detection is surer: a curve goes on to 1 beyond the scores that say where it ends.
_SUREST = 0.99
_NUM_ROUNDS, _NUM_STEPS = 300, 2
_TOLERANCE = 1e-5
# More rows change no digit that matters; these are spread evenly over the scores.
_MAX_ROWS = 400_000


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
  """A fitted curve.

  Attributes:
    weights: float64 [6], of 1, the logit of the score, and the columns of `Places.surroundings`.
    class_weights: float64 [C, 2], what each class adds to intercept and slope; class 1 first.
    annotated_share: share of the objects that have a box, as estimated.
  """

  weights: np.ndarray
  class_weights: np.ndarray
  annotated_share: float

  def logits(self, scores: np.ndarray, classes: np.ndarray, surroundings: np.ndarray) -> np.ndarray:
    """Log-odds that detections are objects.

    Args:
      scores: float [D], of 0 to 1.
      classes: int [D], from 1.
      surroundings: float [D, 4], see `Places.surroundings`.

    Returns:
      float64 [D].
    """
    rows = _rows(scores, surroundings)
    own = self.class_weights[classes - 1]  # [D, 2]
    slopes = np.maximum(self.weights[1] + own[:, 1], _MIN_SLOPE)
    return self.weights[0] + own[:, 0] + slopes * rows[:, 1] + rows[:, 2:] @ self.weights[2:]

  def are_objects(
    self, scores: np.ndarray, classes: np.ndarray, surroundings: np.ndarray
  ) -> np.ndarray:
    """Probabilities that detections are objects, annotated or not; see `logits`."""
    return _SUREST * _sigmoid(self.logits(scores, classes, surroundings))

  def are_missing(
    self, scores: np.ndarray, classes: np.ndarray, surroundings: np.ndarray
  ) -> np.ndarray:
    """Probabilities that detections that match no box are objects; see `logits`."""
    return _unmatched(self.are_objects(scores, classes, surroundings), self.annotated_share)


def fit(
  scores: np.ndarray,
  classes: np.ndarray,
  surroundings: np.ndarray,
  is_matched: np.ndarray,
  num_classes: int,
) -> Calibration:
  """Fits the curve to all detections of a data set.

  Args:
    scores: float [D], of 0 to 1.
    classes: int [D], from 1.
    surroundings: float [D, 4], see `Places.surroundings`.
    is_matched: bool [D], whether a detection matches an annotated box of its class.
    num_classes: without background.

  Raises:
    ValueError: a score is no probability.
  """
  outside = scores[(scores < 0.0) | (scores > 1.0)]
  if len(outside):
    raise ValueError(f"a detection's score is {outside[0]:g}; accepted: 0 to 1")
  order = np.lexsort((*surroundings.T, is_matched, classes, scores))
  order = order[:: -(-len(order) // _MAX_ROWS) or 1]
  rows, matched, classes = (
    _rows(scores[order], surroundings[order]),
    is_matched[order],
    classes[order],
  )
  of_class = [np.flatnonzero(classes == number) for number in range(1, num_classes + 1)]
  weights, own = _PRIOR.copy(), np.zeros([num_classes, 2])
  share = _ANNOTATED / (_ANNOTATED + _MISSING)
  common, added = rows @ weights, np.zeros(len(rows))  # [D]
  for _ in range(_NUM_ROUNDS):
    before = np.append(weights, share)
    objects = _expected(common + added, matched, share)  # [D]
    share = float((matched.sum() + _ANNOTATED) / (objects.sum() + _ANNOTATED + _MISSING))
    weights = _maximised(rows, objects, weights, _PRIOR, _PRECISION, added)
    common = rows @ weights
    for number, places in enumerate(of_class):
      part = rows[places, :2]
      own[number] = _maximised(
        part, objects[places], own[number], np.zeros(2), _CLASS_PRECISION, common[places]
      )
      added[places] = part @ own[number]
    if np.abs(np.append(weights, share) - before).max() < _TOLERANCE:
      break
  weights[1] = max(weights[1], _MIN_SLOPE)
  return Calibration(weights, own, share)


def _expected(logits: np.ndarray, matched: np.ndarray, share: float) -> np.ndarray:
  """Probability that each detection is an object, given whether it matches a box."""
  return np.where(matched, 1.0, _unmatched(_sigmoid(logits), share))


def _unmatched(probabilities: np.ndarray, share: float) -> np.ndarray:
  return (1.0 - share) * probabilities / (1.0 - share * probabilities)


def _maximised(
  rows: np.ndarray,
  targets: np.ndarray,
  weights: np.ndarray,
  prior: np.ndarray,
  precision: np.ndarray,
  offset: np.ndarray | float = 0.0,
) -> np.ndarray:
  """Some of Newton's steps of logistic regression with a normal prior, from `weights` on."""
  for _ in range(_NUM_STEPS):
    found = _sigmoid(rows @ weights + offset)
    gradient = rows.T @ (targets - found) - precision * (weights - prior)
    spread = np.maximum(found * (1.0 - found), 1e-9)
    step = np.linalg.solve((rows.T * spread) @ rows + np.diag(precision), gradient)
    # A step from far away may overshoot.
    weights = weights + step / max(1.0, np.abs(step).max())
  return weights


def _rows(scores: np.ndarray, surroundings: np.ndarray) -> np.ndarray:
  """float64 [D, 6]: 1, the logit of the score, surroundings."""
  limit = _sigmoid(np.array(-_MAX_LOGIT))
  clipped = np.clip(np.asarray(scores, np.float64), limit, 1.0 - limit)
  logits = np.log(clipped) - np.log1p(-clipped)
  return np.concatenate([np.stack([np.ones_like(logits), logits], axis=1), surroundings], axis=1)


def _sigmoid(values: np.ndarray) -> np.ndarray:
  return 0.5 * (1.0 + np.tanh(0.5 * values))
