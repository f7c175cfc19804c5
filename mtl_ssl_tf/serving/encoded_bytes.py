"""Numbers and patterns in a file's bytes, in graph operations; no offset is out of range."""

from collections.abc import Sequence

import tensorflow as tf

MISSING = -1


def to_bytes(content: tf.Tensor) -> tf.Tensor:
  """The bytes uint8 [n] of a string scalar."""
  return tf.io.decode_raw(content, tf.uint8)


def number(
  data: tf.Tensor, offset: tf.Tensor | int, num_bytes: int, *, big_endian: tf.Tensor | bool
) -> tf.Tensor:
  """The unsigned number int64 that begins at an offset; MISSING where the data ends before it does.

  Args:
    data: uint8 [n].
    offset: int64 scalar, not negative.
    num_bytes: 1 to 4.
    big_endian: bool scalar.
  """
  offset = tf.cast(offset, tf.int64)
  digits = tf.cast(data[offset : offset + num_bytes], tf.int64)  # [num_bytes] or fewer
  digits = tf.where(big_endian, tf.reverse(digits, axis=[0]), digits)
  places = tf.constant([256**i for i in range(num_bytes)], tf.int64)[: tf.size(digits)]
  whole = tf.size(digits) == num_bytes
  return tf.where(whole, tf.reduce_sum(digits * places), tf.constant(MISSING, tf.int64))


def starts_with(data: tf.Tensor, pattern: bytes, offset: tf.Tensor | int = 0) -> tf.Tensor:
  """Whether bytes uint8 [n] hold a pattern at an offset, int64 and not negative; bool scalar."""
  offset = tf.cast(offset, tf.int64)
  found = data[offset : offset + len(pattern)]
  wanted = tf.constant(list(pattern), tf.uint8)[: tf.size(found)]
  return (tf.size(found) == len(pattern)) & tf.reduce_all(found == wanted)


def contains(data: tf.Tensor, pattern: bytes) -> tf.Tensor:
  """Whether bytes uint8 [n] hold a pattern anywhere; bool scalar."""
  return tf.reduce_any(_matches(data, pattern))


def count(data: tf.Tensor, pattern: bytes) -> tf.Tensor:
  """The number of places, int64, at which bytes uint8 [n] hold a pattern."""
  return tf.math.count_nonzero(_matches(data, pattern))


def num_alike(
  data: tf.Tensor, offset: tf.Tensor, stride: tf.Tensor, num_bytes: int, most: int
) -> tf.Tensor:
  """The number of places in a row, int64, at equal distances and with the same bytes as the first.

  Args:
    data: uint8 [n].
    offset: int64 scalar, of the first place.
    stride: int64 scalar, the distance, above 0.
    num_bytes: that are compared.
    most: so many places are looked up.
  """
  length = tf.size(data, tf.int64)
  starts = offset + stride * tf.range(most, dtype=tf.int64)  # [most]
  places = starts[:, tf.newaxis] + tf.range(num_bytes, dtype=tf.int64)  # [most, num_bytes]
  found = tf.gather(tf.concat([data, [0]], axis=0), tf.minimum(places, length))
  is_alike = tf.reduce_all(found == found[:1], axis=1) & (starts + num_bytes <= length)  # [most]
  return tf.reduce_sum(tf.math.cumprod(tf.cast(is_alike, tf.int64)))


def _matches(data: tf.Tensor, pattern: bytes) -> tf.Tensor:
  """Whether bytes uint8 [n] hold a pattern at each place, bool [n - len(pattern) + 1]."""
  num_places = tf.maximum(tf.size(data) - len(pattern) + 1, 0)
  matches = [data[i : i + num_places] == byte for i, byte in enumerate(pattern)]
  return tf.reduce_all(tf.stack(matches), axis=0)


def is_any(value: tf.Tensor, values: Sequence[int]) -> tf.Tensor:
  """Whether a number int64 is one of several; bool scalar."""
  return tf.reduce_any(value == tf.constant(list(values), tf.int64))


def length_without(data: tf.Tensor, last: int) -> tf.Tensor:
  """The length int64 of bytes uint8 [n] when those of a value are cut off at their end."""
  places = tf.range(1, tf.size(data, tf.int64) + 1)
  return tf.reduce_max(tf.concat([[0], tf.where(data != last, places, 0)], axis=0))
