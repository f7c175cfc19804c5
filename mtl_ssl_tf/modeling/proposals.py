"""RPN outputs to proposals."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.modeling.heads import rpn_head
from mtl_ssl_tf.ops import anchor_ops, box_coder_ops, box_ops, nms_ops


class Anchors(NamedTuple):
  """The anchors of a batch.

  Attributes:
    boxes_px: float32 [A, 4] in training, [B, A, 4] clipped to each image at inference.
    is_candidate: bool [B, A]; anchors over padding never count, and in training neither do those
      that cross the border of the image.
  """

  boxes_px: tf.Tensor
  is_candidate: tf.Tensor


class Proposals(NamedTuple):
  """The boxes that enter the second stage, best first.

  Attributes:
    boxes_px: float32 [B, P, 4], inside the image; padding rows are 0.
    valid: bool [B, P].
    scores: float32 [B, P], objectness; 0 in padding rows.
  """

  boxes_px: tf.Tensor
  valid: tf.Tensor
  scores: tf.Tensor


@dataclasses.dataclass(frozen=True)
class AnchorGrid:
  """Anchor shapes of one map; see `anchor_ops.grid_anchors`."""

  stride: int
  base_size_px: float
  scales: tuple[float, ...]
  aspect_ratios: tuple[float, ...]
  whole_px: bool = False

  @property
  def anchors_per_cell(self) -> int:
    return len(self.scales) * len(self.aspect_ratios)

  def __call__(self, features: tf.Tensor, image_size_px: tf.Tensor, training: bool) -> Anchors:
    """Returns the anchors of the map [B, h, w, c] over images of size `image_size_px` [B, 2]."""
    feature_size = (features.shape[1], features.shape[2])
    boxes = self.boxes_px(feature_size)
    on_content = self.on_content(feature_size, image_size_px)
    if training:
      return Anchors(boxes, on_content & anchor_ops.inside_image(boxes, image_size_px))
    batch_size = tf.shape(image_size_px)[0]
    tiled = tf.tile(boxes[tf.newaxis], [batch_size, 1, 1])  # [B, A, 4]
    return Anchors(box_ops.clip_to_size(tiled, image_size_px), on_content)

  def boxes_px(self, feature_size: tuple[int, int]) -> np.ndarray:
    """Returns float32 [A, 4], the anchors of a map of that many rows and columns."""
    return anchor_ops.grid_anchors(
      feature_size, self.stride, self.base_size_px, self.scales, self.aspect_ratios, self.whole_px
    )

  def on_content(self, feature_size: tuple[int, int], image_size_px: tf.Tensor) -> tf.Tensor:
    """Returns bool [B, A], the anchors that are not over an image's padding."""
    return anchor_ops.on_content(feature_size, image_size_px, self.stride, self.anchors_per_cell)


@dataclasses.dataclass(frozen=True)
class ProposalGenerator:
  """Decodes and clips the boxes of the RPN, and applies non-maximum suppression.

  Attributes:
    nms_iou: boxes that overlap a better one by more are dropped.
    num_proposals: P, kept of each image.
    pre_nms_top_k: best-scored boxes that enter non-maximum suppression, None for all.
    nms_method: one of `nms_ops.METHODS`.
  """

  nms_iou: float
  num_proposals: int
  pre_nms_top_k: int | None
  nms_method: str = "loop"

  def __call__(
    self, rpn: rpn_head.RpnOutputs, anchors: Anchors, image_size_px: tf.Tensor
  ) -> Proposals:
    """Returns the proposals of each image; no gradient passes."""
    deltas = tf.stop_gradient(rpn.deltas)
    scores = tf.nn.softmax(tf.stop_gradient(rpn.logits))[..., 1]  # [B, A]
    boxes_px = box_coder_ops.decode(deltas, anchors.boxes_px)  # [B, A, 4]
    boxes_px = box_ops.clip_to_size(boxes_px, image_size_px)
    # As in the released code, a score must be above the threshold, here 0.
    is_candidate = anchors.is_candidate & (scores > 0.0)
    indices, valid = nms_ops.batched_nms(
      boxes_px,
      scores,
      is_candidate,
      iou_threshold=self.nms_iou,
      max_outputs=self.num_proposals,
      pre_nms_top_k=self.pre_nms_top_k,
      method=self.nms_method,
    )  # [B, P]
    kept_boxes = tf.gather(boxes_px, indices, batch_dims=1)  # [B, P, 4]
    kept_scores = tf.gather(scores, indices, batch_dims=1)  # [B, P]
    return Proposals(
      tf.where(valid[..., tf.newaxis], kept_boxes, 0.0),
      valid,
      tf.where(valid, kept_scores, 0.0),
    )
