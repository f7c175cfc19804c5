"""Sorts a detector's errors into five kinds, and measures the mean AP that each kind costs.

Detections are judged by the rules of `voc_metrics`. Those that are false positives, and the objects
that remain unfound, are sorted by these rules, the first that fits:

  redundancy      reaches an object of its class that a better scored detection has found
  localisation    overlaps an object of its own class most of all, but too little for a match
  classification  overlaps an object of another class most of all
  background      overlaps no object by `background_iou`
  false negative  an object without a match that no localisation or classification error lies on

The cost of a kind is the mean AP gained once its errors are fixed and all else stays: wrong boxes
and classes become matches of their object, or vanish where it is found or another error of the kind
has a better score; redundant detections and those on background vanish; objects without a match are
no longer asked for. Costs do not add up to what is missing.

The bounds follow Hoiem et al., "Diagnosing Error in Object Detectors", ECCV 2012 (a localisation
error overlaps by 0.1 at least), the fixing Bolya et al., "TIDE: A General Toolbox for Identifying
Object Detection Errors", ECCV 2020. The kinds are those of Lee et al., "Multi-task Self-supervised
Object Detection", CVPR 2019, which gives no bounds.

Letters: D detections, N ground-truth objects, C classes with background.
"""

import enum
from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.evaluation import tables, voc_metrics


class Verdict(enum.IntEnum):
  """The verdict on a detection: a match, ignored, or a kind of error."""

  MATCH = 0
  IGNORED = 1
  LOCALISATION = 2
  CLASSIFICATION = 3
  REDUNDANCY = 4
  BACKGROUND = 5


KINDS = ("localisation", "classification", "redundancy", "background", "false_negative")
_VERDICTS = dict(zip(KINDS, list(Verdict)[2:], strict=False))


def judge(
  detection_boxes: np.ndarray,
  detection_scores: np.ndarray,
  detection_classes: np.ndarray,
  gt_boxes: np.ndarray,
  gt_classes: np.ndarray,
  gt_ignored: np.ndarray,
  *,
  match_iou: float = 0.5,
  background_iou: float = 0.1,
  inclusive_pixels: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
  """Sorts the detections of one image.

  Args:
    detection_boxes: float [D, 4], in any frame that `gt_boxes` shares; no padding.
    detection_scores: float [D].
    detection_classes: int [D].
    gt_boxes: float [N, 4], no padding.
    gt_classes: int [N].
    gt_ignored: bool [N], difficult objects and crowds.
    match_iou: smallest IoU that is a match.
    background_iou: smallest IoU with an object that is no background.
    inclusive_pixels: see `voc_metrics.pairwise_iou`.

  Returns:
    int8 [D], values of `Verdict`, and int64 [D], the object that a detection matches or lies on;
    -1 on background.
  """
  verdicts = np.full(len(detection_boxes), Verdict.BACKGROUND, np.int8)
  objects = np.full(len(detection_boxes), -1, np.int64)
  if not len(detection_boxes) or not len(gt_boxes):
    return verdicts, objects
  same_class = detection_classes[:, np.newaxis] == gt_classes  # [D, N]
  outcomes = voc_metrics.match_detections(
    detection_boxes,
    detection_scores,
    gt_boxes,
    gt_ignored,
    match_iou,
    inclusive_pixels,
    same_class=same_class,
  )
  iou = voc_metrics.pairwise_iou(detection_boxes, gt_boxes, inclusive_pixels)  # [D, N]
  own_iou = np.where(same_class, iou, -1.0)
  own_object, any_object = own_iou.argmax(axis=1), iou.argmax(axis=1)  # [D]
  own_best, any_best = own_iou.max(axis=1), iou.max(axis=1)  # [D]

  near = any_best >= background_iou
  objects[near], verdicts[near] = any_object[near], Verdict.CLASSIFICATION
  # Of an object of its own class and one of another with equal overlaps, its own decides.
  own = near & (own_best == any_best)
  objects[own], verdicts[own] = own_object[own], Verdict.LOCALISATION
  reached = own_best >= match_iou
  objects[reached], verdicts[reached] = own_object[reached], Verdict.REDUNDANCY
  verdicts[outcomes == voc_metrics.Outcome.TRUE_POSITIVE] = Verdict.MATCH
  verdicts[outcomes == voc_metrics.Outcome.IGNORED] = Verdict.IGNORED
  return verdicts, objects


class ErrorAnalyzer:
  """Counts and costs of the five kinds of error: `reset`, `update` once per image, `result`.

  `errors/cost/<kind>` is mean AP, a fraction, lost to the kind; `errors/count/<kind>` is how many
  there are among the detections of `score_threshold` and more.

  Attributes:
    class_names: names of the object classes; class id i is `class_names[i - 1]`.
  """

  def __init__(
    self,
    class_names: Sequence[str],
    *,
    match_iou: float = 0.5,
    background_iou: float = 0.1,
    ap_rule: str = "area",
    inclusive_pixels: bool = False,
    score_threshold: float = 0.5,
  ):
    """Makes an empty analyzer.

    Args:
      class_names: names of the object classes in the order of their ids, without background.
      match_iou: see `judge`.
      background_iou: see `judge`.
      ap_rule: see `voc_metrics.average_precision`.
      inclusive_pixels: see `voc_metrics.pairwise_iou`.
      score_threshold: of the detections that are counted; the costs take all into account.

    Raises:
      ValueError: if an overlap is out of range.
    """
    if not 0.0 < background_iou <= match_iou <= 1.0:
      raise ValueError(
        f"background_iou and match_iou are {background_iou} and {match_iou}; accepted:"
        " 0 < background_iou <= match_iou <= 1"
      )
    self.class_names = tuple(class_names)
    self._options = {
      "match_iou": match_iou,
      "background_iou": background_iou,
      "inclusive_pixels": inclusive_pixels,
    }
    self._ap_rule = ap_rule
    self._score_threshold = score_threshold
    self.reset()

  def reset(self) -> None:
    """Forgets every image."""
    # Class, score, verdict and object of each image's detections; class and ignored of its objects.
    self._detections = [(np.zeros(0, int), np.zeros(0), np.zeros(0, np.int8), np.zeros(0, int))]
    self._objects = [(np.zeros(0, int), np.zeros(0, bool))]
    self._num_objects = 0

  def update(
    self,
    gt_boxes: np.ndarray,
    gt_classes: np.ndarray,
    gt_ignored: np.ndarray,
    detection_boxes: np.ndarray,
    detection_scores: np.ndarray,
    detection_classes: np.ndarray,
  ) -> None:
    """Adds one image.

    Args:
      gt_boxes: float [N, 4].
      gt_classes: int [N], 1 ... C-1; rows of 0 or less are padding.
      gt_ignored: bool [N], difficult objects and crowds.
      detection_boxes: float [D, 4].
      detection_scores: float [D].
      detection_classes: int [D], 1 ... C-1; rows of 0 or less are padding.
    """
    real, valid = gt_classes > 0, detection_classes > 0
    gt_classes, gt_ignored = gt_classes[real], gt_ignored[real]
    scores, classes = detection_scores[valid], detection_classes[valid]
    verdicts, objects = judge(
      detection_boxes[valid],
      scores,
      classes,
      gt_boxes[real],
      gt_classes,
      gt_ignored,
      **self._options,
    )
    objects = np.where(objects < 0, -1, objects + self._num_objects)
    self._detections.append((classes, scores, verdicts, objects))
    self._objects.append((gt_classes, gt_ignored))
    self._num_objects += len(gt_classes)

  def result(self) -> dict[str, float]:
    """Costs and counts of all images since `reset`; the keys are always the same."""
    means = mean_costs(self.class_costs())
    counts = self.class_counts()
    costs = {f"errors/cost/{kind}": means[kind] for kind in KINDS}
    return costs | {f"errors/count/{kind}": float(counts[kind].sum()) for kind in KINDS}

  def class_counts(self) -> dict[str, np.ndarray]:
    """Returns errors of each kind by class, int64 [C - 1].

    The class is the detected one, or, of objects without a match, the object's.
    """
    classes, scores, verdicts, objects = map(np.concatenate, zip(*self._detections, strict=True))
    counted = scores >= self._score_threshold
    missed = self._missed(verdicts[counted], objects[counted])
    gt_classes = np.concatenate([entry[0] for entry in self._objects])
    counts = {
      kind: self._count(classes[counted & (verdicts == verdict)])
      for kind, verdict in _VERDICTS.items()
    }
    return counts | {"false_negative": self._count(gt_classes[missed])}

  def class_costs(self) -> dict[str, np.ndarray]:
    """Returns the AP that each class gains by fixing one kind of error, float64 [C - 1] by kind.

    NaN for a class without objects. May be negative for one class: a detection that is given its
    right class competes there.
    """
    classes, scores, verdicts, objects = map(np.concatenate, zip(*self._detections, strict=True))
    gt_classes, gt_ignored = map(np.concatenate, zip(*self._objects, strict=True))
    num_objects = self._count(gt_classes[~gt_ignored])
    before = self._average_precisions(classes, scores, verdicts, num_objects)
    found = np.zeros(len(gt_classes), bool)
    found[objects[verdicts == Verdict.MATCH]] = True
    costs = {}
    for kind, verdict in _VERDICTS.items():
      fixed, fixed_classes = verdicts.copy(), classes.copy()
      rows = np.flatnonzero(verdicts == verdict)
      fixed[rows] = Verdict.IGNORED
      if verdict in (Verdict.LOCALISATION, Verdict.CLASSIFICATION):
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        _, first = np.unique(objects[rows], return_index=True)
        rows = rows[first]
        rows = rows[~found[objects[rows]] & ~gt_ignored[objects[rows]]]
        fixed[rows], fixed_classes[rows] = Verdict.MATCH, gt_classes[objects[rows]]
      costs[kind] = self._average_precisions(fixed_classes, scores, fixed, num_objects) - before
    missed = self._count(gt_classes[self._missed(verdicts, objects)])
    after = self._average_precisions(classes, scores, verdicts, num_objects - missed)
    # A class none of whose objects is found or nearly found would be perfect without them.
    after[(num_objects > 0) & (num_objects == missed)] = 1.0
    return costs | {"false_negative": after - before}

  def tables(self) -> str:
    """Costs and counts of the kinds, and the costs for each class, in percent of AP."""
    costs, counts = self.class_costs(), self.class_counts()
    means = mean_costs(costs)
    options = self._options
    kinds = tables.text_table(
      f"Errors at IoU {options['match_iou']:g} (background below {options['background_iou']:g}):"
      f" mean AP that fixing a kind gains, percent, and number at score"
      f" {self._score_threshold:g} and more",
      ["kind", "cost", "number"],
      [
        [kind.replace("_", " "), tables.percent(means[kind]), str(counts[kind].sum())]
        for kind in KINDS
      ],
    )
    per_class = tables.text_table(
      "AP that fixing a kind of error gains, percent",
      ["class", *(kind.replace("_", " ") for kind in KINDS)],
      [
        [name, *(tables.percent(costs[kind][number]) for kind in KINDS)]
        for number, name in enumerate(self.class_names)
      ],
    )
    return f"{kinds}\n\n{per_class}"

  def _missed(self, verdicts: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Returns bool [N], the objects that no detection matches or nearly matches."""
    missed = ~np.concatenate([entry[1] for entry in self._objects])
    near = (Verdict.MATCH, Verdict.LOCALISATION, Verdict.CLASSIFICATION)
    missed[objects[np.isin(verdicts, near)]] = False
    return missed

  def _count(self, classes: np.ndarray) -> np.ndarray:
    """Returns how often each class occurs, int64 [C - 1]."""
    return np.bincount(classes, minlength=len(self.class_names) + 1)[1:]

  def _average_precisions(
    self, classes: np.ndarray, scores: np.ndarray, verdicts: np.ndarray, num_objects: np.ndarray
  ) -> np.ndarray:
    """AP of each class, float64 [C - 1]."""
    counted = np.flatnonzero(verdicts != Verdict.IGNORED)
    # By class, and in it by descending score; equal scores stay in order.
    order = counted[np.lexsort((-scores[counted], classes[counted]))]
    hits = verdicts[order] == Verdict.MATCH
    ends = np.searchsorted(classes[order], np.arange(1, len(self.class_names) + 1), side="right")
    starts = np.append(0, ends[:-1])
    return np.array(
      [
        voc_metrics.average_precision(hits[start:end], int(number), self._ap_rule)
        for start, end, number in zip(starts, ends, num_objects, strict=True)
      ]
    )


def mean_costs(class_costs: dict[str, np.ndarray]) -> dict[str, float]:
  """The mean of each kind's costs over the classes that have objects."""
  return {kind: voc_metrics.mean_average_precision(costs) for kind, costs in class_costs.items()}
