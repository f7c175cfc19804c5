"""Average precision by the rules of the PASCAL VOC development kit, as pure numpy functions.

The way from boxes to a number has three steps: `match_detections` judges the detections of one
image, `rank_hits` puts the judged detections of one class in all images in one order, and
`average_precision` reads one number off that order. Two rules for the last step are in use and
their numbers differ by up to a few points, so every number is named after its rule:

  area     VOC 2010 and later: area under the precision envelope.
  11point  VOC 2007: mean of the envelope at the recalls 0, 0.1, ..., 1.

Letters: D detections, G ground-truth boxes, R ranked detections.
"""

import enum
from collections.abc import Sequence

import numpy as np

AP_RULES = ("area", "11point")


class Outcome(enum.IntEnum):
  """The outcome of matching a detection to the objects."""

  FALSE_POSITIVE = 0
  TRUE_POSITIVE = 1
  IGNORED = 2


def pairwise_iou(
  boxes_a: np.ndarray, boxes_b: np.ndarray, inclusive_pixels: bool = False
) -> np.ndarray:
  """Intersection over union of every box of one set with every box of another.

  Args:
    boxes_a: float [D, 4], in any frame that `boxes_b` shares.
    boxes_b: float [G, 4].
    inclusive_pixels: whether ymax and xmax are the last pixels *inside* a box, so that a side is
      max - min + 1 pixels long. The development kit counts so; it needs boxes in pixels.

  Returns:
    float64 [D, G]; 0 where boxes do not meet or both have no area.
  """
  extra = 1.0 if inclusive_pixels else 0.0
  boxes_a = np.asarray(boxes_a, np.float64)[:, np.newaxis]  # [D, 1, 4]
  boxes_b = np.asarray(boxes_b, np.float64)[np.newaxis]  # [1, G, 4]

  def area(top_left: np.ndarray, bottom_right: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(bottom_right - top_left + extra, 0.0), axis=-1)

  intersection = area(
    np.maximum(boxes_a[..., :2], boxes_b[..., :2]), np.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
  )  # [D, G]
  area_a = area(boxes_a[..., :2], boxes_a[..., 2:])  # [D, 1]
  area_b = area(boxes_b[..., :2], boxes_b[..., 2:])  # [1, G]
  union = area_a + area_b - intersection  # [D, G]
  return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0.0)


def match_detections(
  detection_boxes: np.ndarray,
  detection_scores: np.ndarray,
  gt_boxes: np.ndarray,
  gt_difficult: np.ndarray,
  iou_threshold: float = 0.5,
  inclusive_pixels: bool = False,
  same_class: np.ndarray | None = None,
) -> np.ndarray:
  """Matches the detections of one image to its objects.

  By descending score, each detection is compared only with the ground-truth box that it overlaps
  most (the first of equals). Below the threshold it is a false positive. At or above it: a
  difficult box makes the detection ignored, a box that an earlier detection took makes it a false
  positive, and a free box makes it a true positive. A detection never falls back on another box.

  The development kit walks through the detections of all images at once. Detections of different
  images never compete, so judging image by image gives the same outcomes.

  Args:
    detection_boxes: float [D, 4], in any frame that `gt_boxes` shares; no padding.
    detection_scores: float [D]; equal scores are taken in the given order.
    gt_boxes: float [G, 4], no padding.
    gt_difficult: bool [G].
    iou_threshold: smallest IoU that is a match, above 0.
    inclusive_pixels: see `pairwise_iou`.
    same_class: bool [D, G], the boxes that a detection may be matched to; None is all, for boxes
      of one class.

  Returns:
    int8 [D], values of `Outcome`, in the order of the arguments.
  """
  outcomes = np.full(len(detection_boxes), Outcome.FALSE_POSITIVE, np.int8)  # [D]
  if not len(detection_boxes) or not len(gt_boxes):
    return outcomes
  iou = pairwise_iou(detection_boxes, gt_boxes, inclusive_pixels)  # [D, G]
  if same_class is not None:
    iou = np.where(same_class, iou, -1.0)
  best_gt = iou.argmax(axis=1)  # [D]
  matched = iou.max(axis=1) >= iou_threshold  # [D]
  on_difficult = np.asarray(gt_difficult, bool)[best_gt]  # [D]
  outcomes[matched & on_difficult] = Outcome.IGNORED

  by_score = np.argsort(-np.asarray(detection_scores, np.float64), kind="stable")  # [D]
  claims = by_score[(matched & ~on_difficult)[by_score]]
  # `np.unique` points at the first, that is best scored, claim on each ground-truth box.
  _, first_claims = np.unique(best_gt[claims], return_index=True)
  outcomes[claims[first_claims]] = Outcome.TRUE_POSITIVE
  return outcomes


def rank_hits(scores: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
  """Whether each detection that counts is a true positive, best score first.

  Detections with equal scores stay in the given order, which for concatenated images is image
  order, then order within the image. So the same input always gives the same number.

  Args:
    scores: float [D], detections of one class in all images.
    outcomes: int [D], values of `Outcome`.

  Returns:
    bool [R], without the ignored detections.
  """
  ranked = outcomes[np.argsort(-np.asarray(scores, np.float64), kind="stable")]  # [D]
  return ranked[ranked != Outcome.IGNORED] == Outcome.TRUE_POSITIVE  # [R]


def precision_recall(ranked_hits: np.ndarray, num_ground_truth: int) -> np.ndarray:
  """The points of one class's precision-recall curve, without interpolation.

  Args:
    ranked_hits: bool [R], true positives among the counted detections, best score first.
    num_ground_truth: objects to find, difficult ones excluded.

  Returns:
    float64 [R, 2], recall and precision once each detection has been counted; recall is NaN for a
    class without ground truth.
  """
  found = np.cumsum(ranked_hits)  # [R]
  recall = found / num_ground_truth if num_ground_truth else np.full(len(found), np.nan)
  return np.stack([recall, found / np.arange(1, len(found) + 1)], axis=1)


def average_precision(ranked_hits: np.ndarray, num_ground_truth: int, rule: str) -> float:
  """Average precision of one class.

  Args:
    ranked_hits: bool [R], true positives among the counted detections, best score first.
    num_ground_truth: objects to find, difficult ones excluded.
    rule: one of `AP_RULES`.

  Returns:
    The AP in [0, 1]: 0 without detections, NaN for a class without ground truth.

  Raises:
    ValueError: if `rule` is unknown.

  Reference: Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective",
    IJCV 2015, section 2 (area); "The PASCAL VOC Challenge", IJCV 2010, section 4.2 (11point).
  """
  if rule not in AP_RULES:
    raise ValueError(f"AP rule is {rule!r}; accepted: {', '.join(AP_RULES)}")
  if num_ground_truth == 0:
    return float("nan")
  found = np.cumsum(ranked_hits)  # [R]
  precision = found / np.arange(1, len(found) + 1)  # [R]
  envelope = np.maximum.accumulate(precision[::-1])[::-1]  # [R]
  if rule == "area":
    # Recall rises by 1 / num_ground_truth at each hit and nowhere else.
    return float(envelope[ranked_hits].sum() / num_ground_truth)
  # Whole numbers decide whether a recall is reached: 3 of 10 does reach 0.3, which the floating
  # point value 3 * 0.1 denies.
  first_reaching = [np.searchsorted(10 * found, k * num_ground_truth) for k in range(11)]
  return float(sum(envelope[i] for i in first_reaching if i < len(envelope)) / 11.0)


def mean_average_precision(average_precisions: Sequence[float]) -> float:
  """Mean over the classes that have ground truth; NaN when none has.

  Args:
    average_precisions: one AP per class, NaN for a class without ground truth.
  """
  known = [value for value in average_precisions if not np.isnan(value)]
  return float(np.mean(known)) if known else float("nan")
