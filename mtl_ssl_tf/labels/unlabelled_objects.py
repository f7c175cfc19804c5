"""Finds boxes that are probably objects without annotation.

Where annotations lack objects, such a box is taught as background, and the detector learns not to
find its like. What is found here is left out instead: it is neither object nor background.

Letters: `B` images, `R` boxes of each, `N` rows of ground truth.

Reference: Suri et al., "SparseDet: Improving Sparsely Annotated Object Detection with
Pseudo-positive Mining", ICCV 2023.
"""

import tensorflow as tf

from mtl_ssl_tf.ops import matching_ops

# Label of a batch: the anchors that are no negatives of the RPN, bool [B, A].
ANCHORS = "unlabelled_anchors"


def probable_objects(
  boxes_px: tf.Tensor,
  scores: tf.Tensor,
  valid: tf.Tensor,
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
  *,
  min_objectness: float,
  max_iou: float,
) -> tf.Tensor:
  """Marks the boxes that score high as objects and lie on nothing that has a label.

  In an image without annotations that is all that score high.

  Args:
    boxes_px: float32 [B, R, 4], pixels, R known statically; no gradient passes.
    scores: float32 [B, R], objectness.
    valid: bool [B, R], the boxes that exist.
    gt_boxes_px: float32 [B, N, 4], pixels; padding is -1.
    gt_classes: int32 [B, N], from 1 on, or 0 for a region to be ignored; padding is -1.
    min_objectness: they score more.
    max_iou: their IoU with each row of ground truth, regions to be ignored among them, is below.

  Returns:
    bool [B, R].
  """
  match = matching_ops.match_boxes(
    tf.stop_gradient(boxes_px),
    gt_boxes_px,
    gt_classes >= 0,
    positive_threshold=max_iou,
    negative_threshold=max_iou,
    candidates=valid & (scores > min_objectness),
  )
  return match.is_negative
