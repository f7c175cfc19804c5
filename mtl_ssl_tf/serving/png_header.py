"""The header of a PNG and what its chunks say about the pixels, found in graph operations."""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.data.sources import image_cost, png_chunks, png_palette
from mtl_ssl_tf.serving import encoded_bytes, exif_orientation

SIGNATURE = png_chunks.SIGNATURE

_END = b"IEND\xaeB`\x82"  # An empty chunk and its checksum.
# Real files have a few dozen; a forged one must not keep the server counting.
_MAX_CHUNKS = 1000
# Chunks of one size that are passed over at a time, those of the pixels.
_ROW_CHUNKS = 256
# A chunk is its size, its name, the content and its checksum.
_NAME, _CONTENT, _FRAME_BYTES = 4, 8, 12


class PngHeader(NamedTuple):
  """The header and some chunks of a PNG; scalars.

  Attributes:
    height, width: int64, of the raster as it is stored.
    orientation: int64, 1 … 8; see `exif_orientation`.
    num_texts: int64, places that look like compressed texts.
    has_end: bool.
    has_header: bool.
    has_odd_opacities: bool; see `png_palette`.
    has_cut_animation: bool, whether it is announced to be animated by too few bytes.
    num_pictures: int64, as announced; see `png_chunks`.
  """

  height: tf.Tensor
  width: tf.Tensor
  orientation: tf.Tensor
  num_texts: tf.Tensor
  has_end: tf.Tensor
  has_header: tf.Tensor
  has_odd_opacities: tf.Tensor
  has_cut_animation: tf.Tensor
  num_pictures: tf.Tensor


def read(data: tf.Tensor) -> PngHeader:
  """The header and chunks of the bytes uint8 [n] of a PNG (PNG, third edition, 11.2 and 11.3)."""
  first = len(SIGNATURE)
  width = encoded_bytes.number(data, first + 8, 4, big_endian=True)
  height = encoded_bytes.number(data, first + 12, 4, big_endian=True)
  num_texts = tf.add_n([encoded_bytes.count(data, name) for name in image_cost.PNG_TEXTS])
  colour_type = encoded_bytes.number(data, png_palette.COLOUR_TYPE, 1, big_endian=True)
  # Few have any of these, and a large file has thousands of chunks.
  orientation = tf.cond(
    encoded_bytes.contains(data, b"eXIf"),
    lambda: _orientation(data),
    lambda: tf.constant(exif_orientation.UPRIGHT, tf.int64),
  )
  has_odd_opacities = tf.cond(
    encoded_bytes.contains(data, b"tRNS"),
    lambda: _is_odd(data, colour_type),
    lambda: tf.constant(False),
  )
  has_cut_animation, num_pictures = tf.cond(
    encoded_bytes.contains(data, png_chunks.ANIMATION),
    lambda: _animation(data),
    lambda: (tf.constant(False), tf.constant(1, tf.int64)),
  )
  return PngHeader(
    height,
    width,
    orientation,
    num_texts,
    has_end=encoded_bytes.contains(data[first:], _END),
    has_header=encoded_bytes.starts_with(data, b"IHDR", first + _NAME),
    has_odd_opacities=has_odd_opacities,
    has_cut_animation=has_cut_animation,
    num_pictures=num_pictures,
  )


def has_opacities(data: tf.Tensor) -> tf.Tensor:
  """Whether the bytes uint8 [n] of a PNG state opacities beside its pixels; bool scalar."""
  return tf.cond(
    encoded_bytes.contains(data, b"tRNS"),
    lambda: _chunk(data, b"tRNS")[1] > 0,
    lambda: tf.constant(False),
  )


def _is_odd(data: tf.Tensor, colour_type: tf.Tensor) -> tf.Tensor:
  """Whether opacities are out of place or of other colours, if there are any; bool scalar."""
  at, size = _chunk(data, b"tRNS")
  palette_at, palette_size = _chunk(data, b"PLTE")
  pixels_at, _ = _chunk(data, png_chunks.PIXELS)
  is_early = at < pixels_at
  is_sound = (palette_at < at) & is_early & (png_palette.COLOUR_BYTES * size <= palette_size)
  is_odd = (colour_type == png_palette.OF_PALETTE) & (size > 0) & ~is_sound
  is_found = _is_chunk(data, b"tRNS", at)
  for without_palette, num_bytes in png_palette.CLEAR_BYTES.items():
    is_sound = is_early & (size == num_bytes)
    is_odd |= (colour_type == without_palette) & is_found & ~is_sound
  return is_odd


def _animation(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Whether too few bytes announce an animation, and the number of pictures; scalars."""
  at, size = _chunk(data, png_chunks.ANIMATION)
  pixels_at, _ = _chunk(data, png_chunks.PIXELS)
  is_found = _is_chunk(data, png_chunks.ANIMATION, at)
  is_cut = is_found & (size < png_chunks.ANIMATION_BYTES)
  is_announced = is_found & ~is_cut & (at < pixels_at)
  announced = encoded_bytes.number(data, at, 4, big_endian=True)
  one = tf.constant(1, tf.int64)
  return is_cut, tf.where(is_announced, tf.maximum(announced, one), one)


def _orientation(data: tf.Tensor) -> tf.Tensor:
  content, size = _chunk(data, b"eXIf")
  return exif_orientation.read(data[content : content + size])


def _is_chunk(data: tf.Tensor, name: bytes, content_at: tf.Tensor) -> tf.Tensor:
  """Whether `_chunk` found one of the name; bool scalar."""
  return encoded_bytes.starts_with(data, name, content_at - _CONTENT + _NAME)


def _chunk(data: tf.Tensor, name: bytes) -> tuple[tf.Tensor, tf.Tensor]:
  """Offset of the content and size, int64 scalars, of the first chunk of a name.

  Of size 0 where there is none before the end of the image, behind which nothing counts.
  """

  def size_at(at):
    return encoded_bytes.number(data, at, 4, big_endian=True)

  def is_it(at):
    return encoded_bytes.starts_with(data, name, at + _NAME)

  def is_other(at):
    return (size_at(at) >= 0) & ~is_it(at) & ~encoded_bytes.starts_with(data, b"IEND", at + _NAME)

  def after_row(at):
    stride = size_at(at) + _FRAME_BYTES
    number = encoded_bytes.num_alike(data, at, stride, _CONTENT, _ROW_CHUNKS)
    return (at + stride * tf.maximum(number, 1),)

  (at,) = tf.while_loop(
    is_other,
    after_row,
    (tf.constant(len(SIGNATURE), tf.int64),),
    maximum_iterations=_MAX_CHUNKS,
  )
  return at + _CONTENT, tf.where(is_it(at), tf.maximum(size_at(at), 0), tf.zeros_like(at))
