"""Encoded images out of serialized tf.Examples, in graph operations.

TensorFlow's parser repeats the whole of what it cannot parse in its message, which then is no text
and too long for a server to send. It also makes room for as many bytes as an image states to have,
before it looks whether there are so many, and of 2**31 or more it ends the process. So what is no
tf.Example is refused before.
"""

import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.serving import encoded_bytes

# A field of bytes is its tag, their number, and the bytes. A tf.Example is one field, number 1, and
# in that are entries, number 1 each, of a key, number 1, and a value, number 2. In a value of bytes
# is a list, number 1, and in that the values, number 1 each.
_KEY_TAG, _VALUE_TAG, _BYTES_TAG = 0x0A, 0x12, 0x0A
_IMAGE_KEY = schema.IMAGE_ENCODED.encode()
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
  """Whether the bytes, a string scalar, are a map of keys and values to their end.

  Other values than the image are left to the parser, which reads none of them. Empty bytes are no
  map.
  """
  data = encoded_bytes.to_bytes(content)
  length = tf.size(data, tf.int64)
  tag, begin, end = _field(data, tf.constant(0, tf.int64))

  def after_entry(at, is_sound):
    entry_tag, entry_begin, entry_end = _field(data, at)
    key_tag, key_begin, key_end = _field(data, entry_begin)
    value_tag, value_begin, value_end = _field(data, key_end)
    is_sound &= (entry_tag == _KEY_TAG) & (key_tag == _KEY_TAG) & (value_tag == _VALUE_TAG)
    is_image = encoded_bytes.starts_with(data, _IMAGE_KEY, key_begin)
    is_image &= key_end - key_begin == len(_IMAGE_KEY)
    is_sound &= ~is_image | _is_value(data, value_begin, value_end)
    return entry_end, is_sound & (value_end == entry_end)

  at, is_sound = tf.while_loop(
    lambda at, is_sound: is_sound & (at < length),
    after_entry,
    (begin, (tag == _KEY_TAG) & (end == length)),
  )
  return is_sound & (at == length)


def _is_value(data: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
  """Whether the first bytes in a value end within it; bool scalar.

  No value, those of numbers, and further bytes are left to the parser, which refuses them.
  """
  list_tag, list_begin, list_end = _field(data, begin)
  tag, _, bytes_end = _field(data, list_begin)
  is_list = (list_end == end) & (
    (list_end == list_begin) | (tag == _BYTES_TAG) & (bytes_end <= end)
  )
  return (begin == end) | (list_tag != _BYTES_TAG) | is_list


def _field(data: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Tag of the field that begins here, and begin and end of its content; int64 scalars.

  The tag is MISSING where the number of bytes does not end after so many digits as it may have.
  """
  head = tf.cast(data[at + 1 : at + 1 + _MAX_LENGTH_BYTES], tf.int64)
  head = tf.pad(head, [[0, _MAX_LENGTH_BYTES - tf.size(head)]])  # [5]
  # Seven bits in a byte, the lowest first; the eighth says that more follow.
  has_more = tf.cast(head >= 128, tf.int64)  # [5]
  belongs = tf.math.cumprod(has_more, exclusive=True)  # [5]
  places = tf.constant([128**i for i in range(_MAX_LENGTH_BYTES)], tf.int64)
  begin = at + 1 + tf.reduce_sum(belongs)
  tag = encoded_bytes.number(data, at, 1, big_endian=True)
  tag = tf.where(tf.reduce_all(head >= 128), tf.constant(encoded_bytes.MISSING, tf.int64), tag)
  return tag, begin, begin + tf.reduce_sum(belongs * (head % 128) * places)
