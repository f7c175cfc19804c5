"""Explanations of refined detections, from the raw outputs of a detector.

Refined logits are a sum, see `refinement.Refinement.parts`. So the log-odds of a detection's class
against another class are a sum too, and each part of it has a cause: the main head, a window around
the proposal, or the closeness of the image.

Letters as in `detection_module.DetectionModule`.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

_RAW, _REFINED = "proposal_class_scores", "proposal_refined_class_scores"
_PARTS = "proposal_refinement_parts"


class Shift(NamedTuple):
  """A part of the log-odds of a class against another.

  Attributes:
    cause: in words.
    value: above 0 where it speaks for the class.
  """

  cause: str
  value: float


@dataclasses.dataclass(frozen=True)
class ExplainedDetection:
  """A detection with what its refined score is made from.

  What the detector has no head for is None.

  Attributes:
    box_px: float32 [4], pixels of the image.
    class_id: from 1.
    scores_before: float32 [C], background first, of the main head.
    scores_after: float32 [C], refined.
    is_refined: whether refinement applies to its proposal.
    windows_px: float32 [Q, 4], pixels of the image, from the proposal to the image.
    window_scores: float32 [Q, C] of the multi-object head.
    closeness_scores: float32 [C] of its own proposal.
    parts: float32 [G, C], what the refined logits are the sum of.
  """

  box_px: np.ndarray
  class_id: int
  scores_before: np.ndarray
  scores_after: np.ndarray
  is_refined: bool
  windows_px: np.ndarray | None
  window_scores: np.ndarray | None
  closeness_scores: np.ndarray | None
  parts: np.ndarray

  @property
  def rival(self) -> int:
    """The class, or 0 for the background, that scores most besides, before or after."""
    most = np.maximum(self.scores_before, self.scores_after)  # [C]
    most[self.class_id] = -1.0
    return int(most.argmax())

  def shifts(self) -> list[Shift]:
    """The parts of the log-odds against the rival, whose sum is that of `scores_after`.

    The first part are the log-odds that the main head's own logits have and keep.
    """
    values = self.parts[:, self.class_id] - self.parts[:, self.rival]  # [G]
    causes = ["main head, as it was", "main head, weighed again", *self.window_names()]
    causes += ["closeness"] if self.closeness_scores is not None else []
    causes += ["bias"] * (len(values) - len(causes))
    return [Shift(cause, float(value)) for cause, value in zip(causes, values, strict=True)]

  def window_names(self) -> list[str]:
    """Names of the windows, from the inside out; none without windows."""
    count = 0 if self.windows_px is None else len(self.windows_px)
    inner = [f"window {i} of {count}" for i in range(2, count)]
    return ["window 1: its proposal", *inner, f"window {count}: the image"] if count else []


@dataclasses.dataclass(frozen=True)
class Explanation:
  """The detections of an image, best first, and what refinement knows of the whole image.

  Attributes:
    detections: explained.
    closeness_scores: float32 [C], the mean over the proposals; None without that head.
    best_score: of all detections, those below the threshold included; 0 without any.
  """

  detections: Sequence[ExplainedDetection]
  closeness_scores: np.ndarray | None
  best_score: float


def check(output_names: Collection[str], detector: str) -> None:
  """Refuses a detector whose outputs say nothing of refinement.

  Args:
    output_names: of the detector.
    detector: the flag and its value, for the message.

  Raises:
    ValueError: naming what is missing, and what is accepted.
  """
  if _RAW not in output_names:
    raise ValueError(
      f"{detector} has no {_RAW}, {_REFINED} or {_PARTS}: it was exported with its detections"
      " alone; accepted: an export with --outputs=raw, or the run itself as --model_dir"
    )
  if _REFINED not in output_names:
    raise ValueError(
      f"{detector} has no {_REFINED}: the detector has no refinement, so that there is nothing to"
      " explain; accepted: one that was trained with task.refinement.enabled"
    )
  if _PARTS not in output_names:
    raise ValueError(
      f"{detector} has no {_PARTS}: it was exported by an earlier version; accepted: a new export"
      " with --outputs=raw, or the run itself as --model_dir"
    )


def explain(
  outputs: Mapping[str, np.ndarray], image_size: Sequence[int], score_threshold: float
) -> Explanation:
  """The explanation of an image's detections.

  Args:
    outputs: raw outputs for one image, each with a leading axis of 1.
    image_size: height and width of the image, pixels.
    score_threshold: detections below it are left out.
  """
  of_image = {name: values[0] for name, values in outputs.items()}
  size = np.tile(np.float32(image_size), 2)  # [4]

  def row(name: str, proposal: int) -> np.ndarray | None:
    return of_image[name][proposal] if name in of_image else None

  detections = []
  for i in range(int(of_image["num_detections"])):
    if of_image["detection_scores"][i] < score_threshold:
      continue
    proposal = int(of_image["detection_proposals"][i])
    windows = row("proposal_window_boxes", proposal)
    detections.append(
      ExplainedDetection(
        box_px=of_image["detection_boxes_px"][i],
        class_id=int(of_image["detection_classes"][i]),
        scores_before=row(_RAW, proposal),
        scores_after=row(_REFINED, proposal),
        is_refined=bool(of_image["proposal_refined"][proposal]),
        windows_px=None if windows is None else windows * size,
        window_scores=row("proposal_multi_object_scores", proposal),
        closeness_scores=row("proposal_closeness_scores", proposal),
        parts=row(_PARTS, proposal),
      )
    )
  scores = of_image["detection_scores"][: int(of_image["num_detections"])]
  best_score = float(scores.max(initial=0.0))
  return Explanation(detections, of_image.get("closeness_summary_scores"), best_score)
