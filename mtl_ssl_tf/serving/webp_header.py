"""The header of a WebP file, read in graph operations without decompressing anything.

A file is made of chunks: a name of four bytes, the size, and the content, padded to an even length
(WebP Container Specification). The first one says how large the image is.
"""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.serving import encoded_bytes, exif_orientation

_FIRST_CHUNK, _CHUNK_HEADER_BYTES = 12, 8
_CONTENT = _FIRST_CHUNK + _CHUNK_HEADER_BYTES
_ANIMATION_FLAG, _EXIF_FLAG = 0x02, 0x08
_SIDE_MASK = 0x3FFF  # Of 14 bits.
_EXIF_PREFIX = b"Exif\0\0"  # Some programs write it, though the format does not have it.
# Forged files must not keep the server counting.
_MAX_CHUNKS = 1000


class WebpHeader(NamedTuple):
  """Size and kind of the picture; scalars.

  Attributes:
    height, width: int64, of the raster as it is stored.
    orientation: int64, 1 … 8; see `exif_orientation`.
    num_pictures: int64, more than one in an animation.
    is_whole: bool, whether the file is as long as it says.
  """

  height: tf.Tensor
  width: tf.Tensor
  orientation: tf.Tensor
  num_pictures: tf.Tensor
  is_whole: tf.Tensor


def read(data: tf.Tensor) -> WebpHeader:
  """Reads the first chunk of the bytes uint8 [n], and where there may be more, searches them."""

  def number(offset: int, num_bytes: int) -> tf.Tensor:
    return tf.maximum(encoded_bytes.number(data, offset, num_bytes, big_endian=False), 0)

  bits = number(_CONTENT + 1, 4)
  lossless = [
    1 + tf.bitwise.bitwise_and(bits, _SIDE_MASK),
    1 + tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, 14), _SIDE_MASK),
  ]
  lossy = [tf.bitwise.bitwise_and(number(_CONTENT + at, 2), _SIDE_MASK) for at in (6, 8)]
  extended = [1 + number(_CONTENT + at, 3) for at in (4, 7)]
  is_extended = encoded_bytes.starts_with(data, b"VP8X", _FIRST_CHUNK)
  is_lossless = encoded_bytes.starts_with(data, b"VP8L", _FIRST_CHUNK)
  width, height = (
    tf.where(is_extended, sides[0], tf.where(is_lossless, sides[1], sides[2]))
    for sides in zip(extended, lossless, lossy, strict=True)
  )
  flags = tf.where(is_extended, number(_CONTENT, 1), 0)
  num_pictures, orientation = tf.cond(
    flags > 0,
    lambda: _search(data, flags),
    lambda: (tf.constant(1, tf.int64), tf.constant(exif_orientation.UPRIGHT, tf.int64)),
  )
  length = tf.size(data, tf.int64)
  is_whole = (length > _CONTENT + 9) & (number(4, 4) + _CHUNK_HEADER_BYTES <= length)
  return WebpHeader(height, width, orientation, num_pictures, is_whole)


def _search(data: tf.Tensor, flags: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """The number of pictures and the orientation, int64, found by going from chunk to chunk."""

  def size_at(at):
    return encoded_bytes.number(data, at + 4, 4, big_endian=False)

  def step(at, num_frames, exif_span):
    size = size_at(at)
    start = at + _CHUNK_HEADER_BYTES
    is_frame = encoded_bytes.starts_with(data, b"ANMF", at)
    is_exif = encoded_bytes.starts_with(data, b"EXIF", at) & (exif_span[1] == 0)
    return (
      start + size + size % 2,
      num_frames + tf.cast(is_frame, tf.int64),
      tf.where(is_exif, tf.stack([start, start + size]), exif_span),
    )

  zero = tf.constant(0, tf.int64)
  _, num_frames, exif_span = tf.while_loop(
    lambda at, *_: size_at(at) >= 0,
    step,
    (tf.constant(_FIRST_CHUNK, tf.int64), zero, tf.stack([zero, zero])),
    maximum_iterations=_MAX_CHUNKS,
  )
  exif = data[exif_span[0] : exif_span[1]]
  exif = tf.cond(
    encoded_bytes.starts_with(exif, _EXIF_PREFIX),
    lambda: exif[len(_EXIF_PREFIX) :],
    lambda: exif,
  )
  has_exif = tf.bitwise.bitwise_and(flags, _EXIF_FLAG) > 0
  is_animation = tf.bitwise.bitwise_and(flags, _ANIMATION_FLAG) > 0
  upright = tf.constant(exif_orientation.UPRIGHT, tf.int64)
  orientation = tf.where(has_exif, exif_orientation.read(exif), upright)
  return tf.where(is_animation, num_frames, 1), orientation
