"""Bilinear resizing of the content of padded maps, as two products with interpolation matrices."""

import tensorflow as tf


def bilinear_resize(
  maps: tf.Tensor,
  content_size: tf.Tensor,
  output_size: tuple[int, int],
  half_pixel_centers: bool = False,
) -> tf.Tensor:
  """Maps of one size, each stretched from the part that holds the image.

  By default samples lie where TensorFlow 1's `resize_images` puts them: output row i shows row
  i · content rows / output rows, and the last content row is repeated where there is none to
  interpolate with. With `half_pixel_centers` the middles of the cells coincide instead, as in
  `tf.image.resize`.

  Args:
    maps: float32 [B, h, w, c]; h and w known statically.
    content_size: [B, 2], int or float of whole numbers, at least 1: the rows and columns from the
      top left that hold the image. What lies beyond has no influence, as long as it is finite.
    output_size: (rows, columns) of the result.
    half_pixel_centers: whether to sample as TensorFlow 2 does.

  Returns:
    float32 [B, output rows, output columns, c].
  """
  content_size = tf.cast(content_size, tf.float32)
  row_weights, column_weights = (
    _interpolation_matrices(
      content_size[:, axis], maps.shape[axis + 1], output_size[axis], half_pixel_centers
    )
    for axis in range(2)
  )  # [B, output rows, h], [B, output columns, w]
  stretched = tf.einsum("byh,bhwc->bywc", row_weights, maps)  # [B, output rows, w, c]
  return tf.einsum("bxw,bywc->byxc", column_weights, stretched)


def _interpolation_matrices(
  content_sizes: tf.Tensor, map_side: int, output_size: int, half_pixel_centers: bool
) -> tf.Tensor:
  """Weights of a map's cells in each output cell, float32 [B, output_size, map_side]."""
  offset = 0.5 if half_pixel_centers else 0.0
  scales = content_sizes[:, tf.newaxis] / output_size  # [B, 1]
  places = (tf.range(output_size, dtype=tf.float32) + offset) * scales - offset  # [B, output]
  below = tf.floor(places)  # [B, output]
  share_above = (places - below)[..., tf.newaxis]  # [B, output, 1]
  last = content_sizes[:, tf.newaxis] - 1.0  # [B, 1]
  lower = tf.one_hot(tf.cast(tf.maximum(below, 0.0), tf.int32), map_side)
  upper = tf.one_hot(tf.cast(tf.minimum(below + 1.0, last), tf.int32), map_side)
  return (1.0 - share_above) * lower + share_above * upper  # [B, output, map]
