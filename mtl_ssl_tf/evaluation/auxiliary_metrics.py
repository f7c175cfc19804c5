"""Metrics of the three auxiliary tasks: multi-object, closeness and foreground labels.

The figures keep the intent of the released metrics and leave out their faults: an image where
nothing can be measured counts for nothing instead of turning the mean into NaN, a prediction of
closeness belongs to the proposal that lies on the object, and an object without neighbours is not
scored as if class 1 were the answer. Every figure is named after what it is.

Letters: N ground-truth boxes, S windows, C classes with background, h and w the foreground map.
"""

import numpy as np

# A probability of zero where the label is positive would make the divergence infinite.
_SMALLEST_PROBABILITY = 1e-7
# Labels of two equally near classes may differ in the last bits.
_LABEL_TOLERANCE = 1e-6


def ranking_average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
  """Mean precision of a ranking, read at each relevant item.

  Items with equal scores enter the ranking together, so a constant score earns the share of
  relevant items and the order of the items never matters.

  Args:
    scores: float [n], higher is ranked first.
    relevant: bool [n].

  Returns:
    The average precision in (0, 1], without interpolation; NaN if nothing is relevant.
  """
  if not np.any(relevant):
    return float("nan")
  order = np.argsort(-scores, kind="stable")  # [n]
  ranked_scores = scores[order]
  last_of_tie = np.flatnonzero(np.append(ranked_scores[1:] != ranked_scores[:-1], True))
  found = np.cumsum(relevant[order])[last_of_tie]
  precision = found / (last_of_tie + 1)
  return float(np.sum(precision * np.diff(found, prepend=0)) / found[-1])


def multi_object_scores(
  probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[float, float] | None:
  """Ranking AP and divergence of the predicted class mixtures, means over an image's windows.

  Ranking AP asks whether the classes present in a window (background counts as one) are ranked
  before the absent ones; the Kullback-Leibler divergence, in nats, also compares the proportions.

  Args:
    probabilities: float [S, C], predicted, rows sum to 1.
    labels: float [S, C], soft labels.
    weights: float [S]; windows of weight 0 and windows without a label do not count.

  Returns:
    (ranking AP, divergence), or None if no window counts.
  """
  counted = (weights > 0.0) & (labels > 0.0).any(axis=1)  # [S]
  if not counted.any():
    return None
  probabilities, labels = probabilities[counted], labels[counted]
  _check_finite("window_probabilities", probabilities)
  ranking = [
    ranking_average_precision(p, label > 0.0)
    for p, label in zip(probabilities, labels, strict=True)
  ]
  floor = np.maximum(probabilities, _SMALLEST_PROBABILITY)
  log_ratio = np.log(np.where(labels > 0.0, labels, 1.0)) - np.log(floor)  # [S, C]
  divergence = np.sum(labels * log_ratio, axis=1)  # [S]
  return float(np.mean(ranking)), float(np.mean(divergence))


def closeness_accuracy(
  probabilities: np.ndarray, labels: np.ndarray, valid: np.ndarray
) -> float | None:
  """Share of an image's objects whose nearest class of neighbour is predicted.

  Background has no part in it: objects labelled as having no neighbour do not count, and the
  prediction is the likeliest class of 1 ... C-1. Any of several equally near classes is right.

  Args:
    probabilities: float [N, C], row n predicted at the proposal matched to object n.
    labels: float [N, C]; an object without neighbours has all its mass in column 0.
    valid: bool [N], false for padding and for objects that no proposal matches.

  Returns:
    The accuracy, or None if no object counts.
  """
  object_labels = labels[:, 1:]  # [N, C-1]
  counted = valid.astype(bool) & (object_labels > 0.0).any(axis=1)  # [N]
  if not counted.any():
    return None
  object_labels, object_probabilities = object_labels[counted], probabilities[counted, 1:]
  _check_finite("closeness_probabilities", object_probabilities)
  predicted = object_probabilities.argmax(axis=1)  # [n]
  label_at_prediction = np.take_along_axis(object_labels, predicted[:, np.newaxis], axis=1)[:, 0]
  return float(np.mean(label_at_prediction >= object_labels.max(axis=1) - _LABEL_TOLERANCE))


class AuxiliaryEvaluator:
  """Metrics of the auxiliary tasks: `reset`, `update` once per image, `result`.

  auxiliary/multi_object_ranking_ap     mean over windows, then over images
  auxiliary/multi_object_kl             the same, in nats; 0 is perfect
  auxiliary/closeness_accuracy          mean over objects with neighbours, then over images
  auxiliary/foreground_pixel_accuracy   over all cells of all images, at probability 0.5
  auxiliary/foreground_iou              of the foreground, over all cells of all images
  auxiliary/foreground_ap               ranking AP of the cells, mean over images with foreground

  A task that no update carried has no keys. A figure for which nothing could be counted is NaN.
  """

  def __init__(self):
    self.reset()

  def reset(self) -> None:
    """Forgets every image."""
    self._seen: set[str] = set()
    self._multi_object: list[tuple[float, float]] = []
    self._closeness: list[float] = []
    self._foreground_ap: list[float] = []
    self._cells = {"all": 0, "right": 0, "intersection": 0, "union": 0}

  def update(
    self,
    *,
    window_probabilities: np.ndarray | None = None,
    window_labels: np.ndarray | None = None,
    window_weights: np.ndarray | None = None,
    closeness_probabilities: np.ndarray | None = None,
    closeness_labels: np.ndarray | None = None,
    closeness_valid: np.ndarray | None = None,
    foreground_probabilities: np.ndarray | None = None,
    foreground_labels: np.ndarray | None = None,
  ) -> None:
    """Adds one image. The arguments of a task are given together or not at all.

    Args:
      window_probabilities: float [S, C], softmax of the multi-object logits.
      window_labels: float [S, C].
      window_weights: float [S]; 0 where a window carries no loss.
      closeness_probabilities: float [N, C], softmax of the closeness logits at the proposal that
        matches each ground-truth box.
      closeness_labels: float [N, C].
      closeness_valid: bool [N], whether the box is real and has a matching proposal.
      foreground_probabilities: float [h, w], probability of foreground.
      foreground_labels: float or bool [h, w], 1 on objects.

    Raises:
      ValueError: if a task is given in part, shapes disagree, or a counted prediction is not
        finite.
    """
    window = _group(
      "SC SC S",
      window_probabilities=window_probabilities,
      window_labels=window_labels,
      window_weights=window_weights,
    )
    closeness = _group(
      "NC NC N",
      closeness_probabilities=closeness_probabilities,
      closeness_labels=closeness_labels,
      closeness_valid=closeness_valid,
    )
    foreground = _group(
      "hw hw",
      foreground_probabilities=foreground_probabilities,
      foreground_labels=foreground_labels,
    )
    if window is not None:
      self._seen.add("multi_object")
      scores = multi_object_scores(*window)
      if scores is not None:
        self._multi_object.append(scores)
    if closeness is not None:
      self._seen.add("closeness")
      accuracy = closeness_accuracy(*closeness)
      if accuracy is not None:
        self._closeness.append(accuracy)
    if foreground is not None:
      self._seen.add("foreground")
      self._add_foreground(*foreground)

  def result(self) -> dict[str, float]:
    """All figures of the images since `reset`."""
    figures = {}
    if "multi_object" in self._seen:
      figures["multi_object_ranking_ap"] = _mean([ranking for ranking, _ in self._multi_object])
      figures["multi_object_kl"] = _mean([divergence for _, divergence in self._multi_object])
    if "closeness" in self._seen:
      figures["closeness_accuracy"] = _mean(self._closeness)
    if "foreground" in self._seen:
      cells = self._cells
      figures["foreground_pixel_accuracy"] = _ratio(cells["right"], cells["all"])
      figures["foreground_iou"] = _ratio(cells["intersection"], cells["union"])
      figures["foreground_ap"] = _mean(self._foreground_ap)
    return {f"auxiliary/{name}": value for name, value in figures.items()}

  def _add_foreground(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
    _check_finite("foreground_probabilities", probabilities)
    label, predicted = labels > 0.5, probabilities > 0.5  # [h, w]
    self._cells["all"] += label.size
    self._cells["right"] += int(np.sum(label == predicted))
    self._cells["intersection"] += int(np.sum(label & predicted))
    self._cells["union"] += int(np.sum(label | predicted))
    if label.any():
      self._foreground_ap.append(ranking_average_precision(probabilities.ravel(), label.ravel()))


def _group(shapes: str, **arrays: np.ndarray | None) -> list[np.ndarray] | None:
  """The arrays of one task, or None; `shapes` names their axes, one word for each array."""
  missing = [name for name, array in arrays.items() if array is None]
  if len(missing) == len(arrays):
    return None
  if missing:
    raise ValueError(f"{', '.join(missing)} missing; accepted: all of {', '.join(arrays)}, or none")
  values = [np.asarray(array) for array in arrays.values()]
  sizes: dict[str, int] = {}
  for axes, value in zip(shapes.split(), values, strict=True):
    agrees = value.ndim == len(axes) and all(
      sizes.setdefault(axis, size) == size for axis, size in zip(axes, value.shape, strict=True)
    )
    if not agrees:
      found = ", ".join(f"{name} {list(np.shape(array))}" for name, array in arrays.items())
      wanted = ", ".join(f"[{', '.join(axes)}]" for axes in shapes.split())
      raise ValueError(f"shapes disagree: {found}; accepted: {wanted}")
  return [value if value.dtype == bool else value.astype(np.float64) for value in values]


def _check_finite(name: str, array: np.ndarray) -> None:
  if not np.isfinite(array).all():
    raise ValueError(f"{name} holds values that are not finite; accepted: numbers")


def _mean(values: list[float]) -> float:
  return float(np.mean(values)) if values else float("nan")


def _ratio(part: int, whole: int) -> float:
  return part / whole if whole else float("nan")
