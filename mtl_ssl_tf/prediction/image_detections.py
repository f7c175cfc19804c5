"""Detections of one image, and asking a detector for several images at once."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.serving import score_thresholds


@dataclasses.dataclass(frozen=True, slots=True)
class Detections:
  """Detections in one image, best first.

  Attributes:
    boxes_px: float32 [n, 4], ymin, xmin, ymax, xmax in pixels of the image.
    scores: float32 [n].
    class_ids: int32 [n], from 1.
  """

  boxes_px: np.ndarray
  scores: np.ndarray
  class_ids: np.ndarray

  def at_least(self, score_threshold: float | np.ndarray) -> "Detections":
    """Returns the detections from a score on, or from that of each class on, float [C]."""
    shown = score_thresholds.passes(self.scores, self.class_ids, score_threshold)
    return Detections(self.boxes_px[shown], self.scores[shown], self.class_ids[shown])

  def coco_rows(self) -> list[dict[str, Any]]:
    """`category_id` from 1, `bbox` [x, y, width, height] in pixels and `score`, of each."""
    rows = []
    for box, score, class_id in zip(self.boxes_px, self.scores, self.class_ids, strict=True):
      ymin, xmin, ymax, xmax = map(float, box)
      rows.append(
        {
          "category_id": int(class_id),
          "bbox": [round(side, 3) for side in (xmin, ymin, xmax - xmin, ymax - ymin)],
          "score": round(float(score), 6),
        }
      )
    return rows


def detect_each(
  detect: Callable[[Sequence[Any]], dict[str, np.ndarray]], images: Sequence[Any]
) -> list[Detections | str]:
  """Returns the detections of each image, or the reason why there are none.

  Images go together; if that fails, one by one, so that one image does not take others with it.

  Args:
    detect: takes images; returns what `DetectionModule` does.
    images: in any form that `detect` takes.
  """
  if not images:
    return []
  try:
    outputs = detect(images)
  except tf.errors.OpError as error:  # Say, images too large for the memory.
    if len(images) > 1:
      return [detect_each(detect, [image])[0] for image in images]
    return [f"detection failed ({error.message.strip().split(chr(10))[0]})"]
  counts = outputs["num_detections"].astype(int)
  return [
    Detections(
      outputs["detection_boxes_px"][i, :count],
      outputs["detection_scores"][i, :count],
      outputs["detection_classes"][i, :count].astype(np.int32),
    )
    for i, count in enumerate(counts)
  ]
