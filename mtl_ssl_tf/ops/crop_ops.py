"""Bilinear crops of feature maps, one per region of interest."""

import tensorflow as tf


def crop_and_resize(
  features: tf.Tensor,
  boxes_norm: tf.Tensor,
  image_size_px: tf.Tensor,
  stride: int,
  crop_size: tuple[int, int],
) -> tf.Tensor:
  """Crops that `tf.image.crop_and_resize` would take from the map of the image without padding.

  A side at fraction f of the image lies at f · (rows - 1) on a map of ceil(height / stride) rows;
  samples are spread evenly from the first side to the last, and are 0 outside that map. The map
  given here belongs to a canvas that may be larger: how much larger does not matter. Uses the
  native kernel, so it works outside compiled code only.

  Args:
    features: float32 [B, h, w, c], of the canvas; h and w known statically. The content fills
      its first rows and columns; the others must be finite.
    boxes_norm: float32 [B, R, 4], fractions of the image content; padding is negative and yields a
      crop of zeros.
    image_size_px: float32 [B, 2], height and width of the image content.
    stride: pixels from one feature cell to the next.
    crop_size: (rows, columns) ch, cw of a crop.

  Returns:
    float32 [B, R, ch, cw, c].
  """
  num_images, num_boxes = tf.unstack(tf.shape(boxes_norm)[:2])
  canvas_size = features.shape[1:3]
  content_last = tf.math.ceil(image_size_px / stride) - 1.0  # [B, 2], last row and column
  canvas_last = tf.constant([max(side - 1, 1) for side in canvas_size], tf.float32)  # [2]
  canvas_factors = tf.tile(content_last / canvas_last, [1, 2])[:, tf.newaxis]  # [B, 1, 4]

  crops = tf.image.crop_and_resize(
    features,
    tf.reshape(boxes_norm * canvas_factors, [-1, 4]),
    tf.repeat(tf.range(num_images), num_boxes),
    crop_size,
  )  # [B·R, ch, cw, c]
  crops = tf.reshape(crops, [num_images, num_boxes, *crop_size, features.shape[-1]])

  # The kernel blanks samples outside the canvas; those past the end of the content are left to us.
  in_rows, in_columns = (
    _is_before_end(
      boxes_norm[..., axis], boxes_norm[..., axis + 2], content_last[:, axis], crop_size[axis]
    )
    for axis in range(2)
  )  # [B, R, ch], [B, R, cw]
  on_content = in_rows[..., :, tf.newaxis] & in_columns[..., tf.newaxis, :]  # [B, R, ch, cw]
  return crops * tf.cast(on_content, crops.dtype)[..., tf.newaxis]


def _is_before_end(
  first_norm: tf.Tensor, last_norm: tf.Tensor, map_last: tf.Tensor, num_samples: int
) -> tf.Tensor:
  """Says which samples between two sides [B, R] lie no further than the last cell of a map [B].

  Follows the kernel's arithmetic step by step, for the sake of samples right on the border.
  Returns bool [B, R, num_samples].
  """
  map_last = map_last[:, tf.newaxis, tf.newaxis]  # [B, 1, 1]
  first_norm = first_norm[..., tf.newaxis]  # [B, R, 1]
  last_norm = last_norm[..., tf.newaxis]  # [B, R, 1]
  if num_samples > 1:
    step = (last_norm - first_norm) * map_last / (num_samples - 1)  # [B, R, 1]
    places = first_norm * map_last + tf.range(num_samples, dtype=tf.float32) * step
  else:
    places = 0.5 * (first_norm + last_norm) * map_last  # [B, R, 1]
  return places <= map_last
