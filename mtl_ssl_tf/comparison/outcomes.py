"""Hits and misses of an evaluation by image, from which any resampling of images gives its mAP."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.data.ground_truth import detection_files, truth_readers
from mtl_ssl_tf.data.ground_truth import objects as ground_truth_lib
from mtl_ssl_tf.evaluation import voc_metrics

IOU_THRESHOLD = 0.5
# Of arrays [S, D], which are so bounded in memory whatever the number of detections.
_MAX_ENTRIES = 20_000_000


@dataclasses.dataclass(frozen=True)
class Outcomes:
  """All detections of an evaluation, best score first; those on difficult objects and
  crowds are left out.

  Attributes:
    images: int64 [D], place of each detection's image.
    classes: int64 [D], from 1.
    hits: bool [D], whether it is a true positive.
    num_objects: int64 [I, C], objects of each image by class, without difficult ones and crowds;
      column 0 is class 1.
  """

  images: np.ndarray
  classes: np.ndarray
  hits: np.ndarray
  num_objects: np.ndarray


def read(results: pathlib.Path, ground_truth: pathlib.Path) -> Outcomes:
  """Returns the outcomes of a COCO results file.

  Args:
    results: detections, as an evaluation with `results_dir` writes them.
    ground_truth: the COCO file that lies beside them.

  Raises:
    ValueError: a file is at fault.
  """
  truth = truth_readers.read(str(ground_truth))
  if not truth.images:
    raise ValueError(f"{ground_truth}: images is []; accepted: at least one image")
  return collect(truth, detection_files.read_predictions(str(results), truth))


def collect(
  truth: ground_truth_lib.GroundTruth, found: Sequence[detection_files.Detections]
) -> Outcomes:
  """Returns the outcomes of detections in each image of a ground truth."""
  rows, num_objects = [], np.zeros([len(truth.images), len(truth.class_names)], np.int64)
  for number, (image, detections) in enumerate(zip(truth.images, found, strict=True)):
    image, detections = detection_files.counted(image, detections)
    arguments = detection_files.metric_arguments(image, detections)
    # Crowds are neither asked for nor wrong to find, as difficult objects.
    ignored = image.difficult | image.is_crowd
    easy = image.classes[~ignored]
    num_objects[number] = np.bincount(easy, minlength=len(truth.class_names) + 1)[1:]
    outcomes = _match(arguments, ignored)
    counted = outcomes != voc_metrics.Outcome.IGNORED
    classes, scores = arguments["detection_classes"], arguments["detection_scores"]
    hits = outcomes == voc_metrics.Outcome.TRUE_POSITIVE
    rows.append((np.full(counted.sum(), number), classes[counted], scores[counted], hits[counted]))
  images, classes, scores, hits = map(np.concatenate, zip(*rows, strict=True))
  order = np.argsort(-scores, kind="stable")
  return Outcomes(images[order], classes[order].astype(np.int64), hits[order], num_objects)


def _match(arguments: dict[str, np.ndarray], ignored: np.ndarray) -> np.ndarray:
  """Matches the detections of one image, as `VOCEvaluator` does; returns int8 [D]."""
  same_class = arguments["detection_classes"][:, np.newaxis] == arguments["gt_classes"]
  return voc_metrics.match_detections(
    arguments["detection_boxes"],
    arguments["detection_scores"],
    arguments["gt_boxes"],
    ignored,
    IOU_THRESHOLD,
    same_class=same_class,
  )


def mean_average_precisions(found: Outcomes, weights: np.ndarray) -> np.ndarray:
  """Returns the mAP of each weighting of the images, by VOC's area rule.

  An image of weight 2 counts as two copies of it would, one of weight 0 not at all.

  Args:
    found: of an evaluation.
    weights: int [S, I].

  Returns:
    float64 [S], fractions; the mean is over the classes that have an object left.
  """
  block = max(1, _MAX_ENTRIES // max(1, len(found.classes)))
  if len(weights) > block:
    parts = [weights[start : start + block] for start in range(0, len(weights), block)]
    return np.concatenate([mean_average_precisions(found, part) for part in parts])
  totals = weights @ found.num_objects  # [S, C]
  precisions = np.full(totals.shape, np.nan)  # [S, C]
  for column in range(totals.shape[1]):
    of_class = found.classes == column + 1
    precisions[:, column] = _average_precisions(
      found.hits[of_class], weights[:, found.images[of_class]], totals[:, column]
    )
  has_class = ~np.isnan(precisions)
  total = np.where(has_class, precisions, 0.0).sum(axis=1)
  return np.divide(
    total, has_class.sum(axis=1), out=np.full(len(total), np.nan), where=has_class.any(axis=1)
  )


def _average_precisions(hits: np.ndarray, counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
  """Returns the AP of one class for each weighting.

  Args:
    hits: bool [D], best score first.
    counts: int [S, D], copies of each detection.
    totals: int [S], objects to find.

  Returns:
    float64 [S]; NaN where there is no object.
  """
  found = counts * hits  # [S, D]
  # Among copies of a hit precision rises, so that the last one's is the envelope's of them all.
  seen = np.maximum(np.cumsum(counts, axis=1), 1)  # [S, D]
  precision = np.cumsum(found, axis=1) / seen  # [S, D]
  envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # [S, D]
  area = (envelope * found).sum(axis=1)  # [S]
  return np.divide(area, totals, out=np.full(len(totals), np.nan), where=totals > 0)
