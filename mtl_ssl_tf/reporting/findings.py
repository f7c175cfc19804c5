"""Everything that the page tells of one run, as numbers."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import progress_lines
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.evaluation import (
  calibration,
  detection_metrics,
  error_analysis,
  object_groups,
  operating_points,
)
from mtl_ssl_tf.reporting import evaluated as evaluated_lib
from mtl_ssl_tf.reporting import judged as judged_lib

_LOGGER = logging.getLogger(__name__)
# Of a class of which nothing can be measured.
DEFAULT_THRESHOLD = 0.5


class ClassFindings(NamedTuple):
  """The findings on one class.

  Attributes:
    name: of the class.
    num_objects: without difficult ones and crowds.
    num_ignored: difficult ones and crowds.
    num_detections: all of them.
    average_precision: a fraction by the rule of the evaluation; NaN without objects.
    coco_average_precision: likewise COCO's, over all its overlaps.
    point: of the highest F1; None where there is nothing to measure.
    curve: float [R, 3]: recall, precision and score, best score first.
  """

  name: str
  num_objects: int
  num_ignored: int
  num_detections: int
  average_precision: float
  coco_average_precision: float
  point: operating_points.OperatingPoint | None
  curve: np.ndarray

  @property
  def threshold(self) -> float:
    """The score from which on detections of this class are shown."""
    return DEFAULT_THRESHOLD if self.point is None else self.point.threshold


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
  """The findings on one run.

  Attributes:
    source: its detections.
    config: the rules of the metrics.
    main_key: name of the figure that selects its best checkpoint.
    figures: VOC's and COCO's and those of errors, by name, fractions and counts.
    classes: each class.
    details: see `DetectionMetrics.details`.
    words: lines on which kind of error costs most.
    images: with the detections that reach the threshold of their class.
    reliability: bins of scores, of all detections that count.
    sizes: objects found, by their size.
    neighbours: objects found, by the number of their neighbours.
  """

  source: evaluated_lib.Evaluated
  config: data_config.Evaluation
  main_key: str
  figures: Mapping[str, float]
  classes: Sequence[ClassFindings]
  details: Mapping[str, Any]
  words: Sequence[str]
  images: Sequence[judged_lib.JudgedImage]
  reliability: Sequence[calibration.Bin]
  sizes: Sequence[object_groups.Group]
  neighbours: Sequence[object_groups.Group]

  @property
  def num_objects(self) -> int:
    """Objects that count."""
    return sum(one.num_objects for one in self.classes)

  @property
  def thresholds(self) -> dict[str, float]:
    """The smallest score of each class by its name."""
    return {one.name: one.threshold for one in self.classes}


def collect(
  source: evaluated_lib.Evaluated, config: data_config.Evaluation | None = None
) -> Findings:
  """Returns what there is to tell of a run's detections.

  Args:
    source: the detections.
    config: has the rules of the metrics; None takes the run's.
  """
  truth, config = source.truth, config or source.run.task.evaluation
  metrics = detection_metrics.DetectionMetrics(
    truth.class_names,
    # The run's own first: its main figure is the page's too.
    list(dict.fromkeys([*config.metrics, *detection_metrics.METRICS])),
    iou_threshold=config.iou_threshold,
    ap_rule=config.voc_ap,
    inclusive_pixels=config.voc_inclusive_pixels,
    errors=True,
    score_threshold=config.score_threshold,
  )
  progress_line = progress_lines.Progress("measuring images", len(truth.images), _LOGGER.info)
  for image, image_id, found in zip(truth.images, truth.coco_image_ids, source.found, strict=True):
    metrics.update(image_id=image_id, **detection_files.metric_arguments(image, found))
    progress_line.step()
  figures, details = metrics.result(), metrics.details()
  judged = judged_lib.judge(truth, source.found, config)
  classes = _classes(source, figures, details)
  thresholds = np.array([one.threshold for one in classes])
  scores, hits = _counted(judged)
  sizes, neighbours = _groups(judged, thresholds)
  return Findings(
    source,
    config,
    metrics.main_key,
    figures,
    classes,
    details,
    metrics.words(),
    [image.from_scores_on(thresholds) for image in judged],
    calibration.reliability(scores, hits),
    sizes,
    neighbours,
  )


def _classes(
  source: evaluated_lib.Evaluated, figures: Mapping[str, float], details: Mapping[str, Any]
) -> list[ClassFindings]:
  names = source.truth.class_names
  size = len(names) + 1
  counts = np.zeros([3, size], np.int64)
  for pair in zip(source.truth.images, source.found, strict=True):
    image, found = detection_files.counted(*pair)
    ignored = image.difficult | image.is_crowd
    for row, classes in enumerate((image.classes[~ignored], image.classes[ignored], found.classes)):
      counts[row] += np.bincount(classes, minlength=size)
  return [
    ClassFindings(
      name,
      *counts[:, number].tolist(),
      details["average_precision"][name],
      figures[f"coco/AP/{name}"],
      operating_points.best_f1(details["curves"][name]),
      details["curves"][name],
    )
    for number, name in enumerate(names, start=1)
  ]


def _counted(judged: Sequence[judged_lib.JudgedImage]) -> tuple[np.ndarray, np.ndarray]:
  """Scores of all detections that count, and whether they are matches."""
  scores = np.concatenate([image.scores for image in judged] or [np.zeros(0)])
  verdicts = np.concatenate([image.verdicts for image in judged] or [np.zeros(0, np.int8)])
  counted = verdicts != error_analysis.Verdict.IGNORED
  return scores[counted], (verdicts == error_analysis.Verdict.MATCH)[counted]


def _groups(
  judged: Sequence[judged_lib.JudgedImage], thresholds: np.ndarray
) -> tuple[list[object_groups.Group], list[object_groups.Group]]:
  """Objects that count, by size and by neighbours."""
  areas, neighbours, passes, found = [], [], [], []
  for image in judged:
    counts = ~image.ignored
    scores = image.object_scores[counts]
    # Of crowds it is not known how many they are.
    around = object_groups.count_neighbours(image.truth.boxes.corners[~image.truth.is_crowd])
    areas.append(image.truth.areas[counts])
    neighbours.append(around[counts[~image.truth.is_crowd]])
    found.append(~np.isnan(scores))
    # Comparisons with NaN are false.
    passes.append(scores >= thresholds[image.truth.classes[counts] - 1])
  columns = [np.concatenate(column) for column in (areas, neighbours, passes, found)]
  return object_groups.by_size(columns[0], *columns[2:]), object_groups.by_neighbours(*columns[1:])
