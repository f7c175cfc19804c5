"""The number of scans in a JPEG, counted in graph operations without decoding any.

A decoder goes over all pixels in each scan, however few bytes the scan has.
"""

import tensorflow as tf

from mtl_ssl_tf.data.sources import image_cost
from mtl_ssl_tf.serving import encoded_bytes

_START_OF_SCAN = b"\xff\xda"
_SCAN, _END, _TEMPORARY = 0xDA, 0xD9, 0x01
_MARKER_BYTES = 2


def problem(data: tf.Tensor, start: tf.Tensor, num_pixels: tf.Tensor) -> tf.Tensor:
  """Why a JPEG has too many scans, a string scalar; empty where it has not.

  Args:
    data: uint8 [n], the file.
    start: int64, where a marker stands, the first scan's or one before.
    num_pixels: int64, of a scan; may be negative where the file does not say.
  """
  # Pictures in the segments and films behind the end have such bytes too: it may be less.
  most = encoded_bytes.count(data[start:], _START_OF_SCAN)
  num_scans = tf.cond(
    _are_too_many(most, num_pixels),
    lambda: _count(data, start),
    lambda: most,
  )
  number, pixels = (tf.strings.as_string(value) for value in (num_scans, num_pixels))
  many = tf.where(
    num_scans > image_cost.MAX_JPEG_SCANS,
    f"a JPEG of more than {image_cost.MAX_JPEG_SCANS} scans; accepted: at most"
    f" {image_cost.MAX_JPEG_SCANS}",
    tf.strings.join(
      [
        "a JPEG of ",
        number,
        " scans of ",
        pixels,
        f" pixels each; accepted: at most {image_cost.MAX_JPEG_SCAN_PIXELS} pixels in all scans",
      ]
    ),
  )
  return tf.where(_are_too_many(num_scans, num_pixels), many, "")


def _are_too_many(num_scans: tf.Tensor, num_pixels: tf.Tensor) -> tf.Tensor:
  is_slow = (num_scans > 1) & (num_scans * num_pixels > image_cost.MAX_JPEG_SCAN_PIXELS)
  return is_slow | (num_scans > image_cost.MAX_JPEG_SCANS)


def _count(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
  """The number of scans int64, up to one more than are accepted (ITU-T T.81, annex B)."""
  following = data[1:]
  is_marker = (data[:-1] == 0xFF) & (following != 0) & (following != 0xFF)
  is_restart = (following >= 0xD0) & (following <= 0xD7)
  places = tf.where(is_marker & ~is_restart)[:, 0]  # [M]
  # Behind the last one, a place outside of the file.
  places = tf.concat([places, [tf.size(data, tf.int64)]], axis=0)  # [M + 1]

  def step(at, going, num_scans):
    del going
    index = tf.searchsorted(places, at[tf.newaxis], out_type=tf.int64)[0]
    place = places[tf.minimum(index, tf.size(places, tf.int64) - 1)]
    marker = encoded_bytes.number(data, place + 1, 1, big_endian=True)
    length = tf.maximum(
      encoded_bytes.number(data, place + _MARKER_BYTES, 2, big_endian=True), 0
    ) * tf.cast(marker != _TEMPORARY, tf.int64)
    num_scans += tf.cast(marker == _SCAN, tf.int64)
    is_end = (marker == _END) | (marker == encoded_bytes.MISSING)
    going = ~is_end & (num_scans <= image_cost.MAX_JPEG_SCANS)
    return place + _MARKER_BYTES + length, going, num_scans

  _, going, num_scans = tf.while_loop(
    lambda at, going, num_scans: going,
    step,
    (start, tf.constant(True), tf.constant(0, tf.int64)),
    maximum_iterations=image_cost.MAX_JPEG_SEGMENTS,
  )
  return tf.where(going, tf.constant(image_cost.MAX_JPEG_SCANS + 1, tf.int64), num_scans)
