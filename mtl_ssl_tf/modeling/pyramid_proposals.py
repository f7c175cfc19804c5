"""Anchors and proposals of a feature pyramid.

Letters as in `detector.py`; `L` levels, of which level l has `A_l` of the `A` anchors, and `k`
boxes of a level that non-maximum suppression is applied to.

Reference: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, section 4.1.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.modeling import proposals
from mtl_ssl_tf.modeling.heads import rpn_head
from mtl_ssl_tf.ops import box_coder_ops, box_ops, nms_ops


@dataclasses.dataclass(frozen=True)
class PyramidAnchorGrid:
  """The anchors of all levels, finest first, in the order of `rpn_head.PyramidRpnHead`.

  Anchors that cross the border of the image are neither dropped nor clipped, as published: those of
  the coarsest levels nearly all do.

  Attributes:
    grids: of each level, with as many anchors a cell.
  """

  grids: tuple[proposals.AnchorGrid, ...]

  @property
  def anchors_per_cell(self) -> int:
    return self.grids[0].anchors_per_cell

  def __call__(
    self, features: tuple[tf.Tensor, ...], image_size_px: tf.Tensor, training: bool
  ) -> proposals.Anchors:
    """Returns the anchors [A, 4] of a pyramid over images of size `image_size_px` [B, 2]."""
    del training  # The same in both modes.
    boxes_px, on_content = [], []
    for grid, maps in zip(self.grids, features, strict=True):
      map_size = (maps.shape[1], maps.shape[2])
      boxes_px.append(grid.boxes_px(map_size))  # [A_l, 4]
      on_content.append(grid.on_content(map_size, image_size_px))  # [B, A_l]
    return proposals.Anchors(np.concatenate(boxes_px), tf.concat(on_content, axis=1))


@dataclasses.dataclass(frozen=True)
class PyramidProposalGenerator:
  """Applies non-maximum suppression to the best boxes of each level, and keeps the best of all.

  Attributes:
    nms_iou: boxes that overlap a better one of their level by more are dropped.
    num_proposals: P, kept of each image.
    pre_nms_top_k: k.
    nms_method: one of `nms_ops.METHODS`.
  """

  nms_iou: float
  num_proposals: int
  pre_nms_top_k: int
  nms_method: str = "loop"

  def __call__(
    self, rpn: rpn_head.RpnOutputs, anchors: proposals.Anchors, image_size_px: tf.Tensor
  ) -> proposals.Proposals:
    """Returns the proposals of each image; no gradient passes.

    Only the k best boxes of a level are decoded. Levels with fewer anchors are filled up, so that
    all are suppressed at once.
    """
    scores, boxes_px = self._best_of_levels(rpn, anchors)  # [B, L, k], [B, L, k, 4]
    num_levels, top_k = scores.shape[1:]
    boxes_px = tf.reshape(boxes_px, [-1, num_levels * top_k, 4])  # [B, L k, 4]
    boxes_px = box_ops.clip_to_size(boxes_px, image_size_px)
    num_kept = min(self.num_proposals, top_k)
    indices, kept = nms_ops.batched_nms(
      tf.reshape(boxes_px, [-1, top_k, 4]),
      tf.reshape(scores, [-1, top_k]),
      tf.reshape(scores > 0.0, [-1, top_k]),
      iou_threshold=self.nms_iou,
      max_outputs=num_kept,
      pre_nms_top_k=None,
      method=self.nms_method,
    )  # [B L, k']
    indices = tf.reshape(indices, [-1, num_levels, num_kept])  # [B, L, k']
    kept = tf.reshape(kept, [-1, num_levels, num_kept])
    kept_scores = tf.where(kept, tf.gather(scores, indices, batch_dims=2), 0.0)  # [B, L, k']
    first_rows = top_k * tf.range(num_levels)[:, tf.newaxis]  # [L, 1]
    rows = tf.reshape(indices + first_rows, [-1, num_levels * num_kept])  # [B, L k']
    return self._best(
      tf.reshape(kept_scores, [-1, num_levels * num_kept]), tf.gather(boxes_px, rows, batch_dims=1)
    )

  def _best_of_levels(
    self, rpn: rpn_head.RpnOutputs, anchors: proposals.Anchors
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns scores [B, L, k] and boxes [B, L, k, 4], best first; 0 where there are no more."""
    logits = tf.stop_gradient(rpn.logits)
    scores = tf.sigmoid(logits[..., 1] - logits[..., 0])  # [B, A], as softmax has them
    scores = tf.where(anchors.is_candidate, scores, 0.0)
    sizes = _level_sizes(rpn)
    anchors_px = tf.broadcast_to(anchors.boxes_px, tf.shape(rpn.deltas))  # [B, A, 4]
    top_k = min(self.pre_nms_top_k, max(sizes))
    best_scores, best_boxes = [], []
    for level_scores, deltas, boxes_px in zip(
      tf.split(scores, sizes, axis=1),
      tf.split(tf.stop_gradient(rpn.deltas), sizes, axis=1),
      tf.split(anchors_px, sizes, axis=1),
      strict=True,
    ):
      num_best = min(top_k, level_scores.shape[1])
      level_scores, best = tf.math.top_k(level_scores, num_best)  # [B, min(k, A_l)] each
      boxes_px = box_coder_ops.decode(
        tf.gather(deltas, best, batch_dims=1), tf.gather(boxes_px, best, batch_dims=1)
      )  # [B, min(k, A_l), 4]
      missing = [0, top_k - num_best]
      best_scores.append(tf.pad(level_scores, [[0, 0], missing]))  # [B, k]
      best_boxes.append(tf.pad(boxes_px, [[0, 0], missing, [0, 0]]))  # [B, k, 4]
    return tf.stack(best_scores, axis=1), tf.stack(best_boxes, axis=1)

  def _best(self, scores: tf.Tensor, boxes_px: tf.Tensor) -> proposals.Proposals:
    """Returns the best P of scores [B, n] and boxes [B, n, 4]; a score of 0 is none."""
    num_best = min(self.num_proposals, scores.shape[1])
    scores, best = tf.math.top_k(scores, num_best)  # [B, min(P, n)] each
    boxes_px = tf.gather(boxes_px, best, batch_dims=1)  # [B, min(P, n), 4]
    missing = [0, self.num_proposals - num_best]
    scores = tf.pad(scores, [[0, 0], missing])  # [B, P]
    boxes_px = tf.pad(boxes_px, [[0, 0], missing, [0, 0]])  # [B, P, 4]
    valid = scores > 0.0
    return proposals.Proposals(tf.where(valid[..., tf.newaxis], boxes_px, 0.0), valid, scores)


def _level_sizes(rpn: rpn_head.RpnOutputs) -> list[int]:
  """Returns A_l of each level."""
  cells = [maps.shape[1] * maps.shape[2] for maps in rpn.features]
  anchors_per_cell = rpn.deltas.shape[1] // sum(cells)
  return [anchors_per_cell * count for count in cells]
