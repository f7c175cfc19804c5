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
  num_places = tf.maximum(tf.size(data) - len(pattern) + 1, 0)
  matches = [data[i : i + num_places] == byte for i, byte in enumerate(pattern)]
  return tf.reduce_any(tf.reduce_all(tf.stack(matches), axis=0))


def is_any(value: tf.Tensor, values: Sequence[int]) -> tf.Tensor:
  """Whether a number int64 is one of several; bool scalar."""
  return tf.reduce_any(value == tf.constant(list(values), tf.int64))


def length_without(data: tf.Tensor, last: int) -> tf.Tensor:
  """The length int64 of bytes uint8 [n] when those of a value are cut off at their end."""
  places = tf.range(1, tf.size(data, tf.int64) + 1)
  return tf.reduce_max(tf.concat([[0], tf.where(data != last, places, 0)], axis=0))
