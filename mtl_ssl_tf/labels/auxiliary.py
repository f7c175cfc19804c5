"""All targets of the auxiliary tasks for a batch, made inside the step."""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.configs import auxiliary as auxiliary_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.labels import closeness, foreground, multi_object, windows
from mtl_ssl_tf.ops import box_ops


class AuxiliaryTargets(NamedTuple):
  """Targets of the auxiliary heads.

  Attributes:
    windows_px: float32 [B, S, 4].
    window_labels: float32 [B, S, C].
    window_weights: float32 [B, S], 0 where a window carries no loss.
    closeness_labels: float32 [B, N, C], one row an object, all zero where it carries no loss.
    foreground_mask: float32 [B, h, w].
    foreground_weights: float32 [B, h, w], 0 where a cell carries no loss.
  """

  windows_px: tf.Tensor
  window_labels: tf.Tensor
  window_weights: tf.Tensor
  closeness_labels: tf.Tensor
  foreground_mask: tf.Tensor
  foreground_weights: tf.Tensor


def mirror_boxes(boxes_px: tf.Tensor, image_size_px: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
  """Mirrors boxes [B, N, 4] left to right in the images where `where` [B] says; padding stays."""
  width = image_size_px[:, 1:]  # [B, 1]
  ymin, xmin, ymax, xmax = tf.unstack(boxes_px, axis=-1)
  mirrored = tf.stack([ymin, width - xmax, ymax, width - xmin], axis=-1)  # [B, N, 4]
  is_mirrored = where[:, tf.newaxis] & ~box_ops.is_padding(boxes_px)  # [B, N]
  return tf.where(is_mirrored[..., tf.newaxis], mirrored, boxes_px)


def auxiliary_targets(
  gt_boxes_px: tf.Tensor,
  gt_classes: tf.Tensor,
  image_size_px: tf.Tensor,
  flipped: tf.Tensor,
  seeds: tf.Tensor,
  num_classes: int,
  *,
  num_windows: int,
  min_window_px: float,
  window_sampling: str,
  empty_image: str,
  include_same_class: bool,
  mask_size: int,
  foreground_weighting: str,
  round_decimals: int | None,
  flip_labels: bool,
  window_classes: tf.Tensor | None = None,
) -> AuxiliaryTargets:
  """Makes the targets of the three tasks from the ground-truth boxes.

  Windows and mask are made for the unflipped image and then follow a flipped one, so that an
  image's own seed always gives the same windows on it. `flip_labels=False` leaves them behind, as
  the released code does. Regions to be ignored are not used in the loss, see each task's module.

  Args:
    gt_boxes_px: float32 [B, N, 4], pixels of the network input; padding rows are -1.
    gt_classes: int32 [B, N], 0 for a region to be ignored; padding is -1.
    image_size_px: float32 [B, 2], of the image content.
    flipped: bool [B], whether the image was mirrored.
    seeds: int32 [B, 2], an image's seed for its windows.
    num_classes: int, background included.
    num_windows: S.
    min_window_px: smallest side of a window.
    window_sampling: see `windows.sample_windows`.
    empty_image: windows of images without objects carry `no_loss`, or have the label `background`.
    include_same_class: see `closeness.closeness_labels`.
    mask_size: side of the foreground mask.
    foreground_weighting: `uniform` or `inverse_area`.
    round_decimals: of the soft labels, None for exact ones.
    flip_labels: whether windows and mask follow a flipped image.
    window_classes: int32 [B, N], the classes without those of boxes that no window is to be drawn
      around, which are -1 there; None is `gt_classes`.

  Raises:
    ValueError: `empty_image`, `window_sampling` or `foreground_weighting` is none of those.

  Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, sec. 3.
  """
  fields.check_value(auxiliary_config.MultiObject, "empty_image", empty_image)
  upright = mirror_boxes(gt_boxes_px, image_size_px, flipped)  # [B, N, 4]
  drawn_around = gt_classes if window_classes is None else window_classes
  windows_px = windows.sample_windows(
    seeds, upright, drawn_around, image_size_px, num_windows, min_window_px, window_sampling
  )  # [B, S, 4]
  window_labels = multi_object.multi_object_labels(
    windows_px, upright, gt_classes, num_classes, round_decimals=round_decimals
  )  # [B, S, C]
  window_weights = multi_object.window_weights(windows_px, upright, gt_classes)
  if empty_image == "background":
    has_object = tf.reduce_any(gt_classes > 0, axis=1, keepdims=True)  # [B, 1]
    has_label = tf.reduce_any(window_labels > 0.0, axis=-1)  # [B, S]
    window_weights = tf.where(has_object, window_weights, tf.cast(has_label, tf.float32))  # [B, S]

  upright_norm = box_ops.normalize(upright, image_size_px)  # [B, N, 4]
  mask = foreground.foreground_labels(upright_norm, gt_classes, mask_size)  # [B, h, w]
  weights = foreground.foreground_weights(
    upright_norm, gt_classes, mask_size, foreground_weighting
  )  # [B, h, w]

  if flip_labels:
    windows_px = mirror_boxes(windows_px, image_size_px, flipped)
    mirrored = flipped[:, tf.newaxis, tf.newaxis]  # [B, 1, 1]
    mask = tf.where(mirrored, tf.reverse(mask, axis=[2]), mask)
    weights = tf.where(mirrored, tf.reverse(weights, axis=[2]), weights)
  return AuxiliaryTargets(
    windows_px,
    window_labels,
    window_weights,
    closeness.closeness_labels(
      gt_boxes_px,
      gt_classes,
      image_size_px,
      num_classes,
      include_same_class=include_same_class,
      round_decimals=round_decimals,
    ),
    mask,
    weights,
  )
