"""Reads the header of an encoded image in graph operations, before anything is decoded.

A few bytes can name a size that no memory holds, so sizes are checked first. TensorFlow's
decoders explain little of what they refuse, so what can be checked beforehand is refused here, in
the terms of whoever sent the image.
"""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.data.sources import image_cost, jpeg_segments, png_palette
from mtl_ssl_tf.serving import (
  encoded_bytes,
  exif_orientation,
  gif_header,
  jpeg_header,
  jpeg_scans,
  png_header,
  webp_header,
)

MAX_PIXELS = image_cost.MAX_PIXELS
ACCEPTED = "a whole JPEG, PNG, BMP, WebP or GIF image"
UNKNOWN, JPEG, PNG, BMP, GIF, WEBP = range(6)

_TOO_LONG = (
  f"more than {image_cost.MAX_JPEG_SEGMENTS} segments; accepted: at most"
  f" {image_cost.MAX_JPEG_SEGMENTS}"
)
_BMP_DEPTHS = (8, 24, 32)
_BMP_HEADERS = (40, 52, 56, 64, 108, 124)
_BMP_PLAIN, _BMP_MASKS = 0, 3
_BMP_USUAL_MASKS = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"
_BMP_MASKS_OFFSET = 54
_BMP_MAX_COLOURS = 65536  # As many as Pillow reads.


class Header(NamedTuple):
  """Format, size and orientation before decoding; scalars.

  Attributes:
    kind: int32, JPEG, PNG, BMP, GIF, WEBP or UNKNOWN.
    height, width: int64, of the raster as it is stored.
    orientation: int64, 1 … 8; see `exif_orientation`.
    problem: string, why the image is refused, or empty.
    lacks_end: bool, whether it is a JPEG that may lack its end marker alone.
    segments: int64 [3], offsets of a JPEG's frame, restart interval and scan; see `JpegHeader`.
  """

  kind: tf.Tensor
  height: tf.Tensor
  width: tf.Tensor
  orientation: tf.Tensor
  problem: tf.Tensor
  lacks_end: tf.Tensor
  segments: tf.Tensor


def read_header(content: tf.Tensor) -> Header:
  """Reads the header from the bytes of one image, a string scalar."""
  data = encoded_bytes.to_bytes(content)
  kind = _kind(data)
  height, width, orientation, problem, lacks_end, segments = tf.switch_case(
    kind,
    [
      lambda: _unknown(data),
      lambda: _jpeg(data),
      lambda: _png(data),
      lambda: _bmp(data),
      lambda: _gif(data),
      lambda: _webp(data),
    ],
  )
  size = tf.strings.join([tf.strings.as_string(height), " x ", tf.strings.as_string(width)])
  has_no_pixel = (height < 1) | (width < 1)
  # Divided rather than multiplied: a product of two sides need not fit.
  is_too_large = (height > MAX_PIXELS) | (width > MAX_PIXELS // tf.maximum(height, 1))
  problem = _first(
    (problem != "", problem),
    (has_no_pixel, tf.strings.join([size, " pixels; accepted: sides of at least 1"])),
    (is_too_large, tf.strings.join([size, f" pixels; accepted: at most {MAX_PIXELS} in all"])),
  )
  return Header(kind, height, width, orientation, problem, lacks_end, segments)


def _kind(data: tf.Tensor) -> tf.Tensor:
  """The format int32 by the first bytes."""
  kind = tf.constant(UNKNOWN)
  for format_kind, signature in (
    (JPEG, b"\xff\xd8\xff"),
    (PNG, png_header.SIGNATURE),
    (BMP, b"BM"),
    (GIF, b"GIF87a"),
    (GIF, b"GIF89a"),
  ):
    kind = tf.where(encoded_bytes.starts_with(data, signature), format_kind, kind)
  is_webp = encoded_bytes.starts_with(data, b"RIFF") & encoded_bytes.starts_with(data, b"WEBP", 8)
  return tf.where(is_webp, WEBP, kind)


def _unknown(data: tf.Tensor) -> tuple[tf.Tensor, ...]:
  nothing = tf.constant(0, tf.int64)
  problem = tf.where(
    tf.size(data) == 0,
    f"no bytes; accepted: {ACCEPTED}",
    f"bytes that do not begin like an image; accepted: {ACCEPTED}",
  )
  return nothing, nothing, nothing + exif_orientation.UPRIGHT, problem, *_no_jpeg()


def _jpeg(data: tf.Tensor) -> tuple[tf.Tensor, ...]:
  """Reads the segments up to the first scan."""
  header = jpeg_header.read(data)
  # Thumbnails in the segments before have their own end marker.
  is_cut = ~encoded_bytes.contains(data[header.end :], jpeg_segments.END_MARKER)
  is_found = header.frame > 0
  sides = [
    encoded_bytes.number(data, header.frame + offset, 2, big_endian=True)
    for offset in (jpeg_segments.HEIGHT, jpeg_segments.WIDTH)
  ]
  sides = tf.where(is_found, tf.stack(sides), encoded_bytes.MISSING)
  orientation = exif_orientation.read(data[header.exif_span[0] : header.exif_span[1]])
  # Of several scans, some may be missing without a trace.
  kind = encoded_bytes.number(data, header.frame + 1, 1, big_endian=True)
  num_components, num_in_scan = (
    encoded_bytes.number(data, offset, 1, big_endian=True)
    for offset in (
      header.frame + jpeg_segments.NUM_COMPONENTS,
      header.scan + jpeg_segments.NUM_IN_SCAN,
    )
  )
  is_one_scan = encoded_bytes.is_any(kind, jpeg_segments.SEQUENTIAL) & (
    num_components == num_in_scan
  )
  lacks_end = is_cut & is_found & (header.scan > 0) & is_one_scan
  scans_problem = jpeg_scans.problem(data, header.end, sides[0] * sides[1])
  problem = _first(
    (header.is_long, _TOO_LONG),
    (scans_problem != "", scans_problem),
    (header.is_broken, f"{jpeg_segments.BYTES_BETWEEN}; accepted: {ACCEPTED}"),
    (header.has_short_segment, f"{jpeg_segments.SHORT_SEGMENT}; accepted: {ACCEPTED}"),
    (is_cut & ~lacks_end, f"{jpeg_segments.CUT_SHORT}; accepted: {ACCEPTED}"),
  )
  segments = tf.stack([header.frame, header.restarts, header.scan])
  return sides[0], sides[1], orientation, problem, lacks_end, segments


def _png(data: tf.Tensor) -> tuple[tf.Tensor, ...]:
  header = png_header.read(data)
  num_texts = tf.strings.as_string(header.num_texts)
  texts = [
    "a PNG of ",
    num_texts,
    f" compressed texts; accepted: at most {image_cost.MAX_PNG_TEXTS}",
  ]
  problem = _first(
    (header.num_texts > image_cost.MAX_PNG_TEXTS, tf.strings.join(texts)),
    (~header.has_end, f"a PNG that is cut short; accepted: {ACCEPTED}"),
    (~header.has_header, f"a PNG without its header; accepted: {ACCEPTED}"),
    (header.has_cut_animation, f"a PNG whose animation is cut short; accepted: {ACCEPTED}"),
    (header.num_pictures > 1, _several(header.num_pictures)),
    (header.has_odd_opacities, f"{png_palette.VALUE}; accepted: {png_palette.ACCEPTED}"),
  )
  return header.height, header.width, header.orientation, problem, *_no_jpeg()


def _bmp(data: tf.Tensor) -> tuple[tf.Tensor, ...]:
  """Reads the header, and refuses kinds that the decoder mistakes for others."""

  def read(offset, num_bytes):
    return encoded_bytes.number(data, offset, num_bytes, big_endian=False)

  pixels_offset, header_size, width, stored_height = (
    read(offset, 4) for offset in (10, 14, 18, 22)
  )
  depth, compression, num_colours = read(28, 2), read(30, 4), read(46, 4)
  # Negative where the first row is the upper one.
  height = tf.where(stored_height < 2**31, stored_height, 2**32 - stored_height)
  is_usual = (compression == _BMP_PLAIN) | (
    (compression == _BMP_MASKS)
    & (depth == 32)
    & encoded_bytes.starts_with(data, _BMP_USUAL_MASKS, _BMP_MASKS_OFFSET)
  )
  is_header = encoded_bytes.is_any(header_size, _BMP_HEADERS)
  is_known = (header_size >= 40) & encoded_bytes.is_any(depth, _BMP_DEPTHS) & is_usual
  is_cut = (compression == encoded_bytes.MISSING) | (
    is_known & (pixels_offset + bmp_row_bytes(width, depth) * height > tf.size(data, tf.int64))
  )
  problem = _first(
    # A size that is refused anyhow is reported first.
    (is_cut & (height * width <= MAX_PIXELS), f"a BMP that is cut short; accepted: {ACCEPTED}"),
    (
      ~is_known,
      tf.strings.join(
        [
          "a BMP of ",
          tf.strings.as_string(depth),
          " bits a pixel, compression ",
          tf.strings.as_string(compression),
          "; accepted: a BMP of 8, 24 or 32 bits without compression",
        ]
      ),
    ),
    (
      ~is_header,
      tf.strings.join(
        [
          "a BMP with a header of ",
          tf.strings.as_string(header_size),
          f" bytes; accepted: {', '.join(map(str, _BMP_HEADERS))} bytes",
        ]
      ),
    ),
    (
      (depth == 8) & (num_colours > _BMP_MAX_COLOURS),
      tf.strings.join(
        [
          "a BMP with a palette of ",
          tf.strings.as_string(num_colours),
          f" colours; accepted: at most {_BMP_MAX_COLOURS}",
        ]
      ),
    ),
  )
  upright = tf.constant(exif_orientation.UPRIGHT, tf.int64)
  return height, width, upright, problem, *_no_jpeg()


def bmp_row_bytes(width: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
  """Bytes of a row, which are padded to a multiple of four."""
  return (width * depth // 8 + 3) // 4 * 4


def _gif(data: tf.Tensor) -> tuple[tf.Tensor, ...]:
  first = gif_header.read(data)
  problem = _first(
    (first.is_broken_up, f"{image_cost.GIF_PROBLEM}; accepted: {image_cost.GIF_ACCEPTED}"),
    (~first.is_whole, f"a GIF that is cut short or shows nothing; accepted: {ACCEPTED}"),
  )
  return (
    first.screen_size[0],
    first.screen_size[1],
    tf.constant(exif_orientation.UPRIGHT, tf.int64),
    problem,
    *_no_jpeg(),
  )


def _webp(data: tf.Tensor) -> tuple[tf.Tensor, ...]:
  header = webp_header.read(data)
  problem = _first(
    (~header.is_whole, f"a WebP that is cut short; accepted: {ACCEPTED}"),
    (header.num_pictures > 1, _several(header.num_pictures)),
  )
  return header.height, header.width, header.orientation, problem, *_no_jpeg()


def _several(num_pictures: tf.Tensor) -> tf.Tensor:
  number = tf.strings.as_string(num_pictures)
  return tf.strings.join([number, " pictures in one file; accepted: one still picture"])


def _no_jpeg() -> tuple[tf.Tensor, tf.Tensor]:
  """The last attributes of the header of another format."""
  return tf.constant(False), tf.zeros([3], tf.int64)


def _first(*cases: tuple[tf.Tensor, tf.Tensor | str]) -> tf.Tensor:
  """The value of the first condition that holds, or an empty string."""
  value = tf.constant("")
  for condition, text in reversed(cases):
    value = tf.where(condition, text, value)
  return value
