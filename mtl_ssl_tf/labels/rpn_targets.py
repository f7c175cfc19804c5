"""Targets of the region proposal network: the sampled anchors, their classes and deltas."""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.labels import ignored_regions
from mtl_ssl_tf.ops import box_coder_ops, matching_ops, sampling_ops


class RpnTargets(NamedTuple):
  """Targets of A anchors of B images.

  Attributes:
    objectness: int32 [B, A], 1 for positives, else 0.
    box_deltas: float32 [B, A, 4], deltas to the matched boxes; zero unless positive.
    selected: bool [B, A], the sampled minibatch; only these have an objectness loss.
    positive: bool [B, A], the positives among the selected; only these have a box loss.
    gt_indices: int32 [B, A], the matched object; 0 unless positive, selected or not.
  """

  objectness: tf.Tensor
  box_deltas: tf.Tensor
  selected: tf.Tensor
  positive: tf.Tensor
  gt_indices: tf.Tensor


def rpn_targets(
  anchors: tf.Tensor,
  is_candidate: tf.Tensor,
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
  seeds: tf.Tensor,
  *,
  num_samples: int,
  positive_fraction: float,
  positive_iou: float,
  negative_iou: float,
  never_negative: tf.Tensor | None = None,
) -> RpnTargets:
  """Matches anchors to objects and samples a minibatch of them.

  Every object also claims the candidate that it overlaps most, whatever the IoU. An anchor in a
  region to be ignored that is matched to no object is not used in the loss.

  Args:
    anchors: float32 [A, 4], pixels.
    is_candidate: bool [B, A], the anchors that take part: in training those inside the image.
    gt_boxes_px: float32 [B, N, 4], pixels; padding is -1.
    gt_classes: int32 [B, N], 1 … C-1, or 0 for a region to be ignored; padding is -1.
    seeds: int32 [B, 2], one for each image.
    num_samples: size of an image's minibatch; it may exceed A.
    positive_fraction: largest share of positives in it.
    positive_iou: smallest IoU of a positive.
    negative_iou: a negative has less than this IoU with every object and every such region.
    never_negative: bool [B, A], further anchors that are no negatives; None is none.

  Returns:
    `RpnTargets`. An image without objects has negatives only.

  Reference: Ren et al., "Faster R-CNN", NeurIPS 2015, sections 3.1.2 and 3.1.3.
  """
  match = matching_ops.match_boxes(
    anchors,
    gt_boxes_px,
    gt_classes > 0,
    positive_iou,
    negative_iou,
    force_match=True,
    candidates=is_candidate,
  )
  is_negative = match.is_negative & ~ignored_regions.in_ignored_region(
    anchors, gt_boxes_px, gt_classes, negative_iou
  )  # [B, A]
  if never_negative is not None:
    is_negative &= ~never_negative
  selected = sampling_ops.balanced_sample_mask(
    seeds, match.is_positive, is_negative, num_samples, positive_fraction
  )  # [B, A]
  matched_boxes_px = tf.gather(gt_boxes_px, match.indices, batch_dims=1)  # [B, A, 4]
  deltas = box_coder_ops.encode(matched_boxes_px, anchors)  # [B, A, 4]
  return RpnTargets(
    objectness=tf.cast(match.is_positive, tf.int32),
    box_deltas=tf.where(match.is_positive[..., tf.newaxis], deltas, 0.0),
    selected=selected,
    positive=selected & match.is_positive,
    gt_indices=tf.where(match.is_positive, match.indices, 0),
  )
