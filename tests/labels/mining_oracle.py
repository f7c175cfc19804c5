"""Slow NumPy mining for one view, as algorithm 1 of the Co-mining paper, box by box in float64.

It knows nothing of batches, slots or padding: lists go in and come out.
"""

import dataclasses
import itertools

import numpy as np

SCALES = (10.0, 10.0, 5.0, 5.0)


@dataclasses.dataclass
class View:
  """What is known of one view: K proposals with their outputs, and n annotations.

  Attributes:
    logits: [K, C], background first.
    deltas: [K, C - 1, 4].
    proposals: [K, 4].
    valid: bool [K].
    boxes: [n, 4], annotations.
    classes: [n], 0 for regions to be ignored.
    is_crowd: bool [n].
    size: [2], height and width.
  """

  logits: np.ndarray
  deltas: np.ndarray
  proposals: np.ndarray
  valid: np.ndarray
  boxes: np.ndarray
  classes: np.ndarray
  is_crowd: np.ndarray
  size: np.ndarray


def intersection(box, other):
  sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
  return max(sides[0], 0.0) * max(sides[1], 0.0)


def area(box):
  return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(box, other):
  shared = intersection(box, other)
  return shared / (area(box) + area(other) - shared) if shared else 0.0


def detections(view: View) -> list[tuple[np.ndarray, int, float]]:
  """Box, class and score of each proposal whose most probable class is an object's."""
  found = []
  for logits, deltas, proposal, valid in zip(
    view.logits, view.deltas, view.proposals, view.valid, strict=True
  ):
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    label = int(np.argmax(logits))
    if not valid or label == 0:
      continue
    ty, tx, th, tw = deltas[label - 1].astype(np.float64) / SCALES
    ymin, xmin, ymax, xmax = proposal.astype(np.float64)
    height, width = ymax - ymin, xmax - xmin
    y, x = ymin + (0.5 + ty) * height, xmin + (0.5 + tx) * width
    height, width = height * np.exp(th), width * np.exp(tw)
    box = np.array([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
    box = np.clip(box, 0.0, np.tile(view.size, 2).astype(np.float64))
    found.append((box, label, float(exponentials.max() / exponentials.sum())))
  return found


def mine(
  view: View,
  *,
  score_threshold,
  ignore_band,
  nms_iou,
  same_class_iou,
  any_class_iou,
  num_slots,
  min_size_px,
) -> tuple[list[tuple[np.ndarray, int, float]], dict[str, int]]:
  """Mined boxes, best first, class 0 for doubtful ones; and how many were dropped for what."""
  found = [
    (box, label, score)
    for box, label, score in detections(view)
    if score > score_threshold - ignore_band
    and box[2] - box[0] >= min_size_px
    and box[3] - box[1] >= min_size_px
  ]
  found.sort(key=lambda each: -each[2])
  counts = dict.fromkeys(
    (
      "candidates",
      "dropped_nms",
      "overflowed",
      "dropped_annotated_same_class",
      "dropped_annotated_any_class",
      "dropped_crowd",
      "annotated",
      "annotated_found",
    ),
    0,
  )
  kept, mined = [], []
  for box, label, score in found:
    counts["candidates"] += score > score_threshold
    if any(label == other and iou(box, better) > nms_iou for better, other, _ in kept):
      counts["dropped_nms"] += score > score_threshold
    elif len(kept) == num_slots:
      counts["overflowed"] += score > score_threshold
    else:
      kept.append((box, label, score))
  for box, label, score in kept:
    reason = _reason_to_drop(view, box, label, same_class_iou, any_class_iou)
    if reason is None:
      mined.append((box, label if score > score_threshold else 0, score))
    else:
      counts[reason] += score > score_threshold
  for other, label, is_crowd in zip(view.boxes, view.classes, view.is_crowd, strict=True):
    if label > 0 and not is_crowd:
      counts["annotated"] += 1
      counts["annotated_found"] += any(
        label == c and score > score_threshold and iou(box, other.astype(float)) > same_class_iou
        for box, c, score in kept
      )
  return mined, counts


def _reason_to_drop(view: View, box, label, same_class_iou, any_class_iou) -> str | None:
  annotations = list(zip(view.boxes.astype(np.float64), view.classes, view.is_crowd, strict=True))
  if any(c == label and iou(box, other) > same_class_iou for other, c, _ in annotations):
    return "dropped_annotated_same_class"
  if any(c > 0 and iou(box, other) > any_class_iou for other, c, _ in annotations):
    return "dropped_annotated_any_class"
  for other, label_of_other, is_crowd in annotations:
    is_inside = intersection(box, other) >= 0.5 * area(box)
    is_region = label_of_other == 0 or is_crowd
    if is_region and (is_inside or iou(box, other) >= same_class_iou):
      return "dropped_crowd"
  return None


def closest_call(view: View, scores, ious) -> float:
  """How close a score or an overlap of the view comes to one of these thresholds."""
  found = detections(view)
  boxes = [box for box, *_ in found] + list(view.boxes.astype(np.float64))
  margins = [abs(score - threshold) for *_, score in found for threshold in scores]
  for number, box in enumerate(boxes):
    for other in boxes[:number]:
      overlap = iou(box, other)
      margins += [abs(overlap - threshold) for threshold in ious]
      margins += [abs(intersection(box, other) / max(area(box), 1e-9) - 0.5)]
      margins += [abs(intersection(box, other) / max(area(other), 1e-9) - 0.5)]
  ranked = sorted(score for *_, score in found)
  margins += [high - low for low, high in itertools.pairwise(ranked)]
  return min(margins, default=1.0)
