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
  match = _match(proposals_px, proposal_valid, gt_boxes_px, gt_classes, positive_iou)
  sampled_indices, valid = sampling_ops.balanced_sample_indices(
    seeds, match.is_positive, match.is_negative, num_samples, positive_fraction
  )  # [B, K] each
  return _targets(
    tf.gather(proposals_px, sampled_indices, batch_dims=1),
    valid,
    tf.gather(match.is_positive, sampled_indices, batch_dims=1),
    tf.gather(match.indices, sampled_indices, batch_dims=1),
    gt_boxes_px,
    gt_classes,
  )


def rematched(
  boxes_px: tf.Tensor,
  valid: tf.Tensor,
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
  positive_iou: float,
) -> RoiTargets:
  """Matches boxes that a stage of a cascade is given; all of them are the minibatch.

  A box is valid if it was, has an area, and is not in a region to be ignored or is positive.
  No gradient flows back into the boxes.

  Args:
    boxes_px: float32 [B, K, 4], pixels; padding is -1.
    valid: bool [B, K], False for padding.
    gt_boxes_px, gt_classes: as of `roi_targets`.
    positive_iou: smallest IoU of a positive.

  Returns:
    `RoiTargets` of the boxes in their order.

  Reference: Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018, section 4.2.
  """
  boxes_px = tf.stop_gradient(boxes_px)
  valid &= box_ops.area(boxes_px) > 0.0  # [B, K]
  match = _match(boxes_px, valid, gt_boxes_px, gt_classes, positive_iou)
  is_used = match.is_positive | match.is_negative  # [B, K]
  return _targets(boxes_px, is_used, match.is_positive, match.indices, gt_boxes_px, gt_classes)


def _match(
  boxes_px: tf.Tensor,
  valid: tf.Tensor,
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
  positive_iou: float,
) -> matching_ops.Match:
  """The verdict on valid boxes [B, R, 4]; nothing in a region to be ignored is a negative."""
  match = matching_ops.match(
    box_ops.pairwise_iou(boxes_px, gt_boxes_px),
    gt_classes > 0,
    positive_iou,
    positive_iou,
    candidates=valid,
  )
  is_ignored = ignored_regions.in_ignored_region(boxes_px, gt_boxes_px, gt_classes, positive_iou)
  return match._replace(is_negative=match.is_negative & ~is_ignored)


def _targets(
  boxes_px: tf.Tensor,
  valid: tf.Tensor,
  is_positive: tf.Tensor,
  gt_indices: tf.Tensor,
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
) -> RoiTargets:
  """The targets of boxes [B, K, 4], of which some are valid and some matched, to these objects."""
  is_positive &= valid
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
