"""The first picture of a GIF, found in graph operations without decompressing any.

TensorFlow's decoder reads every picture of the file before it returns the first, each of a size of
its own, and shows it where the file does not place it. So it is given the first alone.
"""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.data.sources import image_cost
from mtl_ssl_tf.serving import encoded_bytes

_SCREEN_BYTES = 13  # Signature and logical screen descriptor.
_DESCRIPTOR_BYTES = 10
_EXTENSION, _PICTURE = 0x21, 0x2C
_TRAILER = b"\x3b"
# Looked up at a time; blocks are of one size, 255 bytes as a rule.
_ROW_BLOCKS = image_cost.GIF_ROW_BLOCKS
# Forged files must not keep the server counting.
_MAX_ROWS = image_cost.MAX_GIF_ROWS


class FirstPicture(NamedTuple):
  """The place of the first picture; scalars, or pairs of height and width.

  Attributes:
    screen_size: int64 [2], of the whole image, in which the picture lies.
    offset: int64 [2], row and column of the picture's corner in the image.
    size: int64 [2], of the picture.
    start, end: int64, of its bytes, from the descriptor to behind the pixels.
    is_whole: bool, whether there is one with pixels and the file does not end before it does.
    is_broken_up: bool, whether its blocks change their size too often to be followed.
  """

  screen_size: tf.Tensor
  offset: tf.Tensor
  size: tf.Tensor
  start: tf.Tensor
  end: tf.Tensor
  is_whole: tf.Tensor
  is_broken_up: tf.Tensor


def read(data: tf.Tensor) -> FirstPicture:
  """Goes from block to block of the bytes uint8 [n] (GIF89a specification, appendix B)."""

  length = tf.size(data, tf.int64)
  padded = tf.concat([data, [0]], axis=0)

  def byte(at):
    """Returns the byte at an offset, 0 behind the end, at least cost: a file has many blocks."""
    return tf.cast(padded[tf.minimum(at, length)], tf.int64)

  def pair(at):
    width, height = (encoded_bytes.number(data, at + i, 2, big_endian=False) for i in (0, 2))
    return tf.stack([height, width])

  def after_blocks(at, num_rows):
    """Returns the offset behind a chain of blocks with their size in front, the last empty.

    `num_rows` of blocks of one size have been passed before; their number comes back, too.
    """

    def after_row(at, num_rows):
      stride = byte(at) + 1
      number = encoded_bytes.num_alike(data, at, stride, 1, _ROW_BLOCKS)
      return at + stride * tf.maximum(number, 1), num_rows + 1

    at, num_rows = tf.while_loop(
      lambda at, num_rows: (byte(at) > 0) & (num_rows <= _MAX_ROWS),
      after_row,
      (at, num_rows),
    )
    return at + 1, num_rows + 1

  start = _SCREEN_BYTES + _table_bytes(byte(tf.constant(10, tf.int64)))
  start, num_rows = tf.while_loop(
    lambda at, num_rows: (byte(at) == _EXTENSION) & (num_rows <= _MAX_ROWS),
    lambda at, num_rows: after_blocks(at + 2, num_rows),
    (start, tf.constant(0, tf.int64)),
  )
  offset, size = pair(start + 1), pair(start + 5)
  # A byte that the compression begins with stands between the colours and the blocks.
  blocks = start + _DESCRIPTOR_BYTES + _table_bytes(byte(start + 9)) + 1
  end, num_rows = after_blocks(blocks, num_rows)
  is_ended = (byte(end - 1) == 0) & (end > blocks + 1) & (end <= length)
  is_whole = (byte(start) == _PICTURE) & is_ended & tf.reduce_all(size > 0)
  screen_size = tf.maximum(pair(6), offset + size)
  # The last chain of blocks counts as a row.
  is_broken_up = num_rows > _MAX_ROWS + 1
  return FirstPicture(screen_size, offset, size, start, end, is_whole, is_broken_up)


def decode(content: tf.Tensor, first: FirstPicture) -> tf.Tensor:
  """The image uint8 [height, width, 3]; black where the picture does not reach.

  Args:
    content: string scalar, a GIF.
    first: its picture, a whole one.
  """
  alone = tf.strings.join(
    [
      tf.strings.substr(content, tf.zeros_like(first.start), first.start + 1),
      b"\0\0\0\0",  # Row and column.
      tf.strings.substr(content, first.start + 5, first.end - first.start - 5),
      _TRAILER,
    ]
  )
  picture = tf.io.decode_gif(alone)[0]  # [h, w, 3]
  after = first.screen_size - first.offset - first.size
  paddings = tf.pad(tf.stack([first.offset, after], axis=1), [[0, 1], [0, 0]])  # [3, 2]
  return tf.pad(picture, paddings)


def _table_bytes(flags: tf.Tensor) -> tf.Tensor:
  """Bytes of the table of colours that a byte of flags announces."""
  num_colours = tf.bitwise.left_shift(tf.constant(2, tf.int64), tf.bitwise.bitwise_and(flags, 7))
  return tf.where(flags >= 128, 3 * num_colours, tf.constant(0, tf.int64))
