"""Counts which class is taken for which, among detections of a chosen score and more."""

from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.evaluation import tables, voc_metrics

BACKGROUND = "background"


class ConfusionMatrix:
  """Counts of true and detected class: `reset`, `update` once per image, `result`.

  First the detections find objects of their own class by the rules of `voc_metrics`; those on
  difficult objects are left out. Then, by descending score, each of the others takes the object
  still free that it overlaps most, by `match_iou` at least, and counts as taken for its class.
  What is left over is background: a detection where there is no object, or an object that no
  detection found. So the diagonal holds the true positives that the metrics count.

  Attributes:
    class_names: names of the object classes; class id i is `class_names[i - 1]`.
    score_threshold: of the detections that count.
  """

  def __init__(
    self,
    class_names: Sequence[str],
    *,
    score_threshold: float = 0.5,
    match_iou: float = 0.5,
    inclusive_pixels: bool = False,
  ):
    self.class_names = tuple(class_names)
    self.score_threshold = score_threshold
    self._match_iou = match_iou
    self._inclusive_pixels = inclusive_pixels
    self.reset()

  def reset(self) -> None:
    """Forgets every image."""
    C = len(self.class_names) + 1
    self._counts = np.zeros([C, C], np.int64)

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
    real = gt_classes > 0
    gt_boxes, gt_classes, gt_ignored = gt_boxes[real], gt_classes[real], gt_ignored[real]
    rows = (detection_classes > 0) & (detection_scores >= self.score_threshold)
    order = np.argsort(-detection_scores[rows], kind="stable")
    boxes = detection_boxes[rows][order]
    scores, classes = detection_scores[rows][order], detection_classes[rows][order]
    same_class = classes[:, np.newaxis] == gt_classes  # [D, N]
    outcomes = voc_metrics.match_detections(
      boxes,
      scores,
      gt_boxes,
      gt_ignored,
      self._match_iou,
      self._inclusive_pixels,
      same_class=same_class,
    )
    iou = voc_metrics.pairwise_iou(boxes, gt_boxes, self._inclusive_pixels)  # [D, N]
    is_match = outcomes == voc_metrics.Outcome.TRUE_POSITIVE
    free = ~gt_ignored.astype(bool)
    matched = np.where(same_class, iou, -1.0)[is_match]
    free[matched.argmax(axis=1) if len(matched) else []] = False
    np.add.at(self._counts, (classes[is_match], classes[is_match]), 1)
    for d in np.flatnonzero(outcomes == voc_metrics.Outcome.FALSE_POSITIVE):
      overlaps = np.where(free, iou[d], 0.0)
      best = overlaps.argmax() if len(overlaps) else -1
      if best >= 0 and overlaps[best] >= self._match_iou:
        free[best] = False
        self._counts[gt_classes[best], classes[d]] += 1
      else:
        self._counts[0, classes[d]] += 1
    np.add.at(self._counts, (gt_classes[free], 0), 1)

  def result(self) -> np.ndarray:
    """int64 [C, C]: objects of class [row] detected as class [column]; 0 is the background."""
    return self._counts.copy()

  def table(self) -> str:
    """The matrix as text, background last."""
    counts = np.roll(self._counts, -1, axis=(0, 1))
    names = [*self.class_names, BACKGROUND]
    return tables.text_table(
      f"Confusion matrix at score {self.score_threshold:g} and IoU {self._match_iou:g}:"
      " true class by row, detected class by column",
      ["", *names],
      [[name, *map(str, row)] for name, row in zip(names, counts.tolist(), strict=True)],
    )
