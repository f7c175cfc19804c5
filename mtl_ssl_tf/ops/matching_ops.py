"""Matches anchors and proposals to ground-truth boxes."""

from typing import NamedTuple

import tensorflow as tf


class Match(NamedTuple):
  """Result of `match` for A anchors of B images.

  Attributes:
    indices: int32 [B, A], the ground-truth box with the largest IoU, or the one that forced the
      match; 0 where the image has none. Meaningful for positives.
    is_positive: bool [B, A].
    is_negative: bool [B, A]; an anchor that is neither takes no part.
  """

  indices: tf.Tensor
  is_positive: tf.Tensor
  is_negative: tf.Tensor


def match(
  iou: tf.Tensor,
  gt_valid: tf.Tensor,
  positive_threshold: float,
  negative_threshold: float,
  force_match: bool = False,
  candidates: tf.Tensor | None = None,
) -> Match:
  """Gives each anchor the ground-truth box it overlaps most, and a verdict by thresholds.

  IoU at or above `positive_threshold` is positive, below `negative_threshold` negative. With
  `force_match` each ground-truth box also claims the candidate it overlaps most, whatever the
  IoU: the first one if several do, so a box that overlaps no candidate claims the first of all,
  as in the released code. Of two boxes that claim the same anchor the first in the list gets it.

  Args:
    iou: float32 [B, A, N], N at least 1.
    gt_valid: bool [B, N]; padding is never matched and claims nothing.
    positive_threshold: smallest IoU of a positive.
    negative_threshold: IoU from which on an anchor is no negative; at most `positive_threshold`.
    force_match: whether ground-truth boxes claim anchors.
    candidates: bool [B, A], the anchors that take part; None means all. The others are neither
      positive nor negative.

  Returns:
    a `Match`.

  Raises:
    ValueError: `negative_threshold` exceeds `positive_threshold`.

  Reference: Ren et al., "Faster R-CNN", NeurIPS 2015, section 3.1.2.
  """
  if negative_threshold > positive_threshold:
    raise ValueError(
      f"negative_threshold is {negative_threshold}; accepted: at most positive_threshold"
      f" ({positive_threshold})"
    )
  iou = tf.where(gt_valid[:, tf.newaxis], iou, -1.0)  # [B, A, N]
  if candidates is not None:
    iou = tf.where(candidates[:, :, tf.newaxis], iou, -1.0)  # [B, A, N]
  indices = tf.argmax(iou, axis=-1, output_type=tf.int32)  # [B, A]
  best_iou = tf.reduce_max(iou, axis=-1)  # [B, A]
  is_positive = best_iou >= positive_threshold
  is_negative = best_iou < negative_threshold
  if force_match:
    claimed_anchors = tf.argmax(iou, axis=1, output_type=tf.int32)  # [B, N]
    # Padding, and every box of an image without candidates, would otherwise claim anchor 0.
    has_claim = tf.reduce_max(iou, axis=1) >= 0.0  # [B, N]
    first_claimant = _first_claimants(claimed_anchors, has_claim, tf.shape(iou)[1])  # [B, A]
    is_forced = first_claimant < iou.shape[2]  # [B, A]
    indices = tf.where(is_forced, first_claimant, indices)
    is_positive |= is_forced
    is_negative &= ~is_forced
  if candidates is not None:
    is_negative &= candidates
  return Match(indices, is_positive, is_negative)


def _first_claimants(
  claimed_anchors: tf.Tensor, has_claim: tf.Tensor, num_anchors: tf.Tensor
) -> tf.Tensor:
  """Returns int32 [B, A], the first box that claims an anchor; N where none does.

  Args:
    claimed_anchors: int32 [B, N].
    has_claim: bool [B, N].
    num_anchors: A.
  """
  num_images, num_boxes = tf.shape(claimed_anchors)[0], claimed_anchors.shape[1]
  # Boxes without a claim go to one more anchor, which is cut off.
  anchors = tf.where(has_claim, claimed_anchors, num_anchors)  # [B, N]
  images = tf.repeat(tf.range(num_images)[:, tf.newaxis], num_boxes, axis=1)  # [B, N]
  boxes = tf.broadcast_to(tf.range(num_boxes), tf.shape(anchors))  # [B, N]
  claimants = tf.tensor_scatter_nd_min(
    tf.fill([num_images, num_anchors + 1], num_boxes), tf.stack([images, anchors], axis=-1), boxes
  )  # [B, A + 1]
  return claimants[:, :-1]
