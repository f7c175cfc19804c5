"""Encoded images out of serialized tf.Examples, in graph operations.

TensorFlow's parser repeats the whole of what it cannot parse in its message, which then is no text
and too long for a server to send. So what is no tf.Example is refused before.
"""

import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.serving import encoded_bytes

# A tf.Example is one field, number 1, of bytes: this byte, their number, and the bytes.
_FEATURES_TAG = 0x0A
_MAX_LENGTH_BYTES = 5


def encoded_images(tf_examples: tf.Tensor, name: str) -> tf.Tensor:
  """The images' bytes, strings [B].

  Args:
    tf_examples: strings [B].
    name: what the requester knows them by.

  Raises:
    tf.errors.InvalidArgumentError: one is no tf.Example. One without an image yields no bytes.
  """
  is_sound = tf.map_fn(_is_example, tf_examples, fn_output_signature=tf.bool)  # [B]
  first = tf.argmin(tf.cast(is_sound, tf.int32))
  refusal = tf.strings.join(
    [
      f"{name}[",
      tf.strings.as_string(first),
      f"]: bytes that are no tf.Example, or cut short; accepted: a serialized tf.Example with"
      f" {schema.IMAGE_ENCODED}",
    ]
  )
  with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(is_sound), [refusal])]):
    tf_examples = tf.identity(tf_examples)
  image = tf.io.FixedLenFeature([], tf.string, default_value="")
  return tf.io.parse_example(tf_examples, {schema.IMAGE_ENCODED: image})[schema.IMAGE_ENCODED]


def _is_example(content: tf.Tensor) -> tf.Tensor:
  """Whether the bytes, a string scalar, have the length that they state; never if empty."""
  data = encoded_bytes.to_bytes(content)
  head = tf.cast(data[1 : 1 + _MAX_LENGTH_BYTES], tf.int64)
  head = tf.pad(head, [[0, _MAX_LENGTH_BYTES - tf.size(head)]])  # [5]
  # Seven bits in a byte, the lowest first; the eighth says that more follow.
  has_more = tf.cast(head >= 128, tf.int64)  # [5]
  belongs = tf.math.cumprod(has_more, exclusive=True)  # [5]
  places = tf.constant([128**i for i in range(_MAX_LENGTH_BYTES)], tf.int64)
  length = tf.reduce_sum(belongs * (head % 128) * places)
  total = 1 + tf.reduce_sum(belongs) + length
  tag = encoded_bytes.number(data, 0, 1, big_endian=True)
  return (tag == _FEATURES_TAG) & (total == tf.size(data, tf.int64))
