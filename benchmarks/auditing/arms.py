"""Rules that rank detections by how probably they are objects without a box: ours and others'.

  cleanlab   `compute_overlooked_box_scores` of cleanlab 2.9: detections of score 0.95 and more
             whose IoU with every annotated box is 0, by similarity with the nearest box of their
             class, 0.9 IoU + 0.1 exp(-0.1 distance), the least similar first; without such a box by
             the least similarity of the data set times 1 - score
  fiftyone   `compute_mistakenness` of FiftyOne's brain: detections that match no annotated box of
             any class at an IoU of 0.5 and score more than 0.95, by score
  ..._low    the same without the bound on scores
  loss       loss inspection (Schubert et al., WACV 2024) as far as detections tell it: all of them,
             by the second stage's loss for the annotated box that they overlap most by half and
             more, or for background; the score that is not the class's is spread evenly over the
             other classes. The first stage's loss is not known
  score      all detections that match no annotated box of their class, by score
  ours       `mtl_ssl_tf.auditing`

Written from the definitions, which are published; distances are between centres, in pixels. With
`by_cleanlab` the first two rules are cleanlab's own program.
"""

import json
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mtl_ssl_tf.auditing import candidates, places
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import voc_metrics

_CONFIDENT = 0.95
_IOU_WEIGHT, _DECAY = 0.9, 0.1
_MATCH_IOU = 0.5
# Of box offsets in the loss: centre and logarithm of size.
_OFFSET_WEIGHTS = np.array([10.0, 10.0, 5.0, 5.0])
# Of probabilities, so that no loss is infinite.
_LEAST = 1e-7
_ROOT = pathlib.Path(__file__).parents[2]


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


def by_cleanlab(python: str) -> dict[str, Rule]:
  """Returns cleanlab's two rules, carried out by cleanlab in an environment of its own.

  Args:
    python: interpreter of that environment.

  Raises:
    ValueError: it cannot load cleanlab.
  """
  _run_in(python, "-c", "import cleanlab.object_detection.rank")

  def with_bound(least_score: float | None) -> Rule:
    def rank(
      truth: ground_truth.GroundTruth, found: Sequence[detection_files.Detections]
    ) -> Ranking:
      rows = []
      values_of_images = _cleanlab_values(python, least_score, truth, found)
      for detections, values in zip(found, values_of_images, strict=True):
        chosen = ~np.isnan(values)
        boxes, classes = detections.boxes.corners, detections.classes
        rows.append((boxes[chosen], classes[chosen], -values[chosen]))
      return _ranked(rows)

    return rank

  return {"cleanlab": with_bound(None), "cleanlab_low": with_bound(0.0)}


def _cleanlab_values(
  python: str,
  least_score: float | None,
  truth: ground_truth.GroundTruth,
  found: Sequence[detection_files.Detections],
) -> list[np.ndarray]:
  """Cleanlab's value of each detection of each image, NaN where it gives none."""
  xyxy = [1, 0, 3, 2]
  images = [
    {
      "boxes": image.boxes.corners[:, xyxy].tolist(),
      "classes": (image.classes - 1).tolist(),
      "found_boxes": detections.boxes.corners[:, xyxy].tolist(),
      "found_classes": (detections.classes - 1).tolist(),
      "found_scores": detections.scores.tolist(),
    }
    for image, detections in zip(truth.images, found, strict=True)
  ]
  content = {"num_classes": len(truth.class_names), "least_score": least_score, "images": images}
  with tempfile.TemporaryDirectory() as folder:
    source, target = pathlib.Path(folder) / "in.json", pathlib.Path(folder) / "out.json"
    source.write_text(json.dumps(content))
    _run_in(python, "-m", "benchmarks.peers.cleanlab_scores", str(source), str(target))
    values = json.loads(target.read_text())["values"]
  # None becomes NaN.
  return [np.array(of_image, np.float64) for of_image in values]


def _run_in(python: str, *arguments: str) -> None:
  """Runs the interpreter; raises ValueError where that fails."""
  try:
    process = subprocess.run([python, *arguments], cwd=_ROOT, capture_output=True, text=True)
    error = (process.stderr.strip() or "no message") if process.returncode else ""
  except OSError as cause:
    error = str(cause)
  if error:
    last = error.strip().splitlines()[-1]
    raise ValueError(f"--cleanlab {python}: {last}; accepted: Python with cleanlab 2.9")


def loss(truth: ground_truth.GroundTruth, found: Sequence[detection_files.Detections]) -> Ranking:
  """Ranks all detections by the loss that they have against the annotations."""
  num_others = len(truth.class_names)
  rows = []
  for image, detections in zip(truth.images, found, strict=True):
    boxes, scores = detections.boxes.corners, detections.scores
    iou = voc_metrics.pairwise_iou(boxes, image.boxes.corners)  # [D, N]
    nearest = iou.argmax(axis=1) if iou.shape[1] else np.zeros(len(boxes), int)
    has_box = iou.max(axis=1, initial=0.0) >= _MATCH_IOU
    given = image.boxes.corners[nearest] if iou.shape[1] else boxes
    labels = image.classes[nearest] if iou.shape[1] else np.zeros(len(boxes), int)
    # Of background it is not known how much of the rest it has; at most all of it.
    others = np.where(has_box, (1.0 - scores) / num_others, 1.0 - scores)
    right = np.where(has_box & (labels == detections.classes), scores, others)
    values = -np.log(np.maximum(right, _LEAST)) + np.where(has_box, _box_loss(boxes, given), 0.0)
    rows.append((boxes, detections.classes, values))
  return _ranked(rows)


def _box_loss(boxes: np.ndarray, given: np.ndarray) -> np.ndarray:
  """Smooth L1 of the offsets from detections to annotated boxes, float64 [D]."""
  (centers, sizes), (given_centers, given_sizes) = (
    (0.5 * (side[:, :2] + side[:, 2:]), np.maximum(side[:, 2:] - side[:, :2], _LEAST))
    for side in (boxes, given)
  )
  offsets = np.concatenate([(given_centers - centers) / sizes, np.log(given_sizes / sizes)], axis=1)
  size = np.abs(offsets * _OFFSET_WEIGHTS)
  return np.where(size < 1.0, 0.5 * size**2, size - 0.5).sum(axis=1)


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
  "loss": loss,
  "score": score,
  "ours": ours,
}
