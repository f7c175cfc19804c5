"""A cascade of main heads: each classifies and moves the boxes that the one before it predicts.

    boxes 1 = the given ones -> head 1 -> class logits 1, deltas 1
    boxes 2 = boxes 1 moved by deltas 1 -> head 2 -> class logits 2, deltas 2
    ...

An object's score is the mean of its probabilities in all stages, its box is that of the last one.

Reference: Cai and Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection", CVPR
2018, section 4. As in detectron2, a stage learns from the same boxes as the first one, whose
features pass 1 / stages of their gradient, and predicts one box for all classes.
"""

import math
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base as backbone_base
from mtl_ssl_tf.modeling.heads import base, pooling, roi_heads
from mtl_ssl_tf.ops import box_coder_ops, box_ops


class CascadeHead(tf_keras.layers.Layer):
  """Main heads one after the other; see `base.MainHead`.

  Attributes:
    heads: those of the stages, each with one box for all classes, first one first.
    crop_features: that other heads share, those of the last stage.
  """

  runs_on_crops = True

  def __init__(
    self,
    heads: Sequence[roi_heads.BoxHead],
    delta_factors: Sequence[float],
    crop_features: pooling.CropFeatures,
    **kwargs,
  ):
    """Takes the parts.

    Args:
      heads: of the stages.
      delta_factors: of each stage, how many times larger its deltas are than those of
        `box_coder_ops`.
      crop_features: as the last head's, but that its gradient passes whole.
      **kwargs: of the layer.

    Raises:
      ValueError: unlike numbers of heads and factors.
    """
    # Boxes keep their bits; the heads choose themselves what they compute in.
    super().__init__(autocast=False, **kwargs)
    if len(heads) != len(delta_factors):
      raise ValueError(f"{len(delta_factors)} delta factors; accepted: {len(heads)}, one a head")
    self.heads = list(heads)
    self.crop_features = crop_features
    self._delta_factors = tuple(delta_factors)

  @property
  def stages(self) -> list[backbone_base.Stage]:
    return [head.stage2 for head in self.heads]

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [kernel for head in self.heads for kernel in head.last_kernels]

  def prepare(self, features: tf.Tensor, training: bool = False) -> base.PreparedFeatures:
    return self.heads[0].prepare(features, training)  # The same of all.

  def call(
    self,
    prepared: base.PreparedFeatures,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
  ) -> base.BoxOutputs:
    """Returns mean scores, and what the last stage says of its boxes.

    Class logits are logarithms of the mean probabilities, so that a softmax gives these. Boxes,
    deltas and features are those of the last stage; `cascade` has all stages.
    """
    boxes_px = box_ops.denormalize(boxes_norm, image_size_px)  # [B, R, 4]
    found: list[base.CascadeStage] = []
    for head, factor in zip(self.heads, self._delta_factors, strict=True):
      if found:
        boxes_px = moved_boxes(found[-1], image_size_px)
      boxes_norm = box_ops.normalize(boxes_px, image_size_px)
      outputs = head(prepared, boxes_norm, image_size_px, training)
      found.append(base.CascadeStage(boxes_px, outputs.class_logits, outputs.box_deltas / factor))
    return base.BoxOutputs(
      mean_scores([stage.class_logits for stage in found]),
      found[-1].box_deltas,
      outputs.box_features,
      tuple(found),
    )


def moved_boxes(stage: base.CascadeStage, image_size_px: tf.Tensor) -> tf.Tensor:
  """Returns the boxes [B, R, 4] that a stage predicts, within the image, without gradient.

  As many as there were: a box that leaves the image has no area any more. Padding stays -1.
  """
  deltas = stage.box_deltas[:, :, 0]  # [B, R, 4]
  moved_px = box_ops.clip_to_size(box_coder_ops.decode(deltas, stage.boxes_px), image_size_px)
  is_padding = box_ops.is_padding(stage.boxes_px)[..., tf.newaxis]  # [B, R, 1]
  return tf.stop_gradient(tf.where(is_padding, stage.boxes_px, moved_px))


def mean_scores(class_logits: Sequence[tf.Tensor]) -> tf.Tensor:
  """Returns float32 [B, R, C], logarithms of the means of the probabilities of several logits."""
  logarithms = tf.stack([tf.nn.log_softmax(logits) for logits in class_logits])  # [k, B, R, C]
  return tf.reduce_logsumexp(logarithms, axis=0) - math.log(len(class_logits))
