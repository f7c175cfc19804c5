"""Probabilities that annotated boxes are badly placed, or lie around nothing.

Neither has a bound to be set: both compare a box with all other boxes of the data set.

  placement   overlaps of detections with their boxes scatter about a usual value; what lies far
              below it is badly placed
  nothing     how often boxes of a class and a size are found; one that is not found is the more
              suspicious, the surer those like it are
"""

import numpy as np

from mtl_ssl_tf.auditing import places

# Shares of boxes that are at fault in these ways, before anything is known. Of large data sets that
# were checked by hand, some per cent are badly placed. A box around nothing is rarer, as somebody
# has drawn it, and an object of an unusual shape is overlooked more often than others of its class
# and size: of the first 19 such boxes that a larger share named among blood cells, none was empty.
_MISPLACED_SHARE = 0.02
_NOTHING_SHARE = 0.002
# Detections of a near perfect detector would scatter by nothing at all.
_MIN_SCATTER = 0.2
_LIMIT = 1e-3
_NUM_ROUNDS = 20
# Of the prior about intercept and slope: boxes that count for it.
_PRECISION = np.array([0.1, 1.0])
_CLASS_PRECISION = 1.0


def misplaced(overlaps: np.ndarray) -> np.ndarray:
  """Probabilities that boxes are badly placed, given that their detections are right.

  Logits of overlaps below their median are taken to be exponentially distributed where a box is
  well placed, and evenly down to `places.NEAR_IOU` where it is not.

  Args:
    overlaps: float64 [N], IoU of each box with its detection.

  Returns:
    float64 [N].
  """
  logits = _logits(overlaps)
  if not len(logits):
    return np.zeros(0)
  middle = np.median(logits)
  below = middle - logits
  is_below = below > 0.0
  scatter = np.median(below[is_below]) / np.log(2.0) if is_below.any() else 0.0
  scatter = max(scatter, _MIN_SCATTER)
  width = max(middle - _logits(np.array([places.NEAR_IOU]))[0], _MIN_SCATTER)
  # Half of the well placed ones lie below the median.
  usual = 0.5 * np.exp(-np.maximum(below, 0.0) / scatter) / scatter
  share, found = _MISPLACED_SHARE, np.zeros(len(logits))
  for _ in range(_NUM_ROUNDS):
    odd = share / width
    found = np.where(is_below, odd / (odd + (1.0 - share) * usual), 0.0)
    share = (found.sum() + 100.0 * _MISPLACED_SHARE) / (len(found) + 100.0)
  return found


def around_nothing(
  evidence: np.ndarray, classes: np.ndarray, areas: np.ndarray, num_classes: int
) -> np.ndarray:
  """Probabilities that there is nothing in annotated boxes.

  Args:
    evidence: float64 [N], probability of the best detection of any class that lies on each box.
    classes: int64 [N], from 1.
    areas: float64 [N], square pixels.
    num_classes: without background.

  Returns:
    float64 [N].
  """
  if not len(evidence):
    return np.zeros(0)
  sizes = np.log(np.maximum(areas, 1.0))
  sizes -= np.median(sizes)
  is_class = np.eye(num_classes)[classes - 1]  # [N, C]
  rows = np.concatenate([np.stack([np.ones(len(sizes)), sizes], axis=1), is_class], axis=1)
  precision = np.append(_PRECISION, np.full(num_classes, _CLASS_PRECISION))
  weights = np.zeros(rows.shape[1])
  for _ in range(_NUM_ROUNDS):
    found = _sigmoid(rows @ weights)
    gradient = rows.T @ (evidence - found) - precision * weights
    spread = np.maximum(found * (1.0 - found), 1e-9)
    step = np.linalg.solve((rows.T * spread) @ rows + np.diag(precision), gradient)
    weights += step / max(1.0, np.abs(step).max())
  # Of boxes like it, the share that is not found although there is an object.
  overlooked = 1.0 - _sigmoid(rows @ weights)
  given = _NOTHING_SHARE / (_NOTHING_SHARE + (1.0 - _NOTHING_SHARE) * overlooked)
  return (1.0 - evidence) * given


def _logits(overlaps: np.ndarray) -> np.ndarray:
  clipped = np.clip(overlaps, _LIMIT, 1.0 - _LIMIT)
  return np.log(clipped) - np.log1p(-clipped)


def _sigmoid(values: np.ndarray) -> np.ndarray:
  return 0.5 * (1.0 + np.tanh(0.5 * values))
