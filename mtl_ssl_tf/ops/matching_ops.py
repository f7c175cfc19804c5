"""Matches anchors and proposals to ground-truth boxes."""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.ops import box_ops


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
  _check_thresholds(positive_threshold, negative_threshold)
  iou = tf.where(gt_valid[:, tf.newaxis], iou, -1.0)  # [B, A, N]
  if candidates is not None:
    iou = tf.where(candidates[:, :, tf.newaxis], iou, -1.0)  # [B, A, N]
  overlaps = _Overlaps(
    tf.reduce_max(iou, axis=-1),
    tf.argmax(iou, axis=-1, output_type=tf.int32),
    tf.reduce_max(iou, axis=1),
    tf.argmax(iou, axis=1, output_type=tf.int32),
  )
  return _decide(overlaps, positive_threshold, negative_threshold, force_match, candidates)


def match_boxes(
  anchors: tf.Tensor,
  gt_boxes: tf.Tensor,
  gt_valid: tf.Tensor,
  positive_threshold: float,
  negative_threshold: float,
  force_match: bool = False,
  candidates: tf.Tensor | None = None,
) -> Match:
  """Returns what `match` does of `box_ops.pairwise_iou(anchors, gt_boxes)`, for many anchors.

  It goes box by box, up to the last valid one. A table of all anchors by all places for boxes, most
  of which are padding, would be the largest tensor of a training step.

  Args:
    anchors: float32 [A, 4] or [B, A, 4], any frame.
    gt_boxes: float32 [B, N, 4], the same frame; padding is -1; N known statically.
    gt_valid: bool [B, N].
    positive_threshold, negative_threshold, force_match, candidates: as of `match`.
  """
  _check_thresholds(positive_threshold, negative_threshold)
  num_images, num_anchors, num_boxes = tf.shape(gt_boxes)[0], anchors.shape[-2], gt_boxes.shape[1]
  columns = tf.range(num_boxes)  # [N]

  def step(n: tf.Tensor, found: _Overlaps) -> tuple[tf.Tensor, _Overlaps]:
    iou = box_ops.pairwise_iou(anchors, tf.gather(gt_boxes, [n], axis=1))[..., 0]  # [B, A]
    iou = tf.where(tf.gather(gt_valid, [n], axis=1), iou, -1.0)  # [B, A]
    iou = iou if candidates is None else tf.where(candidates, iou, -1.0)
    is_better = iou > found.best_iou  # So the first of equal ones stays.
    claimed = tf.argmax(iou, axis=1, output_type=tf.int32)  # [B]
    return n + 1, _Overlaps(
      tf.where(is_better, iou, found.best_iou),
      tf.where(is_better, n, found.indices),
      tf.where(columns == n, tf.reduce_max(iou, axis=1, keepdims=True), found.claim_iou),
      tf.where(columns == n, claimed[:, tf.newaxis], found.claimed),
    )

  start = _Overlaps(
    tf.fill([num_images, num_anchors], -1.0),
    tf.zeros([num_images, num_anchors], tf.int32),
    tf.fill([num_images, num_boxes], -1.0),
    tf.zeros([num_images, num_boxes], tf.int32),
  )
  end = number_of_rows(gt_valid)
  _, found = tf.while_loop(lambda n, _: n < end, step, (0, start))
  return _decide(found, positive_threshold, negative_threshold, force_match, candidates)


def number_of_rows(used: tf.Tensor) -> tf.Tensor:
  """Returns how many columns of bool [B, N] there are up to the last that any image uses."""
  columns = tf.range(1, used.shape[1] + 1)
  return tf.reduce_max(tf.where(used, columns, 0))


class _Overlaps(NamedTuple):
  """The overlaps that a verdict needs, -1 where nothing takes part.

  Attributes:
    best_iou: float32 [B, A], with the box that an anchor overlaps most.
    indices: int32 [B, A], that box.
    claim_iou: float32 [B, N], with the anchor that a box overlaps most.
    claimed: int32 [B, N], that anchor.
  """

  best_iou: tf.Tensor
  indices: tf.Tensor
  claim_iou: tf.Tensor
  claimed: tf.Tensor


def _decide(
  overlaps: _Overlaps,
  positive_threshold: float,
  negative_threshold: float,
  force_match: bool,
  candidates: tf.Tensor | None,
) -> Match:
  """The verdict of `match`."""
  best_iou, indices, claim_iou, claimed = overlaps
  is_positive = best_iou >= positive_threshold
  is_negative = best_iou < negative_threshold
  if force_match:
    # Padding, and every box of an image without candidates, would otherwise claim anchor 0.
    first_claimant = _first_claimants(claimed, claim_iou >= 0.0, tf.shape(best_iou)[1])  # [B, A]
    is_forced = first_claimant < claimed.shape[1]  # [B, A]
    indices = tf.where(is_forced, first_claimant, indices)
    is_positive |= is_forced
    is_negative &= ~is_forced
  if candidates is not None:
    is_negative &= candidates
  return Match(indices, is_positive, is_negative)


def _check_thresholds(positive_threshold: float, negative_threshold: float) -> None:
  if negative_threshold > positive_threshold:
    raise ValueError(
      f"negative_threshold is {negative_threshold}; accepted: at most positive_threshold"
      f" ({positive_threshold})"
    )


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
