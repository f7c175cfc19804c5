"""Resizing and padding of images to the static network input, for the parser and for serving.

An image lies in the input's top left corner at one scale for both sides; the rest is zero.
"""

from collections.abc import Sequence

import tensorflow as tf


def fitted_size(
  original_size: tf.Tensor, input_size: Sequence[int], short_side: int, long_side: int
) -> tf.Tensor:
  """The size to resize an image to, so that it fits into the input whole and keeps its shape.

  Args:
    original_size: float32 [2], height and width of the image.
    input_size: height and width that hold every image.
    short_side: what the short side becomes where the two limits allow it, pixels.
    long_side: the most that the long side may become, pixels.

  Returns:
    float32 [2], height and width, whole numbers, at least 1.
  """
  scale = tf.reduce_min(
    [
      short_side / tf.reduce_min(original_size),
      long_side / tf.reduce_max(original_size),
      tf.reduce_min(tf.constant(input_size, tf.float32) / original_size),
    ]
  )
  return tf.maximum(tf.round(scale * original_size), 1.0)


def pad_to_input(
  images: tf.Tensor,
  scaled_size: tf.Tensor,
  offset: tf.Tensor,
  kept_size: tf.Tensor,
  input_size: Sequence[int],
) -> tf.Tensor:
  """Images of one size resized, cut and padded.

  Args:
    images: [..., h, w, 3], any number type, one image or a batch.
    scaled_size: float32 [2], whole numbers; what the images are resized to.
    offset: float32 [2], whole numbers; the row and column that the cut starts from.
    kept_size: float32 [2], whole numbers; what is cut out, not larger than the input.
    input_size: H and W.

  Returns:
    float32 [..., H, W, 3].
  """
  return pad(resize_and_crop(images, scaled_size, offset, kept_size), input_size)


def resize_and_crop(
  images: tf.Tensor, scaled_size: tf.Tensor, offset: tf.Tensor, kept_size: tf.Tensor
) -> tf.Tensor:
  """The first half of `pad_to_input`, see there; float32 [..., *kept_size, 3]."""
  top, left = tf.unstack(tf.cast(offset, tf.int32))
  height, width = tf.unstack(tf.cast(kept_size, tf.int32))
  images = tf.image.resize(images, tf.cast(scaled_size, tf.int32))  # [..., h', w', 3]
  return images[..., top : top + height, left : left + width, :]  # [..., height, width, 3]


def pad(images: tf.Tensor, input_size: Sequence[int]) -> tf.Tensor:
  """The second half of `pad_to_input`: [..., h, w, 3] to [..., H, W, 3] with zeros."""
  height, width = tf.unstack(tf.shape(images)[-3:-1])
  H, W = input_size
  leading = images.shape[:-3]
  paddings = [[0, 0]] * len(leading) + [[0, H - height], [0, W - width], [0, 0]]
  return tf.ensure_shape(tf.pad(images, paddings), [*leading, H, W, 3])
