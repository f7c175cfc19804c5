"""The detections of each image, judged against its objects."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import error_analysis

_WRONG = [error_analysis.Verdict[kind.upper()] for kind in error_analysis.KINDS[:-1]]


@dataclasses.dataclass(frozen=True, eq=False)
class JudgedImage:
  """One image.

  Attributes:
    truth: its objects.
    boxes: float64 [D, 4] of the detections, ymin, xmin, ymax, xmax in pixels of the file.
    scores: float64 [D].
    classes: int64 [D], from 1.
    verdicts: int8 [D], values of `error_analysis.Verdict`.
    objects: int64 [D], the object that a detection matches or lies on; -1 on background.
  """

  truth: ground_truth.ImageTruth
  boxes: np.ndarray
  scores: np.ndarray
  classes: np.ndarray
  verdicts: np.ndarray
  objects: np.ndarray

  @property
  def ignored(self) -> np.ndarray:
    """bool [N], difficult objects and crowds."""
    return self.truth.difficult | self.truth.is_crowd

  @property
  def object_scores(self) -> np.ndarray:
    """float64 [N], the score of the detection that matches each object; NaN without one."""
    scores = np.full(len(self.truth.classes), np.nan)
    is_match = self.verdicts == error_analysis.Verdict.MATCH
    scores[self.objects[is_match]] = self.scores[is_match]
    return scores

  @property
  def missed(self) -> np.ndarray:
    """bool [N], objects that count and that no detection matches."""
    return np.isnan(self.object_scores) & ~self.ignored

  @property
  def num_found(self) -> int:
    """Matches."""
    return int((self.verdicts == error_analysis.Verdict.MATCH).sum())

  @property
  def num_wrong(self) -> int:
    """Detections that match no object and are not ignored."""
    return int(np.isin(self.verdicts, _WRONG).sum())

  @property
  def num_errors(self) -> int:
    """Wrong detections and missed objects."""
    return self.num_wrong + int(self.missed.sum())

  @property
  def f1(self) -> float:
    """F1 of the image; 1 where there is neither an object nor a detection."""
    total = 2 * self.num_found + self.num_errors
    return 2 * self.num_found / total if total else 1.0

  def from_scores_on(self, thresholds: np.ndarray) -> "JudgedImage":
    """Returns the same with the detections that reach the threshold of their class, float [C].

    A detection is judged by those that score more alone, so that the rest need no other judgement.
    """
    rows = self.scores >= thresholds[self.classes - 1]
    names = ("boxes", "scores", "classes", "verdicts", "objects")
    return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in names})


def judge(
  truth: ground_truth.GroundTruth,
  found: Sequence[detection_files.Detections],
  config: data_config.Evaluation,
) -> list[JudgedImage]:
  """Judges all detections, by the overlaps of an evaluation; those that count, see `counted`.

  Args:
    truth: ground truth.
    found: detections in each of its images.
    config: has the overlap of a match.
  """
  judged = []
  for pair in zip(truth.images, found, strict=True):
    image, detections = detection_files.counted(*pair)
    boxes = detections.boxes.corners
    verdicts, objects = error_analysis.judge(
      boxes,
      detections.scores,
      detections.classes,
      image.boxes.corners,
      image.classes,
      image.difficult | image.is_crowd,
      match_iou=config.iou_threshold,
      background_iou=min(0.1, config.iou_threshold),
      inclusive_pixels=config.voc_inclusive_pixels,
    )
    judged.append(
      JudgedImage(image, boxes, detections.scores, detections.classes, verdicts, objects)
    )
  return judged
