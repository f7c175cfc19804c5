"""Targets of the second stage: the sampled proposals, their classes and deltas."""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.labels import ignored_regions
from mtl_ssl_tf.ops import box_coder_ops, box_ops, matching_ops, sampling_ops


class RoiTargets(NamedTuple):
  """K sampled regions of interest of B images, with their targets.

  Attributes:
    boxes_px: float32 [B, K, 4], pixels; padding is -1.
    valid: bool [B, K], False for padding.
    classes: int32 [B, K], class of the matched object; 0 for background and for padding.
    box_deltas: float32 [B, K, 4], deltas to the matched boxes; zero unless positive.
    is_positive: bool [B, K], the regions that are matched to an object.
    gt_indices: int32 [B, K], the matched object; 0 unless positive.
  """

  boxes_px: tf.Tensor
  valid: tf.Tensor
  classes: tf.Tensor
  box_deltas: tf.Tensor
  is_positive: tf.Tensor
  gt_indices: tf.Tensor


def roi_targets(
  proposals_px: tf.Tensor,
  proposal_valid: tf.Tensor,
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
  seeds: tf.Tensor,
  *,
  num_samples: int,
  positive_fraction: float,
  positive_iou: float,
  append_gt: bool,
) -> RoiTargets:
  """Matches proposals to objects and samples a minibatch of them.

  A proposal is positive from `positive_iou` on and background below; only what lies in a region to
  be ignored, and is not positive, is left out. No gradient flows back into the proposals.

  With `append_gt` the ground-truth boxes are proposals too. Early in training the proposals overlap
  the objects poorly, so that few of them are positive; the boxes themselves give the second stage
  positives of every object from the first step on. The paper and the released code leave them out,
  most other implementations of Faster R-CNN add them. It helps short runs from scratch.

  Args:
    proposals_px: float32 [B, P, 4], pixels; P known statically.
    proposal_valid: bool [B, P], the proposals that exist.
    gt_boxes_px: float32 [B, N, 4], pixels; padding is -1; N known statically.
    gt_classes: int32 [B, N], 1 … C-1, or 0 for a region to be ignored; padding is -1.
    seeds: int32 [B, 2], one for each image.
    num_samples: K, size of an image's minibatch; it may exceed P.
    positive_fraction: largest share of positives in it.
    positive_iou: smallest IoU of a positive.
    append_gt: whether the ground-truth boxes join the proposals, see above.

  Returns:
    `RoiTargets`, positives first.

  Reference: Girshick, "Fast R-CNN", ICCV 2015, section 2.3.
  """
  gt_valid = gt_classes > 0  # [B, N]
  if append_gt:
    proposals_px = tf.concat([proposals_px, gt_boxes_px], axis=1)  # [B, P+N, 4]
    proposal_valid = tf.concat([proposal_valid, gt_valid], axis=1)  # [B, P+N]
  proposals_px = tf.stop_gradient(proposals_px)
  match = matching_ops.match(
    box_ops.pairwise_iou(proposals_px, gt_boxes_px),
    gt_valid,
    positive_iou,
    positive_iou,
    candidates=proposal_valid,
  )
  is_negative = match.is_negative & ~ignored_regions.in_ignored_region(
    proposals_px, gt_boxes_px, gt_classes, positive_iou
  )  # [B, P]
  sampled_indices, valid = sampling_ops.balanced_sample_indices(
    seeds, match.is_positive, is_negative, num_samples, positive_fraction
  )  # [B, K] each

  boxes_px = tf.gather(proposals_px, sampled_indices, batch_dims=1)  # [B, K, 4]
  is_positive = valid & tf.gather(match.is_positive, sampled_indices, batch_dims=1)  # [B, K]
  gt_indices = tf.gather(match.indices, sampled_indices, batch_dims=1)  # [B, K]
  gt_indices = tf.where(is_positive, gt_indices, 0)
  matched_boxes_px = tf.gather(gt_boxes_px, gt_indices, batch_dims=1)  # [B, K, 4]
  deltas = box_coder_ops.encode(matched_boxes_px, boxes_px)  # [B, K, 4]
  return RoiTargets(
    boxes_px=tf.where(valid[..., tf.newaxis], boxes_px, -1.0),
    valid=valid,
    classes=tf.where(is_positive, tf.gather(gt_classes, gt_indices, batch_dims=1), 0),
    box_deltas=tf.where(is_positive[..., tf.newaxis], deltas, 0.0),
    is_positive=is_positive,
    gt_indices=gt_indices,
  )
