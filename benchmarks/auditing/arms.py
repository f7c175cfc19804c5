"""Rules that rank detections by how probably they are objects without a box: ours and others'.

  cleanlab   `compute_overlooked_box_scores` of cleanlab 2.9: detections of score 0.95 and more
             whose IoU with every annotated box is 0, by similarity with the nearest box of their
             class, 0.9 IoU + 0.1 exp(-0.1 distance), the least similar first; without such a box by
             the least similarity of the data set times 1 - score
  fiftyone   `compute_mistakenness` of FiftyOne's brain: detections that match no annotated box of
             any class at an IoU of 0.5 and score more than 0.95, by score
  ..._low    the same without the bound on scores
  score      all detections that match no annotated box of their class, by score
  ours       `mtl_ssl_tf.auditing`

Written from the definitions, which are published; distances are between centres, in pixels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mtl_ssl_tf.auditing import candidates, places
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import voc_metrics

_CONFIDENT = 0.95
_IOU_WEIGHT, _DECAY = 0.9, 0.1


class Ranking(NamedTuple):
  """Detections of a data set, the most probable objects without a box first.

  Attributes:
    images: int64 [R], place of the image.
    boxes: float64 [R, 4], ymin, xmin, ymax, xmax.
    classes: int64 [R].
    values: float64 [R], falling.
  """

  images: np.ndarray
  boxes: np.ndarray
  classes: np.ndarray
  values: np.ndarray


Rule = Callable[[ground_truth.GroundTruth, Sequence[detection_files.Detections]], Ranking]


def ours(truth: ground_truth.GroundTruth, found: Sequence[detection_files.Detections]) -> Ranking:
  """Ranks as the audit does."""
  rows = [row for row in candidates.find(truth, found).candidates if row.kind == candidates.MISSING]
  boxes = ground_truth.Boxes.from_xywh(np.array([row.proposed_box for row in rows]))
  return Ranking(
    np.array([row.image for row in rows], np.int64),
    boxes.corners,
    np.array([row.proposed_class for row in rows], np.int64),
    np.array([row.probability for row in rows]),
  )


def score(truth: ground_truth.GroundTruth, found: Sequence[detection_files.Detections]) -> Ranking:
  """Ranks detections without a box of their class by score."""
  rows = []
  for image, detections in zip(truth.images, found, strict=True):
    one = places.pair(image, detections)
    is_open = ~one.is_matched & ~one.is_ignored
    rows.append((one.boxes[is_open], one.classes[is_open], one.scores[is_open]))
  return _ranked(rows)


def fiftyone(least_score: float) -> Rule:
  """Returns the rule of FiftyOne's brain with a bound on scores."""

  def rank(truth: ground_truth.GroundTruth, found: Sequence[detection_files.Detections]) -> Ranking:
    rows = []
    for image, detections in zip(truth.images, found, strict=True):
      boxes, scores = detections.boxes.corners, detections.scores
      outcomes = voc_metrics.match_detections(
        boxes, scores, image.boxes.corners, np.zeros(len(image.classes), bool)
      )
      missing = (outcomes == voc_metrics.Outcome.FALSE_POSITIVE) & (scores > least_score)
      rows.append((boxes[missing], detections.classes[missing], scores[missing]))
    return _ranked(rows)

  return rank


def cleanlab(least_score: float) -> Rule:
  """Returns cleanlab's rule with a bound on scores."""

  def rank(truth: ground_truth.GroundTruth, found: Sequence[detection_files.Detections]) -> Ranking:
    similar = [
      _similarity(image.boxes.corners, detections.boxes.corners)
      for image, detections in zip(truth.images, found, strict=True)
    ]
    positive = [values[values > 0.0] for _, values in similar]
    least = min([float(values.min()) for values in positive if len(values)], default=1.0)
    rows = []
    for image, detections, (iou, similarity) in zip(truth.images, found, similar, strict=True):
      scores, classes = detections.scores, detections.classes
      chosen = (scores >= least_score) & ~(iou > 0.0).any(axis=0)
      same = image.classes[:, np.newaxis] == classes  # [N, D]
      nearest = np.where(same, similarity, -1.0).max(axis=0, initial=-1.0)
      values = np.where(nearest >= 0.0, nearest, least * (1.0 - scores))
      boxes = detections.boxes.corners
      rows.append((boxes[chosen], classes[chosen], -values[chosen]))
    return _ranked(rows)

  return rank


def _similarity(given: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """IoU and similarity, float64 [N, D] each."""
  iou = voc_metrics.pairwise_iou(given, boxes)
  centers = [0.5 * (side[:, :2] + side[:, 2:]) for side in (given, boxes)]
  offsets = centers[0][:, np.newaxis] - centers[1]  # [N, D, 2]
  distance = np.linalg.norm(offsets, axis=-1)
  return iou, _IOU_WEIGHT * iou + (1.0 - _IOU_WEIGHT) * np.exp(-_DECAY * distance)


def _ranked(rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Ranking:
  """Puts boxes, classes and values of all images in one order."""
  images = np.concatenate([np.full(len(row[2]), number) for number, row in enumerate(rows)])
  boxes, classes, values = (np.concatenate([row[column] for row in rows]) for column in range(3))
  order = np.argsort(-values, kind="stable")
  return Ranking(images[order].astype(np.int64), boxes[order], classes[order], values[order])


RULES: dict[str, Rule] = {
  "cleanlab": cleanlab(_CONFIDENT),
  "cleanlab_low": cleanlab(0.0),
  "fiftyone": fiftyone(_CONFIDENT),
  "fiftyone_low": fiftyone(0.0),
  "score": score,
  "ours": ours,
}
