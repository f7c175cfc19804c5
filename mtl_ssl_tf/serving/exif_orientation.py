"""The orientation that EXIF data name, and images turned by it, in graph operations.

The numbers 1 … 8 state how a stored raster is shown (EXIF 2.32, section 4.6.4 A, tag 0x0112): 5 … 8
exchange its rows and columns, and then some mirror it. What is broken counts as 1, upright, as
viewers have it.
"""

import tensorflow as tf

from mtl_ssl_tf.serving import encoded_bytes

UPRIGHT = 1
_TAG = 0x0112
_ENTRY_BYTES = 12
_TYPE_SHORT, _TYPE_LONG = 3, 4
_MIRRORED_ROWS = (3, 4, 7, 8)
_MIRRORED_COLUMNS = (2, 3, 6, 7)
_EXCHANGED = (5, 6, 7, 8)


def read(tiff: tf.Tensor) -> tf.Tensor:
  """The orientation int64, 1 … 8, in bytes uint8 [n] that begin with EXIF's TIFF header.

  Only the first directory is read, where the tag has its place; its last entry of one value counts.
  """
  is_big = encoded_bytes.starts_with(tiff, b"MM\0*")
  is_tiff = is_big | encoded_bytes.starts_with(tiff, b"II*\0")
  start = tf.maximum(encoded_bytes.number(tiff, 4, 4, big_endian=is_big), 0)
  count = tf.maximum(encoded_bytes.number(tiff, start, 2, big_endian=is_big), 0)
  table = tiff[start + 2 : start + 2 + _ENTRY_BYTES * count]
  num_whole = tf.size(table) // _ENTRY_BYTES  # Fewer than it says where the data is cut short.
  entries = tf.reshape(table[: num_whole * _ENTRY_BYTES], [num_whole, _ENTRY_BYTES])
  tags = _shorts(entries[:, 0:2], is_big)  # [E]
  types = _shorts(entries[:, 2:4], is_big)  # [E]
  # A short stands in the first half of the field for the value; so does a small little-endian long.
  long_value = tf.where(is_big, entries[:, 10:12], entries[:, 8:10])  # [E, 2]
  values = tf.where(
    types == _TYPE_LONG, _shorts(long_value, is_big), _shorts(entries[:, 8:10], is_big)
  )  # [E]
  one = tf.where(is_big, tf.constant([0, 0, 0, 1], tf.uint8), tf.constant([1, 0, 0, 0], tf.uint8))
  is_one = tf.reduce_all(entries[:, 4:8] == one, axis=1)  # [E]
  is_orientation = (tags == _TAG) & ((types == _TYPE_SHORT) | (types == _TYPE_LONG)) & is_one  # [E]
  found = tf.boolean_mask(values, is_orientation)
  last = tf.concat([[tf.constant(UPRIGHT, tf.int64)], found], axis=0)[-1]
  is_known = is_tiff & (last >= 1) & (last <= 8)
  return tf.where(is_known, last, tf.constant(UPRIGHT, tf.int64))


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
  """Returns an image [h, w, c] as it is to be shown, [w, h, c] for 5 … 8."""

  def turned() -> tf.Tensor:
    exchanged = tf.cond(
      encoded_bytes.is_any(orientation, _EXCHANGED),
      lambda: _exchanged(image),
      lambda: image,
    )
    mirrored = tf.stack(
      [
        encoded_bytes.is_any(orientation, _MIRRORED_ROWS),
        encoded_bytes.is_any(orientation, _MIRRORED_COLUMNS),
        False,
      ]
    )
    return tf.raw_ops.Reverse(tensor=exchanged, dims=mirrored)

  return tf.cond(orientation == UPRIGHT, lambda: image, turned)


def _exchanged(image: tf.Tensor) -> tf.Tensor:
  """Transposes an image [h, w, c] to [w, h, c].

  `tf.transpose` would make oneDNN report, as an error, that it does not know bytes. Taken for h
  images of one row, it is put together by column.
  """
  height, width, channels = tf.unstack(tf.shape(image))
  columns = tf.batch_to_space(image, [height], [[0, 0]])  # [1, w * h, c]
  return tf.ensure_shape(
    tf.reshape(columns, [width, height, channels]), [image.shape[1], image.shape[0], image.shape[2]]
  )


def _shorts(pairs: tf.Tensor, is_big: tf.Tensor) -> tf.Tensor:
  """Pairs of bytes uint8 [E, 2] as numbers int64 [E]."""
  first, second = tf.unstack(tf.cast(pairs, tf.int64), axis=1)
  return tf.where(is_big, 256 * first + second, 256 * second + first)
