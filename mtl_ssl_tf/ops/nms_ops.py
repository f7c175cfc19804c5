"""Non-maximum suppression of many sets of boxes at once, with static shapes.

Two methods keep the same boxes, unless an IoU lies within a rounding error of the threshold:

* `loop` takes one box of every set per iteration, in one arg-max and one row of IoUs, so its cost
  does not depend on how the boxes lie. Compiled, it beats the compiled kernels of TensorFlow.
* `native` is TensorFlow's kernel, set by set. It compares a box only when it is the best left.
  Outside compiled code that takes about a twentieth of the time.

Letters: G independent sets of N boxes, M kept boxes; B images, P proposals, K object classes
(without background), D detections.
"""

import tensorflow as tf

from mtl_ssl_tf.ops import box_ops

METHODS = ("loop", "native")
_NO_SCORE = float("-inf")


def batched_nms(
  boxes: tf.Tensor,
  scores: tf.Tensor,
  valid: tf.Tensor,
  iou_threshold: float,
  max_outputs: int,
  pre_nms_top_k: int | None,
  method: str,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Keeps the best boxes of each image that do not overlap a better one too much.

  By descending score, a box is kept unless its IoU with a kept box exceeds `iou_threshold`; of
  equal scores the first comes first.

  Args:
    boxes: float32 [B, N, 4], any frame; N known statically.
    scores: float32 [B, N], finite.
    valid: bool [B, N]; other boxes, and boxes without area, are never kept and drop no others.
    iou_threshold: largest IoU that two kept boxes may have.
    max_outputs: M, number of boxes to keep.
    pre_nms_top_k: apply NMS to that many boxes of the highest scores only; None means all.
    method: one of `METHODS`; `loop` compiles.

  Returns:
    indices: int32 [B, M] into N, by descending score; 0 in the places that stay empty.
    valid: bool [B, M], False in the places that stay empty.

  Raises:
    ValueError: for another method.
  """
  scores = tf.where(valid & (box_ops.area(boxes) > 0.0), scores, _NO_SCORE)  # [B, N]
  if pre_nms_top_k is None or pre_nms_top_k >= boxes.shape[-2]:
    return _greedy_nms(boxes, scores, iou_threshold, max_outputs, method)
  scores, best = tf.math.top_k(scores, pre_nms_top_k)  # [B, top_k] each
  boxes = tf.gather(boxes, best, batch_dims=1)  # [B, top_k, 4]
  indices, kept = _greedy_nms(boxes, scores, iou_threshold, max_outputs, method)  # [B, M] each
  return tf.where(kept, tf.gather(best, indices, batch_dims=1), 0), kept


def multiclass_nms(
  boxes: tf.Tensor,
  scores: tf.Tensor,
  valid: tf.Tensor,
  iou_threshold: float,
  max_per_class: int,
  max_total: int,
  score_threshold: float,
  method: str,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
  """Detections of each image: NMS within each class, then the best of all classes.

  Args:
    boxes: float32 [B, P, K, 4], a box per class, or [B, P, 1, 4], one for all classes; any frame,
      already clipped to the image. Boxes without area are dropped. P and K known statically.
    scores: float32 [B, P, K], object classes only.
    valid: bool [B, P], the proposals that exist.
    iou_threshold: largest IoU that two detections of a class may have.
    max_per_class: number of detections to keep of one class.
    max_total: D, number of detections to keep of an image.
    score_threshold: detections score more than this.
    method: one of `METHODS`; `loop` compiles.

  Returns:
    boxes: float32 [B, D, 4], by descending score; of equal scores the lower class comes first.
    scores: float32 [B, D].
    classes: int32 [B, D], 1 … K.
    num_detections: int32 [B]; behind that many rows the other results are zero.
    indices: int32 [B, D], the proposal that each detection comes from.

  Raises:
    ValueError: for another method.
  """
  num_proposals, num_classes = scores.shape[1:]
  scores = tf.transpose(scores, [0, 2, 1])  # [B, K, P]
  boxes = tf.transpose(boxes, [0, 2, 1, 3])  # [B, K or 1, P, 4]
  is_candidate = (
    valid[:, tf.newaxis] & (scores > score_threshold) & (box_ops.area(boxes) > 0.0)
  )  # [B, K, P]
  scores = tf.where(is_candidate, scores, _NO_SCORE)  # [B, K, P]
  boxes = tf.broadcast_to(boxes, tf.concat([tf.shape(scores), [4]], axis=0))  # [B, K, P, 4]

  indices, kept = _greedy_nms(
    tf.reshape(boxes, [-1, num_proposals, 4]),
    tf.reshape(scores, [-1, num_proposals]),
    iou_threshold,
    max_per_class,
    method,
  )  # [B·K, M] each
  indices = tf.reshape(indices, [-1, num_classes, max_per_class])  # [B, K, M]
  kept = tf.reshape(kept, [-1, num_classes, max_per_class])  # [B, K, M]
  kept_scores = tf.where(kept, tf.gather(scores, indices, batch_dims=2), _NO_SCORE)  # [B, K, M]

  num_kept = num_classes * max_per_class
  num_merged = min(max_total, num_kept)
  merged_scores, places = tf.math.top_k(
    tf.reshape(kept_scores, [-1, num_kept]), num_merged
  )  # [B, min(D, K·M)] each
  is_detection = merged_scores > _NO_SCORE
  class_rows = places // max_per_class
  indices = tf.gather(tf.reshape(indices, [-1, num_kept]), places, batch_dims=1)
  boxes = tf.gather(
    tf.reshape(boxes, [-1, num_classes * num_proposals, 4]),
    class_rows * num_proposals + indices,
    batch_dims=1,
  )  # [B, min(D, K·M), 4]

  def pad(values: tf.Tensor) -> tf.Tensor:
    mask = is_detection if values.shape.rank == 2 else is_detection[..., tf.newaxis]
    rows = [0, max_total - num_merged]
    return tf.pad(
      tf.where(mask, values, tf.zeros_like(values)), [[0, 0], rows, [0, 0]][: values.shape.rank]
    )  # [B, D, ...]

  num_detections = tf.reduce_sum(tf.cast(is_detection, tf.int32), axis=-1)  # [B]
  return pad(boxes), pad(merged_scores), pad(class_rows + 1), num_detections, pad(indices)


def _greedy_nms(
  boxes: tf.Tensor, scores: tf.Tensor, iou_threshold: float, max_outputs: int, method: str
) -> tuple[tf.Tensor, tf.Tensor]:
  """Applies NMS to each of G sets; a box whose score is -inf does not exist.

  Args:
    boxes: float32 [G, N, 4], any frame.
    scores: float32 [G, N].
    iou_threshold: largest IoU that two kept boxes may have.
    max_outputs: M, number of boxes to keep.
    method: one of `METHODS`.

  Returns:
    indices: int32 [G, M] by descending score, and valid: bool [G, M]; 0 and False where empty.
  """
  if method not in METHODS:
    raise ValueError(f"NMS method is {method!r}; accepted: {', '.join(METHODS)}")
  if method == "native":
    return _native_nms(boxes, scores, iou_threshold, max_outputs)
  return _loop_nms(boxes, scores, iou_threshold, max_outputs)


def _native_nms(
  boxes: tf.Tensor, scores: tf.Tensor, iou_threshold: float, max_outputs: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """`_greedy_nms` by TensorFlow's kernel, that for CPUs: few bytes go there, even from a GPU."""

  def nms_of_set(one_set: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    boxes, scores = one_set  # [N, 4], [N]
    with tf.device("CPU:0"):
      indices, num_kept = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes,
        scores=scores,
        max_output_size=max_outputs,
        iou_threshold=iou_threshold,
        score_threshold=_NO_SCORE,
        pad_to_max_output_size=True,
      )
    valid = tf.range(max_outputs) < num_kept  # [M]
    return tf.where(valid, indices, 0), valid

  return tf.map_fn(
    nms_of_set,
    (boxes, scores),
    fn_output_signature=(
      tf.TensorSpec([max_outputs], tf.int32),
      tf.TensorSpec([max_outputs], tf.bool),
    ),
  )


def _loop_nms(
  boxes: tf.Tensor, scores: tf.Tensor, iou_threshold: float, max_outputs: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """`_greedy_nms` with static shapes throughout."""
  ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)  # [G, N] each
  areas = box_ops.area(boxes)  # [G, N]
  box_range = tf.range(tf.shape(scores)[1])  # [N]
  num_iterations = min(max_outputs, boxes.shape[1])

  def take_best(
    iteration: tf.Tensor, scores: tf.Tensor, indices: tf.Tensor, valid: tf.Tensor
  ) -> tuple[tf.Tensor, ...]:
    best = tf.argmax(scores, axis=-1, output_type=tf.int32)  # [G], 0 where all are gone
    exists = tf.gather(scores, best, batch_dims=1) > _NO_SCORE  # [G]
    best_boxes = tf.gather(boxes, best, batch_dims=1)  # [G, 4]
    best_ymin, best_xmin, best_ymax, best_xmax = tf.split(best_boxes, 4, axis=-1)  # [G, 1] each
    height = tf.minimum(ymax, best_ymax) - tf.maximum(ymin, best_ymin)  # [G, N]
    width = tf.minimum(xmax, best_xmax) - tf.maximum(xmin, best_xmin)  # [G, N]
    intersection = tf.maximum(height, 0.0) * tf.maximum(width, 0.0)  # [G, N]
    union = areas + box_ops.area(best_boxes)[:, tf.newaxis] - intersection  # [G, N]
    is_gone = (intersection > iou_threshold * union) | tf.equal(
      box_range, best[:, tf.newaxis]
    )  # [G, N]
    return (
      iteration + 1,
      tf.where(is_gone, _NO_SCORE, scores),
      tf.tensor_scatter_nd_update(indices, [[iteration]], [tf.cast(best, tf.float32)]),
      tf.tensor_scatter_nd_update(valid, [[iteration]], [tf.cast(exists, tf.float32)]),
    )

  num_sets = tf.shape(scores)[0]
  # Both float32, in which indices are exact: oneDNN reports a transpose of other types as an error.
  _, _, indices, valid = tf.while_loop(
    lambda iteration, *_: iteration < num_iterations,
    take_best,
    (
      0,
      scores,
      tf.zeros([num_iterations, num_sets]),
      tf.zeros([num_iterations, num_sets]),
    ),
  )
  padding = [[0, 0], [0, max_outputs - num_iterations]]
  indices, valid = (tf.pad(tf.transpose(values), padding) for values in (indices, valid))
  return tf.cast(indices, tf.int32), valid > 0.5  # [G, M]
