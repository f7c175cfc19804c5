"""The segments of a JPEG up to its first scan, found in graph operations."""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.data.sources import image_cost, jpeg_segments
from mtl_ssl_tf.serving import encoded_bytes

MARKER_BYTES = 2
_APP1 = 0xE1
_EXIF = b"Exif\0\0"


class JpegHeader(NamedTuple):
  """Places of segments: offsets int64 of the marker's first byte, 0 of those there are not.

  Attributes:
    end: of the last segment that was read.
    frame: of the frame, which holds the size.
    restarts: of the last one that states a restart interval.
    scan: of the first scan; 0 where none is reached.
    exif_span: int64 [2], begin and end of EXIF data; both 0 if there are none.
    is_broken: bool, whether bytes lie between segments.
    has_short_segment: bool, whether one that states a version ends before it.
    is_long: bool, whether there are more segments, fill bytes included, than are read.
  """

  end: tf.Tensor
  frame: tf.Tensor
  restarts: tf.Tensor
  scan: tf.Tensor
  exif_span: tf.Tensor
  is_broken: tf.Tensor
  has_short_segment: tf.Tensor
  is_long: tf.Tensor


def read(data: tf.Tensor) -> JpegHeader:
  """Goes from segment to segment of the bytes uint8 [n] (ITU-T T.81, annex B)."""
  length = tf.size(data, tf.int64)
  zero = tf.constant(0, tf.int64)

  def step(at, going, frame, restarts, exif_span, is_broken, has_short):
    del going, is_broken
    prefix = encoded_bytes.number(data, at, 1, big_endian=True)
    marker = encoded_bytes.number(data, at + 1, 1, big_endian=True)
    size = encoded_bytes.number(data, at + MARKER_BYTES, 2, big_endian=True)
    payload = at + MARKER_BYTES + 2
    is_fill = marker == 0xFF
    is_segment = ~is_fill & ~encoded_bytes.is_any(marker, jpeg_segments.WITHOUT_LENGTH)
    is_end = encoded_bytes.is_any(marker, (jpeg_segments.START_OF_SCAN, jpeg_segments.END_OF_IMAGE))
    is_known = (marker > 0) & ((size >= 2) | is_end)
    is_cut = (marker == encoded_bytes.MISSING) | (size == encoded_bytes.MISSING)
    is_broken = (prefix != 0xFF) | (is_segment & ~is_known & ~is_cut)
    is_frame = encoded_bytes.is_any(marker, jpeg_segments.FRAMES) & (frame == 0)
    is_exif = (
      (marker == _APP1) & (exif_span[1] == 0) & encoded_bytes.starts_with(data, _EXIF, payload)
    )
    is_versioned = tf.reduce_any(
      [
        (marker == versioned) & encoded_bytes.starts_with(data, begin, payload)
        for versioned, begin in jpeg_segments.VERSIONED
      ]
    )
    is_short = is_versioned & (size - 2 < jpeg_segments.VERSIONED_BYTES)
    span = tf.stack([payload + len(_EXIF), at + MARKER_BYTES + size])
    jump = tf.where(is_segment, size + MARKER_BYTES, zero + MARKER_BYTES)
    jump = tf.where(is_fill, zero + 1, jump)
    has_more = ~is_end & ~is_broken & ~(is_segment & is_cut) & (at + jump < length)
    return (
      tf.where(is_end | is_broken, at, at + jump),
      has_more,
      tf.where(is_frame, at, frame),
      tf.where(marker == jpeg_segments.RESTART_INTERVAL, at, restarts),
      tf.where(is_exif, span, exif_span),
      is_broken,
      has_short | is_short,
    )

  at, going, frame, restarts, exif_span, is_broken, has_short = tf.while_loop(
    lambda at, going, *_: going,
    step,
    (
      zero + MARKER_BYTES,
      tf.constant(True),
      zero,
      zero,
      tf.fill([2], zero),
      tf.constant(False),
      tf.constant(False),
    ),
    # A forged file must not keep the server counting.
    maximum_iterations=image_cost.MAX_JPEG_SEGMENTS,
  )
  is_scan = encoded_bytes.starts_with(data, bytes([0xFF, jpeg_segments.START_OF_SCAN]), at)
  is_scan &= ~going & ~is_broken
  scan = tf.where(is_scan, at, zero)
  return JpegHeader(at, frame, restarts, scan, exif_span, is_broken, has_short, is_long=going)
