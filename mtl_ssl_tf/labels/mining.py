"""Mines objects without annotation among detections, and completes the ground truth by them.

Letters: `B` views, `K` scored proposals, `C` classes with the background, `G` annotation rows, `P`
slots of mined boxes.

A mined box becomes a row of the ground truth like an annotation: everything that is made from the
completed ground truth, targets of the RPN and the RoI head and labels of the auxiliary tasks, takes
it for an object. No gradient passes.

Reference: Wang et al., "Co-mining: Self-Supervised Learning for Sparsely Annotated Object
Detection", AAAI 2021, algorithm 1.
"""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.labels import annotated_classes, ignored_regions
from mtl_ssl_tf.ops import box_coder_ops, box_ops, nms_ops

# Labels of a batch that the targets of a step are made from, besides boxes and classes.
_OTHER_LABELS = ("image_size_px", "image_key", "view_key", "flipped", *annotated_classes.NAMES)
# bool [B, G], the rows of completed labels that have a box loss; absent is all of them.
HAS_BOX_LOSS = "has_box_loss"
# Above every score, even less an ignored band.
NEVER = 2.0


class PseudoBoxes(NamedTuple):
  """Mined boxes of B views.

  Attributes:
    boxes_px: float32 [B, P, 4], pixels of the network input; padding is -1.
    classes: int32 [B, P], 1 … C-1; 0 for a doubtful detection, whose place is ignored; padding -1.
    scores: float32 [B, P]; 0 for padding.
    valid: bool [B, P], the mined boxes: neither padding nor doubtful.
  """

  boxes_px: tf.Tensor
  classes: tf.Tensor
  scores: tf.Tensor
  valid: tf.Tensor


class MiningCounts(NamedTuple):
  """Numbers of boxes in each of B views, int32 [B] each; doubtful detections do not count.

  `candidates` are the sum of all others and of the mined boxes.

  Attributes:
    candidates: detections above the score threshold.
    dropped_nms: that overlap a better one of their class.
    overflowed: that found no slot.
    dropped_annotated_same_class: on an annotation of their class.
    dropped_annotated_any_class: on an annotation of another class, in the stricter sense.
    dropped_crowd: in a crowd or another region to be ignored.
    annotated: annotated objects, without crowds.
    annotated_found: those of them that one of the best candidates, as many as there are slots, lies
      on with the right class.
  """

  candidates: tf.Tensor
  dropped_nms: tf.Tensor
  overflowed: tf.Tensor
  dropped_annotated_same_class: tf.Tensor
  dropped_annotated_any_class: tf.Tensor
  dropped_crowd: tf.Tensor
  annotated: tf.Tensor
  annotated_found: tf.Tensor


def mine_pseudo_boxes(
  class_logits: tf.Tensor,
  box_deltas: tf.Tensor,
  proposals_px: tf.Tensor,
  proposals_valid: tf.Tensor,
  annotations: dict[str, tf.Tensor],
  *,
  score_threshold: float | tf.Tensor,
  ignore_band: float,
  nms_iou: float,
  same_class_iou: float,
  any_class_iou: float,
  num_slots: int,
  min_size_px: float,
  nms_method: str,
) -> tuple[PseudoBoxes, MiningCounts]:
  """Detections that score high and lie on no annotation.

  A proposal has one candidate, that of its most probable class. Candidates pass non-maximum
  suppression within their class; the best are kept, as many as there are slots; of these, boxes on
  annotations and in regions to be ignored are dropped.

  Args:
    class_logits: float32 [B, K, C], background first.
    box_deltas: float32 [B, K, C - 1, 4], or [B, K, 1, 4] for all classes.
    proposals_px: float32 [B, K, 4].
    proposals_valid: bool [B, K].
    annotations: labels of the views: `gt_boxes_px` float32 [B, G, 4], `gt_classes` int32 [B, G],
      0 for a region to be ignored, `gt_is_crowd` bool [B, G], `image_size_px` float32 [B, 2].
    score_threshold: mined boxes score more; `NEVER` mines none.
    ignore_band: doubtful are detections that score up to this much less; 0 for none.
    nms_iou: largest IoU that two mined boxes of a class may have.
    same_class_iou: largest IoU with an annotation of its class that a mined box may have. From
      this one on, and with half of its area inside, it lies in a region to be ignored.
    any_class_iou: largest IoU with an annotation of any class.
    num_slots: P.
    min_size_px: least height and width of a mined box.
    nms_method: one of `nms_ops.METHODS`.

  Returns:
    Mined boxes, best first with gaps, and how many were dropped for which reason.

  Reference: the paper's algorithm 1, whose candidates are anchors of every class. A proposal has a
  single label here, as softmax scores above 0.5 have. The published filter knows `same_class_iou`
  alone; a second label on an annotated object would contradict the first.
  """
  candidates = _candidates(
    class_logits, box_deltas, proposals_px, annotations["image_size_px"]
  )  # [B, K]
  sides = candidates.boxes_px[..., 2:] - candidates.boxes_px[..., :2]  # [B, K, 2]
  is_sound = proposals_valid & (candidates.classes > 0)  # [B, K]
  is_sound &= tf.reduce_all(sides >= min_size_px, axis=-1)
  is_candidate = is_sound & (candidates.scores > score_threshold)  # [B, K]
  is_found = is_candidate
  if ignore_band:
    is_found = is_sound & (candidates.scores > score_threshold - ignore_band)
  apart = _apart(candidates, annotations["image_size_px"])  # [B, K, 4]
  indices, kept = nms_ops.batched_nms(
    apart,
    candidates.scores,
    is_found,
    iou_threshold=nms_iou,
    max_outputs=num_slots,
    pre_nms_top_k=None,
    method=nms_method,
  )  # [B, P] each
  best = tf.nest.map_structure(
    lambda values: tf.gather(values, indices, batch_dims=1), candidates
  )  # [B, P]
  is_mined = kept & (best.scores > score_threshold)  # [B, P]
  num_candidates = _count(is_candidate)  # [B]
  num_overlapped = _num_overlapped(is_candidate, apart, indices, kept, nms_iou)
  num_left = num_candidates - num_overlapped - _count(is_mined)
  overlaps = _overlaps(best, annotations)
  is_object, is_found = _found_annotations(overlaps, is_mined, annotations, same_class_iou)
  num_dropped = []
  for dropped in _on_annotation(best, overlaps, annotations, same_class_iou, any_class_iou):
    num_dropped.append(_count(is_mined & kept & dropped))
    kept &= ~dropped
  found = PseudoBoxes(
    boxes_px=tf.where(kept[..., tf.newaxis], best.boxes_px, -1.0),
    classes=tf.where(kept, tf.where(is_mined, best.classes, 0), -1),
    scores=tf.where(kept, best.scores, 0.0),
    valid=kept & is_mined,
  )
  counts = MiningCounts(
    num_candidates, num_overlapped, num_left, *num_dropped, _count(is_object), _count(is_found)
  )
  return tf.nest.map_structure(tf.stop_gradient, (found, counts))


def nothing_mined(batch_size: int | tf.Tensor, num_slots: int) -> tuple[PseudoBoxes, MiningCounts]:
  """Returns what `mine_pseudo_boxes` returns for views without a detection."""
  nothing = PseudoBoxes(
    tf.fill([batch_size, num_slots, 4], -1.0),
    tf.fill([batch_size, num_slots], -1),
    tf.zeros([batch_size, num_slots]),
    tf.zeros([batch_size, num_slots], tf.bool),
  )
  zeros = tf.zeros([batch_size], tf.int32)
  return nothing, MiningCounts(*[zeros] * len(MiningCounts._fields))


def of_other_view(pseudo: PseudoBoxes) -> PseudoBoxes:
  """Returns the mined boxes with both halves of the batch, the two views, exchanged."""

  def exchange(values: tf.Tensor) -> tf.Tensor:
    first, second = tf.split(values, 2)
    return tf.concat([second, first], axis=0)

  return tf.nest.map_structure(exchange, pseudo)


def complete_ground_truth(
  annotations: dict[str, tf.Tensor], pseudo: PseudoBoxes
) -> dict[str, tf.Tensor]:
  """Labels whose ground truth is the annotations and then the mined boxes.

  Args:
    annotations: labels of the views, see `detection_parser.DetectionParser`.
    pseudo: for the same views.

  Returns:
    `gt_boxes_px` float32 [B, G + P, 4] and `gt_classes` int32 [B, G + P], as of annotations; and
    `is_pseudo` bool [B, G + P], the last P rows. Other labels that the targets of a step are made
    from are those of the annotations.
  """
  is_pseudo = tf.concat(
    [tf.zeros_like(annotations["gt_classes"], tf.bool), tf.ones_like(pseudo.classes, tf.bool)],
    axis=1,
  )  # [B, G + P]
  return {name: annotations[name] for name in _OTHER_LABELS if name in annotations} | {
    "gt_boxes_px": tf.concat([annotations["gt_boxes_px"], pseudo.boxes_px], axis=1),
    "gt_classes": tf.concat([annotations["gt_classes"], pseudo.classes], axis=1),
    "is_pseudo": is_pseudo,
  }


def without_box_targets(labels: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  """Returns completed labels of which the box losses are of annotated boxes alone."""
  return {**labels, HAS_BOX_LOSS: ~labels["is_pseudo"]}


def with_box_target(
  labels: dict[str, tf.Tensor], positive: tf.Tensor, gt_indices: tf.Tensor
) -> tf.Tensor:
  """Marks the positives that have a box loss.

  Args:
    labels: ground truth of B views, completed or not.
    positive: bool [B, R].
    gt_indices: int32 [B, R], rows of the ground truth that they are matched to.

  Returns:
    bool [B, R].
  """
  with_loss = labels.get(HAS_BOX_LOSS)
  if with_loss is None:
    return positive
  return positive & tf.gather(with_loss, gt_indices, batch_dims=1)


def annotations_alone(labels: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  """Returns completed labels with their mined boxes replaced by padding, in the same shapes."""
  is_pseudo = labels["is_pseudo"]
  return labels | {
    "gt_boxes_px": tf.where(is_pseudo[..., tf.newaxis], -1.0, labels["gt_boxes_px"]),
    "gt_classes": tf.where(is_pseudo, -1, labels["gt_classes"]),
  }


class _Candidates(NamedTuple):
  """One detection a proposal: boxes_px [B, K, 4], classes (0 background) and scores [B, K]."""

  boxes_px: tf.Tensor
  classes: tf.Tensor
  scores: tf.Tensor


def _candidates(
  class_logits: tf.Tensor, box_deltas: tf.Tensor, proposals_px: tf.Tensor, image_size_px: tf.Tensor
) -> _Candidates:
  """Returns each proposal's most probable class with its score and its box."""
  classes = tf.argmax(class_logits, axis=-1, output_type=tf.int32)  # [B, K]
  columns = tf.clip_by_value(classes - 1, 0, box_deltas.shape[2] - 1)  # [B, K]
  deltas = tf.gather(box_deltas, columns, axis=2, batch_dims=2)  # [B, K, 4]
  boxes_px = box_coder_ops.decode(deltas, proposals_px)
  scores = tf.reduce_max(tf.nn.softmax(class_logits), axis=-1)
  return _Candidates(box_ops.clip_to_size(boxes_px, image_size_px), classes, scores)


def _apart(candidates: _Candidates, image_size_px: tf.Tensor) -> tf.Tensor:
  """Returns the boxes [B, K, 4], each class more than an image away from the others.

  So non-maximum suppression of all boxes is that within each class.
  """
  longest = tf.reduce_max(image_size_px, axis=-1, keepdims=True)  # [B, 1]
  offsets = (longest + 1.0) * tf.cast(candidates.classes, tf.float32)  # [B, K]
  return candidates.boxes_px + offsets[..., tf.newaxis]


class _Overlaps(NamedTuple):
  """Of detections with annotation rows: iou float32 [B, P, G]; is_same bool, of one class."""

  iou: tf.Tensor
  is_same: tf.Tensor


def _overlaps(found: _Candidates, annotations: dict[str, tf.Tensor]) -> _Overlaps:
  """Returns how the detections [B, P] lie on the rows of the annotations, which include padding."""
  return _Overlaps(
    box_ops.pairwise_iou(found.boxes_px, annotations["gt_boxes_px"]),
    tf.equal(found.classes[..., tf.newaxis], annotations["gt_classes"][:, tf.newaxis]),
  )


def _on_annotation(
  found: _Candidates,
  overlaps: _Overlaps,
  annotations: dict[str, tf.Tensor],
  same_class_iou: float,
  any_class_iou: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Returns which boxes lie on their own class, on any class, in a region; bool [B, P] each."""
  gt_boxes_px, gt_classes = annotations["gt_boxes_px"], annotations["gt_classes"]
  iou, is_same = overlaps
  is_object = (gt_classes > 0)[:, tf.newaxis]  # [B, 1, G]
  # Crowds may be kept as objects, and are no place to mine all the same.
  regions = tf.where(annotations["gt_is_crowd"], 0, gt_classes)  # [B, G]
  return (
    tf.reduce_any(is_object & is_same & (iou > same_class_iou), axis=-1),
    tf.reduce_any(is_object & (iou > any_class_iou), axis=-1),
    ignored_regions.in_ignored_region(found.boxes_px, gt_boxes_px, regions, same_class_iou),
  )


def _found_annotations(
  overlaps: _Overlaps,
  is_mined: tf.Tensor,
  annotations: dict[str, tf.Tensor],
  same_class_iou: float,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns which annotations are objects, no crowds, and which of these are found; bool [B, G].

  Args:
    overlaps: of candidates [B, P].
    is_mined: bool [B, P], which of them score enough.
    annotations: see `mine_pseudo_boxes`.
    same_class_iou: IoU beyond which a candidate of its class has found it.
  """
  is_object = (annotations["gt_classes"] > 0) & ~annotations["gt_is_crowd"]  # [B, G]
  is_on_it = is_mined[..., tf.newaxis] & overlaps.is_same & (overlaps.iou > same_class_iou)
  return is_object, is_object & tf.reduce_any(is_on_it, axis=1)


def _num_overlapped(
  is_candidate: tf.Tensor, boxes: tf.Tensor, indices: tf.Tensor, kept: tf.Tensor, nms_iou: float
) -> tf.Tensor:
  """Returns how many candidates are not kept, but overlap a kept box; int32 [B].

  Args:
    is_candidate: bool [B, K].
    boxes: float32 [B, K, 4], those of two classes apart.
    indices, kept: [B, P], what non-maximum suppression returned.
    nms_iou: its threshold.
  """
  kept_boxes = tf.gather(boxes, indices, batch_dims=1)  # [B, P, 4]
  overlaps = box_ops.pairwise_iou(boxes, kept_boxes) > nms_iou  # [B, K, P]
  is_itself = tf.equal(tf.range(boxes.shape[1])[:, tf.newaxis], indices[:, tf.newaxis])
  kept = kept[:, tf.newaxis]  # [B, 1, P]
  is_kept = tf.reduce_any(is_itself & kept, axis=-1)  # [B, K]
  return _count(is_candidate & ~is_kept & tf.reduce_any(overlaps & kept, axis=-1))


def _count(mask: tf.Tensor) -> tf.Tensor:
  return tf.reduce_sum(tf.cast(mask, tf.int32), axis=-1)  # [B]
