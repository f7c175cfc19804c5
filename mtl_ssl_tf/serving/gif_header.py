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
_CONTROL = b"\x21\xf9\x04"  # A graphic control extension.
_WHITE = b"\xff\xff\xff"
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
  """The image uint8 [height, width, 3]; where the picture does not reach, it is transparent.

  TensorFlow's decoder shows as black what is transparent, so that colour is made white before, and
  the extension that says which it is left out. Without such a colour, the first stands where the
  picture does not reach.

  Args:
    content: string scalar, a GIF.
    first: its picture, a whole one.
  """
  data = encoded_bytes.to_bytes(content)
  num_shared, num_own = (_table_bytes(_byte(data, at)) for at in (10, first.start + 9))
  own = first.start + _DESCRIPTOR_BYTES
  table, num_bytes = (
    tf.where(num_own > 0, a, b) for a, b in ((own, _SCREEN_BYTES), (num_own, num_shared))
  )
  clear = _transparent_index(data[: first.start])
  has_place = (clear >= 0) & (3 * clear < num_bytes)
  content = tf.cond(
    has_place, lambda: _replaced(content, table + 3 * clear, _WHITE), lambda: content
  )
  alone = tf.strings.join(
    [
      tf.strings.substr(content, tf.zeros_like(first.start), _SCREEN_BYTES + num_shared),
      b",\0\0\0\0",  # Row and column.
      tf.strings.substr(content, first.start + 5, first.end - first.start - 5),
      _TRAILER,
    ]
  )
  picture = tf.io.decode_gif(alone)[0]  # [h, w, 3]
  colour = tf.where(clear >= 0, tf.constant(list(_WHITE), tf.uint8), data[table : table + 3])
  after = first.screen_size - first.offset - first.size
  paddings = tf.pad(tf.stack([first.offset, after], axis=1), [[0, 1], [0, 0]])  # [3, 2]
  # Bytes wrap around, so that what is taken away is added again.
  return tf.pad(picture - colour, paddings) + colour


def _transparent_index(head: tf.Tensor) -> tf.Tensor:
  """The number of the transparent colour, int64; -1 if there is none.

  Args:
    head: uint8 [n], all that comes before the picture; of its graphic control extensions, the last
      that names a colour counts, as Pillow has it.
  """
  num_places = tf.maximum(tf.size(head) - 7, 0)
  is_control = head[7 : 7 + num_places] == 0  # [n - 7]; the extension ends with an empty block.
  for i, byte in enumerate(_CONTROL):
    is_control &= head[i : i + num_places] == byte
  flags = head[len(_CONTROL) : len(_CONTROL) + num_places]
  is_control &= tf.bitwise.bitwise_and(flags, 1) == 1
  places = tf.where(is_control, tf.range(num_places), -1)
  at = tf.cast(tf.reduce_max(tf.concat([[-1], places], axis=0)), tf.int64)
  return tf.where(at >= 0, _byte(head, at + 6), -1)


def _replaced(content: tf.Tensor, at: tf.Tensor, part: bytes) -> tf.Tensor:
  """The string scalar with other bytes at an offset."""
  rest = at + len(part)
  return tf.strings.join(
    [
      tf.strings.substr(content, tf.zeros_like(at), at),
      part,
      tf.strings.substr(content, rest, tf.cast(tf.strings.length(content), tf.int64) - rest),
    ]
  )


def _byte(data: tf.Tensor, at: tf.Tensor | int) -> tf.Tensor:
  return encoded_bytes.number(data, tf.maximum(tf.cast(at, tf.int64), 0), 1, big_endian=True)


def _table_bytes(flags: tf.Tensor) -> tf.Tensor:
  """Bytes of the table of colours that a byte of flags announces."""
  num_colours = tf.bitwise.left_shift(tf.constant(2, tf.int64), tf.bitwise.bitwise_and(flags, 7))
  return tf.where(flags >= 128, 3 * num_colours, tf.constant(0, tf.int64))
