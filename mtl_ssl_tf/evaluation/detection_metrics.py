"""The metrics that an evaluation asks for, fed together, image by image."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtl_ssl_tf.evaluation import (
  coco_evaluator,
  confusion_matrix,
  error_analysis,
  error_words,
  voc_evaluator,
)

METRICS = ("voc", "coco")


class DetectionMetrics:
  """VOC and COCO metrics, errors and confusions: `reset`, `update` once per image, `result`.

  VOC metrics, errors and confusions know one kind of object that counts neither for nor against:
  difficult ones and crowds alike. COCO metrics take crowds as COCO's, difficult objects as ignored.

  Attributes:
    class_names: names of the object classes; class id i is `class_names[i - 1]`.
    main_key: name of the figure to select checkpoints by, of the first metric.
  """

  def __init__(
    self,
    class_names: Sequence[str],
    metrics: Sequence[str] = ("voc",),
    *,
    iou_threshold: float = 0.5,
    ap_rule: str = "area",
    inclusive_pixels: bool = False,
    errors: bool = False,
    score_threshold: float = 0.5,
    figures_only: bool = False,
  ):
    """Makes empty evaluators.

    Args:
      class_names: names of the object classes in the order of their ids, without background.
      metrics: some of `METRICS`, each once.
      iou_threshold: of VOC metrics, errors and confusions: smallest IoU that is a match.
      ap_rule: of the same: "area" or "11point".
      inclusive_pixels: of the same; see `voc_metrics.pairwise_iou`.
      errors: whether figures, tables and details have errors and confusions; `words` always has.
      score_threshold: of the detections among which errors and confusions are counted.
      figures_only: count no errors and confusions, for `result` alone and without `errors`.

    Raises:
      ValueError: if a setting is out of range.
    """
    if not metrics or len(set(metrics)) != len(metrics) or not set(metrics) <= set(METRICS):
      raise ValueError(f"metrics is {list(metrics)}; accepted: {' or '.join(METRICS)}, or both")
    self.class_names = tuple(class_names)
    # Curves and the AP by class in pictures come from it, whatever the metrics.
    self._voc = voc_evaluator.VOCEvaluator(class_names, iou_threshold, ap_rule, inclusive_pixels)
    self._coco = coco_evaluator.COCOEvaluator(class_names) if "coco" in metrics else None
    self._metrics, self._ap_rule = tuple(metrics), ap_rule
    self._reports_errors = errors
    self._errors = error_analysis.ErrorAnalyzer(
      class_names,
      match_iou=iou_threshold,
      background_iou=min(0.1, iou_threshold),
      ap_rule=ap_rule,
      inclusive_pixels=inclusive_pixels,
      score_threshold=score_threshold,
    )
    self._confusion = confusion_matrix.ConfusionMatrix(
      class_names,
      score_threshold=score_threshold,
      match_iou=iou_threshold,
      inclusive_pixels=inclusive_pixels,
    )
    self._analysis = () if figures_only else (self._errors, self._confusion)
    self.main_key = {"voc": self._voc.main_key, "coco": coco_evaluator.MAIN_KEY}[metrics[0]]

  def reset(self) -> None:
    """Forgets every image."""
    for evaluator in (self._voc, self._coco, self._errors, self._confusion):
      if evaluator is not None:
        evaluator.reset()

  def update(
    self,
    *,
    image_id: int | str,
    gt_boxes: np.ndarray,
    gt_classes: np.ndarray,
    gt_difficult: np.ndarray,
    gt_is_crowd: np.ndarray,
    gt_areas: np.ndarray,
    detection_boxes: np.ndarray,
    detection_scores: np.ndarray,
    detection_classes: np.ndarray,
    gt_boxes_xywh: np.ndarray | None = None,
    detection_boxes_xywh: np.ndarray | None = None,
  ) -> None:
    """Adds one image; boxes are in pixels of the file.

    Args:
      image_id: of which each comes once.
      gt_boxes: float [N, 4], ymin, xmin, ymax, xmax.
      gt_classes: int [N], 1 ... C-1; rows of 0 or less are padding.
      gt_difficult: bool [N].
      gt_is_crowd: bool [N].
      gt_areas: float [N], square pixels.
      detection_boxes: float [D, 4].
      detection_scores: float [D].
      detection_classes: int [D], 1 ... C-1; rows of 0 or less are padding.
      gt_boxes_xywh: float [N, 4], the same objects as COCO has them, where they come from there;
        computing them from corners would round.
      detection_boxes_xywh: float [D, 4], likewise.

    Raises:
      ValueError: see `VOCEvaluator.update` and `COCOEvaluator.update`.
    """
    detections = (detection_boxes, detection_scores, detection_classes)
    ignored = np.asarray(gt_difficult, bool) | np.asarray(gt_is_crowd, bool)
    self._voc.update(gt_boxes, gt_classes, ignored, *detections, image_id)
    if self._coco is not None:
      if gt_boxes_xywh is None:
        gt_boxes_xywh = coco_evaluator.to_xywh(gt_boxes)
      if detection_boxes_xywh is None:
        detection_boxes_xywh = coco_evaluator.to_xywh(detection_boxes)
      self._coco.update(
        image_id=image_id,
        gt_boxes_xywh=gt_boxes_xywh,
        gt_classes=gt_classes,
        gt_is_crowd=gt_is_crowd,
        gt_ignored=gt_difficult,
        gt_areas=gt_areas,
        detection_boxes_xywh=detection_boxes_xywh,
        detection_scores=detection_scores,
        detection_classes=detection_classes,
      )
    for evaluator in self._analysis:
      evaluator.update(gt_boxes, gt_classes, ignored, *detections)

  def result(self) -> dict[str, float]:
    """All figures of the images since `reset`; the keys are always the same."""
    figures = {}
    for metric in self._metrics:
      figures |= self._voc.result() if metric == "voc" else self._coco.result()
    return figures | (self._errors.result() if self._reports_errors else {})

  def tables(self) -> str:
    """All figures as text tables. Confusions of more than 20 classes are too wide for that."""
    parts = [
      voc_evaluator.class_table(self._voc) if metric == "voc" else self._coco.tables()
      for metric in self._metrics
    ]
    if self._reports_errors:
      parts.append(self._errors.tables())
      if len(self.class_names) <= 20:
        parts.append(self._confusion.table())
    return "\n\n".join(parts)

  def words(self) -> list[str]:
    """Returns lines on which kind of error costs most; none without objects."""
    return error_words.describe(
      self._voc.result()[self._voc.main_key],
      error_analysis.mean_costs(self._errors.class_costs()),
      self._confusion.result(),
      self.class_names,
      self._confusion.score_threshold,
    )

  def confusion(self) -> dict[str, Any]:
    """Returns `class_names`, `confusion`, int [C, C], `score_threshold` and `iou_threshold`."""
    return {
      "class_names": list(self.class_names),
      "confusion": self._confusion.result(),
      "score_threshold": self._confusion.score_threshold,
      "iou_threshold": self._voc.iou_threshold,
    }

  def details(self) -> dict[str, Any]:
    """Returns what files and pictures show beyond the figures.

    Returns:
      `class_names`, `ap_rule` and `iou_threshold` of what follows; `curves`, float [R, 3] by class;
      `average_precision` by class; and with errors `class_costs` and `class_counts`, [C - 1] by
      kind, `costs` by kind, `confusion`, int [C, C], and `score_threshold`.
    """
    found = {
      "class_names": list(self.class_names),
      "ap_rule": self._ap_rule,
      "iou_threshold": self._voc.iou_threshold,
      "curves": self._voc.curves(),
      "average_precision": {
        entry.name: entry.average_precision[self._ap_rule] for entry in self._voc.class_results()
      },
    }
    if self._reports_errors:
      class_costs = self._errors.class_costs()
      found |= {
        "class_costs": class_costs,
        "costs": error_analysis.mean_costs(class_costs),
        "class_counts": self._errors.class_counts(),
        **self.confusion(),
      }
    return found
