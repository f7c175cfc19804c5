"""Measures of what a step mined, for the progress line and TensorBoard; no loss depends on them.

Letters: `V` views, the images of a batch and then, where there are two, their copies; `P` slots of
mined boxes; `N` ground-truth rows.
"""

from collections.abc import Mapping

import tensorflow as tf

from mtl_ssl_tf.configs import co_mining
from mtl_ssl_tf.labels import mining
from mtl_ssl_tf.ops import box_ops
from mtl_ssl_tf.tasks import training_losses, unlabelled_proposals

_PREFIX = "mining/"
BOXES, SCORE, AGREEMENT = f"{_PREFIX}boxes", f"{_PREFIX}score", f"{_PREFIX}agreement"
CANDIDATES, OVERFLOWED = f"{_PREFIX}candidates", f"{_PREFIX}overflowed"
ANNOTATED, FOUND = f"{_PREFIX}annotated", f"{_PREFIX}annotated_found"
ERASED, PRECISION, RECALL = f"{_PREFIX}erased", f"{_PREFIX}precision", f"{_PREFIX}recall"
UNLABELLED = unlabelled_proposals.MASKED
# Shares of the candidates that a filter dropped: the measure, its count and its words.
_DROPPED = {
  f"{_PREFIX}dropped_nms": ("dropped_nms", "NMS"),
  f"{_PREFIX}dropped_same_class": ("dropped_annotated_same_class", "same class"),
  f"{_PREFIX}dropped_any_class": ("dropped_annotated_any_class", "any class"),
  f"{_PREFIX}dropped_crowd": ("dropped_crowd", "crowds"),
}
OF_MINING = (
  *(BOXES, SCORE, ANNOTATED, FOUND, CANDIDATES, *_DROPPED, OVERFLOWED, AGREEMENT),
  *(ERASED, PRECISION, RECALL),
)
NAMES = (*OF_MINING, UNLABELLED)
# Labels of a batch that no loss may see.
ERASED_LABELS = ("erased_boxes_px", "erased_classes")
# IoU beyond which two boxes of a class are of the same object.
_SAME_OBJECT_IOU = 0.5


def names(config: co_mining.Mining, with_erased: bool) -> list[str]:
  """Returns the measures that a configuration has, with or without erased objects in its records.

  Those of mining are none where nothing is mined.
  """
  absent = set() if config.views == 2 else {AGREEMENT}
  absent |= set() if with_erased else {ERASED, PRECISION, RECALL}
  found = [name for name in OF_MINING if config.mines and name not in absent]
  return [*found, UNLABELLED] if config.unlabelled.is_used else found


def without_erased(
  labels: Mapping[str, tf.Tensor],
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
  """Returns the labels that losses may see, and the erased objects, if the batch has any."""
  erased = {name: labels[name] for name in ERASED_LABELS if name in labels}
  return {name: values for name, values in labels.items() if name not in erased}, erased


def measures(
  pseudo: mining.PseudoBoxes,
  counts: mining.MiningCounts,
  num_views: int,
  erased: Mapping[str, tf.Tensor],
) -> dict[str, training_losses.Measure]:
  """Returns the measures of one step on one replica, by name.

  Args:
    pseudo: what was mined in each of V views, before the views exchange it.
    counts: of the same views.
    num_views: 2 where the second half of the views are the copies of the first.
    erased: `ERASED_LABELS` of the images, [V / num_views, N, ...]; empty where records have none.

  Returns:
    Mined boxes, annotated objects, candidates, overflowed boxes and erased objects of a view; the
    mean score of mined boxes; the share of annotated objects that are found as mined boxes are;
    shares of the candidates that each filter dropped; the share of mined boxes that the
    other view has too; and of mined boxes against erased objects, precision and recall.
  """
  measure = training_losses.Measure
  num_mined = _sum(pseudo.valid)
  num_rows = _sum(tf.ones_like(counts.candidates))
  found = {
    BOXES: measure(num_mined, num_rows),
    SCORE: measure(_sum(tf.where(pseudo.valid, pseudo.scores, 0.0)), num_mined),
    ANNOTATED: measure(_sum(counts.annotated), num_rows),
    FOUND: measure(_sum(counts.annotated_found), _sum(counts.annotated)),
    CANDIDATES: measure(_sum(counts.candidates), num_rows),
    OVERFLOWED: measure(_sum(counts.overflowed), num_rows),
  }
  for name, (field, _) in _DROPPED.items():
    found[name] = measure(_sum(getattr(counts, field)), _sum(counts.candidates))
  if num_views == 2:
    found[AGREEMENT] = measure(_sum(is_in_both_views(pseudo)), num_mined)
  if erased:
    boxes_px, classes = (
      tf.concat([erased[name]] * num_views, axis=0) for name in ERASED_LABELS
    )  # [V, N, 4], [V, N]
    num_found, num_erased = _sum(found_objects(pseudo, boxes_px, classes)), _sum(classes > 0)
    found[ERASED] = measure(num_erased, num_rows)
    found[PRECISION] = measure(num_found, num_mined)
    found[RECALL] = measure(num_found, num_erased)
  return found


def is_in_both_views(pseudo: mining.PseudoBoxes) -> tf.Tensor:
  """Marks the mined boxes with one of their class on the same object in the other view; [V, P]."""
  others = mining.of_other_view(pseudo)
  is_same = _same_class_iou(pseudo.boxes_px, pseudo.classes, others.boxes_px, others.classes)
  agrees = (is_same > _SAME_OBJECT_IOU) & others.valid[:, tf.newaxis]  # [V, P, P]
  return pseudo.valid & tf.reduce_any(agrees, axis=-1)


def found_objects(pseudo: mining.PseudoBoxes, boxes_px: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
  """Marks the objects that a mined box of their view found.

  That is a pair of one class with an IoU above 0.5 in which each is the other's best, so that no
  box finds two objects and no object counts twice.

  Args:
    pseudo: of V views.
    boxes_px: float32 [V, N, 4], objects; padding is -1.
    classes: int32 [V, N], from 1; padding is -1.

  Returns:
    bool [V, N].
  """
  iou = _same_class_iou(boxes_px, classes, pseudo.boxes_px, pseudo.classes)  # [V, N, P]
  counts = (classes > 0)[..., tf.newaxis] & pseudo.valid[:, tf.newaxis]  # [V, N, P]
  iou = tf.where(counts, iou, 0.0)
  best_box = tf.argmax(iou, axis=2, output_type=tf.int32)  # [V, N]
  best_object = tf.argmax(iou, axis=1, output_type=tf.int32)  # [V, P]
  is_mutual = tf.equal(
    tf.gather(best_object, best_box, batch_dims=1), tf.range(boxes_px.shape[1])
  )  # [V, N]
  return is_mutual & (tf.reduce_max(iou, axis=2) > _SAME_OBJECT_IOU)


def describe(values: Mapping[str, float]) -> str:
  """Returns the words of the progress line on the measures; empty where there are none.

  Args:
    values: logs of a loop of training steps by name.
  """
  words = []
  if BOXES in values:
    words.append(_describe_mining(values))
  if UNLABELLED in values:
    words.append(f"probably unlabelled {values[UNLABELLED]:.1f} proposals a view")
  return ", ".join(words)


def _describe_mining(values: Mapping[str, float]) -> str:
  words = [f"score {values[SCORE]:.2f}", f"finds {_percent(values[FOUND])} of the annotated"]
  if AGREEMENT in values:
    words.append(f"views agree {_percent(values[AGREEMENT])}")
  dropped = [f"{word} {_percent(values[name])}" for name, (_, word) in _DROPPED.items()]
  words.append(f"dropped: {', '.join(dropped)}")
  words.append(f"overflowed {values[OVERFLOWED]:.1f}")
  # Without an erased object among the images there is nothing to compare with.
  if values.get(ERASED):
    words.append(
      f"of {values[ERASED]:.1f} erased: precision {_percent(values[PRECISION])}, recall"
      f" {_percent(values[RECALL])}"
    )
  return f"mined {values[BOXES]:.1f} a view ({'; '.join(words)})"


def _same_class_iou(
  boxes1_px: tf.Tensor, classes1: tf.Tensor, boxes2_px: tf.Tensor, classes2: tf.Tensor
) -> tf.Tensor:
  """IoU of each box [V, n, 4] with each of the other set [V, m, 4], 0 of two classes; [V, n, m]."""
  is_same = tf.equal(classes1[..., tf.newaxis], classes2[:, tf.newaxis])
  return tf.where(is_same, box_ops.pairwise_iou(boxes1_px, boxes2_px), 0.0)


def _sum(values: tf.Tensor) -> tf.Tensor:
  return tf.reduce_sum(tf.cast(values, tf.float32))


def _percent(share: float) -> str:
  return f"{100.0 * share:.0f} %"
