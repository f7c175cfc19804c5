"""Interface of the heads on boxes: prepare the shared map once an image, then classify any boxes.

    prepared = head.prepare(features, training)                    # once an image
    outputs = head(prepared, boxes_norm, image_size_px, training)  # [B, R, ...], any boxes

Each head owns the way from the map to a box. Heads on crops (`roi_heads`) cut the box out of the
map and run their second stage on the crop. Heads on maps (`rfcn_heads`) run their second stage in
`prepare`, and average its score maps over the box.
"""

from typing import Any, NamedTuple, Protocol

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base

# Tensors, in a structure that the head alone knows.
PreparedFeatures = Any


class CascadeStage(NamedTuple):
  """Boxes that a stage of a cascade classified, and its outputs for them.

  Attributes:
    boxes_px: float32 [B, R, 4]; padding is -1.
    class_logits: float32 [B, R, C], background first.
    box_deltas: float32 [B, R, 1, 4] from these boxes, as of `box_coder_ops`.
  """

  boxes_px: tf.Tensor
  class_logits: tf.Tensor
  box_deltas: tf.Tensor


class BoxOutputs(NamedTuple):
  """Outputs of the main head for R boxes of each image.

  Attributes:
    class_logits: float32 [B, R, C], background first.
    box_deltas: float32 [B, R, C - 1, 4], or [B, R, 1, 4] for all classes.
    box_features: float32 [B, R, depth], the pooled features of heads on crops; None of others.
    cascade: the stages of a cascade, first one first; empty of other heads. Deltas and features are
      then of the boxes of the last stage (`cascade_head`).
  """

  class_logits: tf.Tensor
  box_deltas: tf.Tensor
  box_features: tf.Tensor | None
  cascade: tuple[CascadeStage, ...] = ()


class RegionHead(Protocol):
  """The common part of the main head and the auxiliary heads on boxes.

  Attributes:
    stages: the second stages that this head has to itself: none, one, or those of a cascade.
    runs_on_crops: whether a second stage runs on a crop of each box, in `__call__`, so that fewer
      boxes cost less. Otherwise it runs on the whole map, in `prepare`, and `__call__` costs next
      to nothing.
    last_kernels: the kernels after the second stage.
  """

  stages: list[base.Stage]
  runs_on_crops: bool
  last_kernels: list[tf.Variable]

  def prepare(self, features: tf.Tensor, training: bool = False) -> PreparedFeatures:
    """Returns the prepared shared map [B, h, w, c], independent of any box."""

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    """Returns the layers after the second stage by their names in the released code."""


class MainHead(RegionHead, Protocol):
  """The head that detections come from."""

  def __call__(
    self,
    prepared: PreparedFeatures,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
  ) -> BoxOutputs:
    """Returns class logits and box deltas.

    Args:
      prepared: of `prepare`, of the same images.
      boxes_norm: float32 [B, R, 4], fractions of the image content.
      image_size_px: float32 [B, 2].
      training: bool.
    """


class AuxiliaryHead(RegionHead, Protocol):
  """The multi-object or the closeness head.

  Attributes:
    uses_box_features: whether it classifies the main head's `box_features` where it is given them;
      then no second stage runs.
    prepare_depends_on_mode: whether `prepare` normalises, so that what it returns may be another in
      training than at inference.
  """

  uses_box_features: bool
  prepare_depends_on_mode: bool

  def __call__(
    self,
    prepared: PreparedFeatures,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
    box_features: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Returns logits [B, R, C].

    Args:
      prepared: of `prepare`, of the same images.
      boxes_norm: float32 [B, R, 4], fractions of the image content.
      image_size_px: float32 [B, 2].
      training: bool.
      box_features: float32 [B, R, depth], the main head's for these boxes, where they are known.
    """


def by_box(values: tf.Tensor, num_boxes: int) -> tf.Tensor:
  """Returns [B R, ...] as [B, R, ...]."""
  return tf.reshape(values, [-1, num_boxes, *values.shape[1:]])
