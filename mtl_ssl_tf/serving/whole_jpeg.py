"""Whether the data of a JPEG are whole, in graph operations.

The rule is that of `data/sources/whole_jpeg.py`: data end with the last pixel, padding aside.
TensorFlow's decoder does not tell, and writes to the server's log where a copy of an image makes it
meet the end of the data. So the copies here never do, if the image is a good one. They are decoded
up to the last row of units only:

  other bytes behind the data         must not change that row, or pixels are missing
  zeros for the last bytes of data    must change it, or there are more data than pixels

Of several scans, as progressive files have them, and of restart intervals but the last, nothing is
found in this way.
"""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.data.sources import jpeg_segments, whole_jpeg
from mtl_ssl_tf.serving import encoded_bytes, jpeg_header

_NUM_COMPONENTS = (1, 3, 4)
# Zeros are valid data in every file: the first of all Huffman codes. As many as the units whose
# data lie in the last bytes may take.
_ZEROS = bytes(8192)
_GREY = (63, 64, 128)  # Values of pixels without data: of four components, and of others.


class _Frame(NamedTuple):
  """The make-up of an image; scalars int64 unless stated.

  Attributes:
    is_checked: bool, whether its data are examined.
    has_room: bool, whether a file can announce a row of units more.
    down, across: blocks of a unit.
    rows, columns: of units.
    interval: units between restart markers; 0 if there are none.
    data: offset of the first scan's data.
  """

  is_checked: tf.Tensor
  has_room: tf.Tensor
  down: tf.Tensor
  across: tf.Tensor
  rows: tf.Tensor
  columns: tf.Tensor
  interval: tf.Tensor
  data: tf.Tensor


def problem(content: tf.Tensor, segments: tf.Tensor) -> tf.Tensor:
  """Why a JPEG is not whole, or empty; string scalar.

  Args:
    content: string scalar, with an end marker.
    segments: int64 [3], offsets of the frame, the restart interval and the scan; see `JpegHeader`.
  """
  data = encoded_bytes.to_bytes(content)
  frame = _frame(data, segments)
  return tf.cond(
    frame.is_checked,
    lambda: _problem_of_scan(content, data, frame, segments),
    lambda: tf.constant(""),
  )


def completed(content: tf.Tensor) -> tf.Tensor:
  """A JPEG that may lack its end marker alone, with that; string scalar."""
  data = encoded_bytes.to_bytes(content)
  end = encoded_bytes.length_without(data, 0)
  is_half = encoded_bytes.starts_with(data, b"\xff", tf.maximum(end - 1, 0))  # Half of the marker.
  end -= tf.cast(is_half, tf.int64)
  body = tf.strings.substr(content, tf.zeros_like(end), end)
  return tf.strings.join([body, jpeg_segments.END_MARKER])


def _frame(data: tf.Tensor, segments: tf.Tensor) -> _Frame:
  """Reads what the segments say; of what they do not say, something."""
  frame, restarts, scan = tf.unstack(segments)

  def read(offset, num_bytes):
    return encoded_bytes.number(data, offset, num_bytes, big_endian=True)

  num_components = read(frame + jpeg_segments.NUM_COMPONENTS, 1)
  pairs = tf.stack(
    [
      read(frame + jpeg_segments.FIRST_SAMPLING + jpeg_segments.COMPONENT_BYTES * i, 1)
      for i in range(max(_NUM_COMPONENTS))
    ]
  )
  is_component = tf.range(max(_NUM_COMPONENTS), dtype=tf.int64) < num_components
  sampling = tf.stack([pairs % 16, pairs // 16])  # [2, 4]: down and across.
  sampling = tf.where(is_component & (sampling > 0), sampling, 1)
  unit = tf.where(num_components == 1, tf.ones([2], tf.int64), tf.reduce_max(sampling, axis=1))
  is_regular = tf.reduce_all(unit[:, tf.newaxis] % sampling == 0) | (num_components == 1)
  sides = tf.stack(
    [read(frame + offset, 2) for offset in (jpeg_segments.HEIGHT, jpeg_segments.WIDTH)]
  )
  unit_px = jpeg_segments.BLOCK_PX * unit
  num_units = tf.maximum((sides + unit_px - 1) // unit_px, 1)
  is_checked = (
    (frame > 0)
    & (scan > 0)
    & encoded_bytes.is_any(read(frame + 1, 1), jpeg_segments.SEQUENTIAL)
    & encoded_bytes.is_any(num_components, _NUM_COMPONENTS)
    & (read(scan + jpeg_segments.NUM_IN_SCAN, 1) == num_components)
    & (read(frame + jpeg_segments.BIT_DEPTH, 1) == 8)
    & is_regular
  )
  sides_px = (num_units + tf.constant([1, 0], tf.int64)) * unit_px
  return _Frame(
    is_checked,
    tf.reduce_all(sides_px <= whole_jpeg.MAX_SIDE_PX),
    *tf.unstack(unit),
    *tf.unstack(num_units),
    tf.where(restarts > 0, read(restarts + jpeg_segments.INTERVAL, 2), 0),
    scan + jpeg_header.MARKER_BYTES + read(scan + jpeg_header.MARKER_BYTES, 2),
  )


def _problem_of_scan(
  content: tf.Tensor, data: tf.Tensor, frame: _Frame, segments: tf.Tensor
) -> tf.Tensor:
  """Why the only scan of an image is not whole, or empty; string scalar."""
  problem, begin, end = _last_interval(data[frame.data :], frame)

  def is_whole_without_padding() -> tf.Tensor:
    unpadded = _without_padding(data[frame.data :], end)
    return tf.cond(
      unpadded == end,
      lambda: tf.constant(False),
      lambda: _ends_with_pixels(content, frame, segments, begin, tf.maximum(begin, unpadded)),
    )

  def problem_of_data() -> tf.Tensor:
    is_whole = _ends_with_pixels(content, frame, segments, begin, end)
    # Few have any, and to search for it takes memory for each byte.
    is_whole = tf.cond(is_whole, lambda: tf.constant(True), is_whole_without_padding)
    return tf.where(is_whole, "", whole_jpeg.DATA_DAMAGED)

  return tf.cond((problem == "") & frame.has_room, problem_of_data, lambda: problem)


def _last_interval(tail: tf.Tensor, frame: _Frame) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Begin and end of the last restart interval's data, and what is wrong with its markers, or "".

  Args:
    tail: the bytes uint8 [n] from the beginning of the data on.
    frame: what the image consists of.

  Returns:
    The problem, a string scalar; begin and end, int64 scalars.
  """
  is_marker = (tail[:-1] == 0xFF) & (tail[1:] != 0) & (tail[1:] != 0xFF)
  places = tf.where(is_marker)[:, 0]
  markers = tf.cast(tf.gather(tail, places + 1), tf.int64)
  has_end = tf.reduce_any(markers == jpeg_segments.END_OF_IMAGE)
  # One more, so that there always is one.
  places = tf.concat([places, [tf.size(tail, tf.int64)]], axis=0)
  markers = tf.concat([markers, [jpeg_segments.END_OF_IMAGE]], axis=0)
  first, number = jpeg_segments.FIRST_RESTART, jpeg_segments.NUM_RESTARTS
  is_restart = (markers >= first) & (markers < first + number)
  num_restarts = tf.argmin(tf.cast(is_restart, tf.int32))  # The first that is none.
  total = frame.rows * frame.columns
  interval = tf.where(frame.interval == 0, total, tf.minimum(frame.interval, total))
  num_wanted = (total + interval - 1) // interval - 1
  begins = tf.concat([[0], places + jpeg_header.MARKER_BYTES], axis=0)
  # There may be a restart marker behind the last interval, too.
  is_closed = (num_restarts == num_wanted + 1) & (
    _without_fill(tail, places[num_restarts]) <= begins[num_restarts]
  )
  num_restarts -= tf.cast(is_closed, tf.int64)
  wanted = first + tf.range(num_restarts) % number
  is_wanted = (num_restarts == num_wanted) & tf.reduce_all(markers[:num_restarts] == wanted)
  problem = tf.where(is_wanted, "", whole_jpeg.DATA_DAMAGED)
  problem = tf.where(has_end, problem, jpeg_segments.CUT_SHORT)
  return problem, begins[num_restarts], _without_fill(tail, places[num_restarts])


def _without_fill(tail: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
  """The end of data before a marker, which may be filled up; int64 scalar."""
  return encoded_bytes.length_without(tail[:place], 0xFF)


def _without_padding(tail: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
  """The end of data but for padding, as `jpeg_segments.without_padding` has it; int64 scalar."""
  data = tail[:end]
  lengths = []
  for period in range(1, jpeg_segments.MAX_PADDING_PERIOD + 1):
    differs = data[period:] != data[:-period]
    # The place behind the last byte that differs from the one a period before.
    behind = tf.reduce_max(tf.concat([[0], tf.where(differs)[:, 0] + 1], axis=0))
    lengths.append(end - behind)
  longest = tf.reduce_max(tf.stack(lengths))
  is_padding = (longest >= jpeg_segments.MIN_PADDING_BYTES) & (end >= longest)
  return tf.where(is_padding, end - longest + jpeg_segments.KEPT_PADDING_BYTES, end)


def _ends_with_pixels(
  content: tf.Tensor, frame: _Frame, segments: tf.Tensor, begin: tf.Tensor, end: tf.Tensor
) -> tf.Tensor:
  """Whether data end with the last pixel; bool scalar.

  Args:
    content: string scalar.
    frame: what the image consists of.
    segments: see `problem`.
    begin, end: of the last interval's data, from the beginning of all data.
  """
  unit_height = jpeg_segments.BLOCK_PX * frame.down
  unit_width = jpeg_segments.BLOCK_PX * frame.across
  width, last_row = frame.columns * unit_width, (frame.rows - 1) * unit_height
  head = _changed(_part(content, 0, frame.data), segments[0] + jpeg_segments.WIDTH, width)

  def copy(num_rows: tf.Tensor, data: tf.Tensor, more: bytes) -> tf.Tensor:
    of_height = _changed(head, segments[0] + jpeg_segments.HEIGHT, num_rows * unit_height)
    return tf.strings.join([of_height, data, more + jpeg_segments.END_MARKER])

  def rows_from(top: tf.Tensor, end: tf.Tensor, more: bytes) -> tf.Tensor:
    """Pixels uint8 [rows, width, 3] of an image with other data behind some of its own."""
    # With one row more, which is left out, the decoder does not look for the end of the image.
    image = copy(frame.rows + 1, _part(content, frame.data, frame.data + end), more)
    window = tf.cast([top, 0, frame.rows * unit_height - top, width], tf.int32)
    return tf.io.decode_and_crop_jpeg(image, window, channels=3, fancy_upscaling=False)

  def is_complete_anywhere() -> tf.Tensor:
    """Compares all rows: of an image that ends in grey, the last ones may be without data."""
    top = tf.zeros_like(last_row)
    rows, others = (rows_from(top, end, more) for more in (b"", whole_jpeg.FILLING))
    return tf.reduce_all(rows == others)

  def is_used_up() -> tf.Tensor:
    """Whether the last interval holds no unit more; what is decoded is written about in the log."""
    total = frame.rows * frame.columns
    interval = tf.where(frame.interval == 0, total, frame.interval)
    num_units = total - (total - 1) // interval * interval
    row, column = num_units // frame.columns, num_units % frame.columns
    image = copy(row + 1, _part(content, frame.data + begin, frame.data + shorter), b"")
    image = tf.cond(
      segments[1] > 0,
      lambda: _changed(image, segments[1] + jpeg_segments.INTERVAL, tf.zeros_like(row)),
      lambda: image,
    )
    pixels = tf.io.decode_jpeg(image, channels=3, ratio=jpeg_segments.BLOCK_PX)
    return _is_grey(pixels[row * frame.down :, column * frame.across :][:, : frame.across])

  shorter = tf.maximum(begin, end - whole_jpeg.READ_AHEAD_BYTES)
  row = rows_from(last_row, end, b"")
  is_complete = tf.cond(
    _is_grey(row[:, -unit_width:]),
    is_complete_anywhere,
    lambda: tf.reduce_all(row == rows_from(last_row, end, whole_jpeg.FILLING)),
  )
  is_changed = tf.reduce_any(row != rows_from(last_row, shorter, _ZEROS))
  return is_complete & tf.cond(is_changed, lambda: tf.constant(True), is_used_up)


def _is_grey(pixels: tf.Tensor) -> tf.Tensor:
  """Whether pixels uint8 [height, width, 3] are as without data; bool scalar."""
  return tf.reduce_all(
    tf.reduce_any(pixels[..., tf.newaxis] == tf.constant(_GREY, tf.uint8), axis=-1)
  )


def _part(content: tf.Tensor, begin: tf.Tensor | int, end: tf.Tensor) -> tf.Tensor:
  begin = tf.cast(begin, tf.int64)
  return tf.strings.substr(content, begin, end - begin)


def _changed(content: tf.Tensor, offset: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
  """The content with a number int64 below 65536 in the two bytes at an offset; string scalar."""
  digits = tf.gather(tf.constant([bytes([i]) for i in range(256)]), [number // 256, number % 256])
  rest = _part(content, offset + 2, tf.cast(tf.strings.length(content), tf.int64))
  return tf.strings.join([_part(content, 0, offset), digits[0], digits[1], rest])
