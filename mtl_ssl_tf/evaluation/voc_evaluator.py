"""Collects detections image by image and reports VOC average precision per class and as a mean."""

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mtl_ssl_tf.evaluation import tables, voc_metrics


class ClassResult(NamedTuple):
  """The result of one class: counts, and its AP (a fraction, or NaN) by each rule."""

  name: str
  num_ground_truth: int  # difficult objects excluded
  num_difficult: int
  num_detections: int
  average_precision: dict[str, float]


class _RankedClass(NamedTuple):
  """The detections of one class.

  Attributes:
    name: of the class.
    num_detections: all of them, also those on difficult objects.
    scores: float64 [R], of the counted detections, best first.
    hits: bool [R], whether each of them is a true positive; in the order of `rank_hits`.
  """

  name: str
  num_detections: int
  scores: np.ndarray
  hits: np.ndarray


class VOCEvaluator:
  """VOC detection metrics: `reset`, `update` once per image, `result`.

  Both AP rules are always reported, under names that say the rule: `voc/mAP50_area`,
  `voc/mAP50_11point`, `voc/AP50_area/<class>`, `voc/AP50_11point/<class>`. Values are fractions. A
  class without ground truth has AP NaN and is left out of the mean.

  Attributes:
    class_names: names of the object classes; class id i is `class_names[i - 1]`.
    iou_threshold: smallest IoU that is a match.
    inclusive_pixels: whether sides are counted as max - min + 1.
    main_key: name of the mean AP by the chosen rule, the one to select checkpoints by.
  """

  def __init__(
    self,
    class_names: Sequence[str],
    iou_threshold: float = 0.5,
    ap_rule: str = "area",
    inclusive_pixels: bool = False,
  ):
    """Makes an empty evaluator.

    Args:
      class_names: names of the object classes in the order of their ids, without background.
      iou_threshold: smallest IoU that is a match, in (0, 1].
      ap_rule: "area" or "11point", the rule of `main_key`.
      inclusive_pixels: see `voc_metrics.pairwise_iou`.

    Raises:
      ValueError: if names repeat, or the threshold or the rule is out of range.
    """
    self.class_names = tuple(class_names)
    repeated = {name for name in self.class_names if self.class_names.count(name) > 1}
    if repeated:
      raise ValueError(
        f"class_names repeats {sorted(repeated)}; accepted: a name of its own for each class"
      )
    if not 0.0 < iou_threshold <= 1.0:
      raise ValueError(f"iou_threshold is {iou_threshold}; accepted: above 0, at most 1")
    if ap_rule not in voc_metrics.AP_RULES:
      raise ValueError(f"ap_rule is {ap_rule!r}; accepted: {', '.join(voc_metrics.AP_RULES)}")
    self.iou_threshold = iou_threshold
    self.inclusive_pixels = inclusive_pixels
    self._threshold_name = f"{100.0 * iou_threshold:g}"
    self.main_key = f"voc/mAP{self._threshold_name}_{ap_rule}"
    self.reset()

  def reset(self) -> None:
    """Forgets every image."""
    num_classes = len(self.class_names) + 1
    self._num_ground_truth = np.zeros(num_classes, np.int64)  # [C]
    self._num_difficult = np.zeros(num_classes, np.int64)  # [C]
    # Class ids, scores and outcomes of each image's detections, [D] each.
    self._detections: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    self._image_ids: set[Hashable] = set()

  def update(
    self,
    gt_boxes: np.ndarray,
    gt_classes: np.ndarray,
    gt_difficult: np.ndarray | None,
    detection_boxes: np.ndarray,
    detection_scores: np.ndarray,
    detection_classes: np.ndarray,
    image_id: Hashable | None = None,
  ) -> None:
    """Adds one image. The two sets of boxes may be in any frame, but in the same one.

    Args:
      gt_boxes: float [N, 4].
      gt_classes: int [N], 1 ... C-1; rows of 0 or less are padding.
      gt_difficult: bool [N], or None where no object is difficult.
      detection_boxes: float [D, 4].
      detection_scores: float [D].
      detection_classes: int [D], 1 ... C-1; rows of 0 or less are padding.
      image_id: anything hashable. If given, an image that comes twice is an error; otherwise a
        last batch filled up with repeated images would go unnoticed into the figures.

    Raises:
      ValueError: if shapes disagree, a class id is unknown, a score is not finite, or the image
        was already added.
    """
    image = "image" if image_id is None else f"image {image_id!r}"
    if image_id is not None and image_id in self._image_ids:
      raise ValueError(f"{image} was already added; accepted: each image once")
    if gt_difficult is None:
      gt_difficult = np.zeros(len(gt_classes), bool)
    gt_boxes, gt_classes, gt_difficult = self._valid_rows(
      f"{image}: gt_", gt_boxes, gt_classes, "difficult", gt_difficult
    )
    detection_boxes, detection_classes, detection_scores = self._valid_rows(
      f"{image}: detection_", detection_boxes, detection_classes, "scores", detection_scores
    )
    if not np.isfinite(detection_scores).all():
      raise ValueError(
        f"{image}: detection_scores holds values that are not finite; accepted: numbers"
      )

    gt_difficult = gt_difficult.astype(bool)
    num_classes = len(self.class_names) + 1
    self._num_ground_truth += np.bincount(gt_classes[~gt_difficult], minlength=num_classes)
    self._num_difficult += np.bincount(gt_classes[gt_difficult], minlength=num_classes)
    outcomes = voc_metrics.match_detections(
      detection_boxes,
      detection_scores,
      gt_boxes,
      gt_difficult,
      self.iou_threshold,
      self.inclusive_pixels,
      same_class=detection_classes[:, np.newaxis] == gt_classes,  # [D, N]
    )
    self._detections.append((detection_classes, detection_scores, outcomes))
    if image_id is not None:
      self._image_ids.add(image_id)

  def class_results(self) -> list[ClassResult]:
    """Counts and average precisions of every class, in the order of `class_names`."""
    results = []
    for class_id, ranked in enumerate(self._ranked_classes(), start=1):
      num_ground_truth = int(self._num_ground_truth[class_id])
      average_precision = {
        rule: voc_metrics.average_precision(ranked.hits, num_ground_truth, rule)
        for rule in voc_metrics.AP_RULES
      }
      num_difficult = int(self._num_difficult[class_id])
      results.append(
        ClassResult(
          ranked.name, num_ground_truth, num_difficult, ranked.num_detections, average_precision
        )
      )
    return results

  def curves(self) -> dict[str, np.ndarray]:
    """The precision-recall points of every class by its name, best score first.

    Returns:
      float64 [R, 3] each: recall, precision and score of each counted detection; those on
      difficult objects are left out. Recall is NaN for a class without ground truth.
    """
    return {
      ranked.name: np.column_stack(
        [
          voc_metrics.precision_recall(ranked.hits, int(self._num_ground_truth[class_id])),
          ranked.scores,
        ]
      )
      for class_id, ranked in enumerate(self._ranked_classes(), start=1)
    }

  def result(self) -> dict[str, float]:
    """All figures of the images since `reset`, means first; the keys are always the same."""
    classes = self.class_results()
    means = {
      f"voc/mAP{self._threshold_name}_{rule}": voc_metrics.mean_average_precision(
        [entry.average_precision[rule] for entry in classes]
      )
      for rule in voc_metrics.AP_RULES
    }
    per_class = {
      f"voc/AP{self._threshold_name}_{rule}/{entry.name}": entry.average_precision[rule]
      for rule in voc_metrics.AP_RULES
      for entry in classes
    }
    return means | per_class

  def _ranked_classes(self) -> Iterator[_RankedClass]:
    """Yields the detections of each class, in the order of `class_names`."""
    detections = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int8)), *self._detections]
    classes, scores, outcomes = map(np.concatenate, zip(*detections, strict=True))  # [D]
    by_class = np.argsort(classes, kind="stable")  # [D]
    ends = np.cumsum(np.bincount(classes, minlength=len(self.class_names) + 1))  # [C]
    for class_id, name in enumerate(self.class_names, start=1):
      rows = by_class[ends[class_id - 1] : ends[class_id]]
      counted = rows[outcomes[rows] != voc_metrics.Outcome.IGNORED]
      ranked_scores = np.sort(scores[counted])[::-1]  # [R]
      hits = voc_metrics.rank_hits(scores[rows], outcomes[rows])  # [R]
      yield _RankedClass(name, len(rows), ranked_scores, hits)

  def _valid_rows(
    self,
    prefix: str,
    boxes: np.ndarray,
    classes: np.ndarray,
    values_name: str,
    values: np.ndarray,
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checks the rows of one image and drops the padding; `prefix` opens the messages."""
    boxes, classes, values = np.asarray(boxes), np.asarray(classes), np.asarray(values)
    if classes.ndim != 1 or boxes.shape != (len(classes), 4) or values.shape != classes.shape:
      raise ValueError(
        f"{prefix}boxes {list(boxes.shape)}, classes {list(classes.shape)}, "
        f"{values_name} {list(values.shape)}; accepted: [n, 4], [n], [n] with one n"
      )
    if classes.size and classes.max() > len(self.class_names):
      raise ValueError(
        f"{prefix}classes holds {classes.max()}; accepted: 1 to {len(self.class_names)}, "
        "and 0 or less for padding"
      )
    valid = classes > 0
    return boxes[valid], classes[valid].astype(np.int64), values[valid]


def class_table(evaluator: VOCEvaluator) -> str:
  """A text table of an evaluator's classes and their mean, APs in percent.

  Objects are counted without the difficult ones. A dash marks a class without ground truth.
  """

  classes = evaluator.class_results()
  rules = voc_metrics.AP_RULES
  means = [
    voc_metrics.mean_average_precision([entry.average_precision[rule] for entry in classes])
    for rule in rules
  ]
  header = ["class", "objects", "difficult", "detections", *(f"AP {rule}" for rule in rules)]
  body = [
    [
      entry.name,
      str(entry.num_ground_truth),
      str(entry.num_difficult),
      str(entry.num_detections),
      *(tables.percent(entry.average_precision[rule]) for rule in rules),
    ]
    for entry in classes
  ]
  num_counted = sum(entry.num_ground_truth > 0 for entry in classes)
  totals = (
    sum(entry.num_ground_truth for entry in classes),
    sum(entry.num_difficult for entry in classes),
    sum(entry.num_detections for entry in classes),
  )
  footer = [f"mean of {num_counted}", *map(str, totals), *map(tables.percent, means)]
  title = f"VOC average precision at IoU {evaluator.iou_threshold:g}, percent"
  if evaluator.inclusive_pixels:
    title += ", inclusive pixels"
  return tables.text_table(title, header, body, footer)
