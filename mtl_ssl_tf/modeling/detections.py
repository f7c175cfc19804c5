"""Second-stage outputs to detections."""

import dataclasses

import tensorflow as tf

from mtl_ssl_tf.ops import box_coder_ops, box_ops, nms_ops


@dataclasses.dataclass(frozen=True)
class DetectionGenerator:
  """Decodes and clips boxes, and applies non-maximum suppression to each class.

  Attributes:
    score_threshold: detections must score strictly more.
    nms_iou: IoU above which the lower scored of two boxes of a class is dropped.
    max_per_class: kept of each class.
    max_total: D, kept of an image.
    nms_method: one of `nms_ops.METHODS`.
  """

  score_threshold: float
  nms_iou: float
  max_per_class: int
  max_total: int
  nms_method: str = "loop"

  def __call__(
    self,
    class_logits: tf.Tensor,
    box_deltas: tf.Tensor,
    proposals_px: tf.Tensor,
    proposals_valid: tf.Tensor,
    image_size_px: tf.Tensor,
  ) -> dict[str, tf.Tensor]:
    """Returns the detections of each image, best first.

    Args:
      class_logits: float32 [B, P, C], background first.
      box_deltas: float32 [B, P, C - 1, 4], or [B, P, 1, 4] for all classes.
      proposals_px: float32 [B, P, 4].
      proposals_valid: bool [B, P].
      image_size_px: float32 [B, 2].

    Returns:
      `detection_boxes_px` float32 [B, D, 4], `detection_scores` float32 [B, D],
      `detection_classes` int32 [B, D] (1 ... C - 1, padding 0), `num_detections` int32 [B], and
      `detection_proposal_indices` int32 [B, D], the proposal that each comes from.
    """
    scores = tf.nn.softmax(class_logits)[..., 1:]  # [B, P, C - 1]
    # [B, P, C - 1 or 1, 4]
    boxes_px = box_coder_ops.decode(box_deltas, proposals_px[:, :, tf.newaxis])
    boxes, scores, classes, num_detections, indices = nms_ops.multiclass_nms(
      box_ops.clip_to_size(boxes_px, image_size_px),
      scores,
      proposals_valid,
      iou_threshold=self.nms_iou,
      max_per_class=self.max_per_class,
      max_total=self.max_total,
      score_threshold=self.score_threshold,
      method=self.nms_method,
    )
    return {
      "detection_boxes_px": boxes,
      "detection_scores": scores,
      "detection_classes": classes,
      "num_detections": num_detections,
      "detection_proposal_indices": indices,
    }
