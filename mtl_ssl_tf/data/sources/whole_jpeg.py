"""Whether the data of a JPEG are whole, which its decoder does not tell.

libjpeg, which decodes for TensorFlow and Pillow, fills with grey what is missing, skips what is too
much and takes bits that mean nothing for zeros. It counts a warning, "Corrupt JPEG data", which
neither of them passes on. Here it is made to tell, by two copies of the file. They announce one
unit more than there is, behind the last one of the scan and of each restart interval. A unit (MCU)
is what is decoded in one go, 8 x 8 to 32 x 32 pixels.

  The first copy has the same data. The further unit is grey where pixels are missing: the decoder
  has met the end of the data, and goes on in grey. Otherwise it begins to decode the unit, with the
  bits that fill up the last byte.

  The second lacks the last bytes of the data. The further unit is not grey where there were more of
  them than pixels. Its Huffman tables give bits a meaning that have none: if there are such bits,
  the pixels differ from the first copy's.

Both are decoded at an eighth of their size, in less time than the image as it is. An image that
ends in grey of itself, or comes in several scans, as progressive ones do, takes longer: two copies
are decoded in full, with and without other bytes behind their data, and may not differ.

Some cameras fill up a file before its end marker, with the same few bytes again and again. That is
no damage if the image is whole without them.

Pillow decodes here, as TensorFlow would write the warnings about the copies of good images to the
terminal.
"""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data.sources import jpeg_segments as segments

DATA_DAMAGED = "a JPEG whose data are damaged"
NOT_DECODED = "a JPEG that cannot be decoded"
# Names of notes in manifests.
END_MARKER_ADDED, PADDING_LEFT_OUT = "end_marker_added", "padding_left_out"

MAX_SIDE_PX = 65_000  # libjpeg refuses more than 65500.
# At the end of a scan, libjpeg does not count what it has read ahead; at a restart marker, it does.
READ_AHEAD_BYTES, READ_AHEAD_BYTES_AT_RESTART = 8, 1
# Bytes that change pixels, whatever the Huffman codes. The first bits make a rare, long one.
FILLING = bytes((0xFE, *(1 + 89 * place % 251 for place in range(1, 64))))
_OTHER_FILLING = FILLING[::-1]

_MAX_INTERVAL = _MAX_SEGMENT_BYTES = 65_535  # Numbers of two bytes.
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # Pillow's, by number of components.
# Lowest and highest value of pixels without data; of CMYK, after conversion or not.
_GREY = {"L": (128, 128), "RGB": (128, 128), "CMYK": (127, 128)}
# Units behind the last one that the bits of the last byte may change: in a scan that refines the
# first coefficient by a bit, one for each of seven.
_NUM_CHANGED_UNITS = 8
_MIN_BITS_OF_BLOCK = 2  # Two codes of a bit.
_MAX_CODE_BITS = 16
# What bits mean that had no meaning: a large change of the first coefficient, or of the next one.
_FURTHER_SYMBOLS = {0: 11, 1: 0x0A}  # By the kind of the table.


def check(content: bytes) -> None:
  """Refuses a JPEG that is not whole.

  Args:
    content: of the file.

  Raises:
    segments.DamageError: bytes of it are missing, too many, or changed so that others are.
  """
  _without_padding(content)


def _without_padding(content: bytes) -> bytes:
  """The same JPEG without what fills it up before its end marker, if that is not damage.

  Raises:
    segments.DamageError: as `check`.
  """
  try:
    _check_data(content)
    return content
  except segments.DamageError as error:
    unpadded = segments.without_padding(content) if str(error) == DATA_DAMAGED else content
    if unpadded is content:
      raise
  _check_data(unpadded)
  return unpadded


def _check_data(content: bytes) -> None:
  header = segments.read_header(content)
  ends, tables = segments.read_scans(content, header)
  if not _is_usual(header):
    _decode_by_tensorflow(content)
  elif not (header.is_one_scan and _check_units(content, header, ends)):
    _compare_fillings(content, header, ends, tables)


def completed(content: bytes) -> tuple[bytes, str]:
  """A JPEG without what keeps decoders from it, or makes them warn, though its data are whole.

  Returns:
    The bytes, and what was done: `END_MARKER_ADDED`, `PADDING_LEFT_OUT` or nothing.

  Raises:
    segments.DamageError: as `check`.
  """
  try:
    unpadded = _without_padding(content)
    return unpadded, "" if unpadded is content else PADDING_LEFT_OUT
  except segments.DamageError as error:
    if str(error) != segments.CUT_SHORT:
      raise
  # Zeros are what an interrupted download fills up with, 255 is half of the marker.
  ended = content.rstrip(b"\0").removesuffix(b"\xff") + segments.END_MARKER
  try:
    check(ended)
    # Of several scans, some may be missing without a trace.
    if segments.read_header(ended).is_one_scan:
      return ended, END_MARKER_ADDED
  except segments.DamageError:
    pass
  raise segments.DamageError(segments.CUT_SHORT)


def _is_usual(header: segments.Header) -> bool:
  """Whether it is of a kind that all decoders know; of others TensorFlow is asked."""
  down, across = header.unit
  return (
    header.kind in (*segments.SEQUENTIAL, segments.PROGRESSIVE)
    and header.bit_depth == 8
    and len(header.sampling) in _MODES
    and header.height > 0
    and header.width > 0
    and (
      len(header.sampling) == 1
      or all(x and y and not (across % x or down % y) for x, y in header.sampling)
    )
  )


def _check_units(content: bytes, header: segments.Header, ends: Sequence[segments.DataEnd]) -> bool:
  """Refuses an image of one scan by the units behind those that it has.

  Returns:
    Whether that tells: not where the image, or an interval of it, ends in grey of itself.
  """
  rows, columns = header.num_units
  down, across = header.unit
  total = rows * columns
  interval = min(header.interval or total, total)
  num_intervals = -(-total // interval)
  ends = ends[: 1 + next(place for place, end in enumerate(ends) if not end.is_restart)]
  if len(ends) == num_intervals + 1 and ends[-1].begin == ends[-2].end:
    ends = ends[:-1]  # There may be a restart marker behind the last interval, too.
  restarts = [
    segments.FIRST_RESTART + place % segments.NUM_RESTARTS for place in range(num_intervals - 1)
  ]
  if len(ends) != num_intervals or [end.marker for end in ends[:-1]] != restarts:
    raise segments.DamageError(DATA_DAMAGED)
  if num_intervals > 1 and interval == _MAX_INTERVAL:
    return False

  copy = bytearray(content)
  rows, columns = _layout(num_intervals * (interval + 1), columns, header.unit)
  _write(copy, header.frame + segments.HEIGHT, rows * segments.BLOCK_PX * down)
  _write(copy, header.frame + segments.WIDTH, columns * segments.BLOCK_PX * across)
  if header.restarts:
    _write(copy, header.restarts + segments.INTERVAL, interval + 1 if num_intervals > 1 else 0)
  further = np.arange(num_intervals) * (interval + 1) + interval
  further[-1] -= num_intervals * interval - total  # The last interval may be shorter.

  mode = _MODES[len(header.sampling)]

  def decode(copy: bytes | bytearray) -> np.ndarray:
    """A pixel for each block; uint8 [rows * down, columns * across, components]."""
    pixels = _decode(copy, mode, rows * down, columns * across, scale=segments.BLOCK_PX)
    return pixels.reshape(rows * down, columns * across, -1)

  def is_grey(pixels: np.ndarray) -> np.ndarray:
    """Of each interval, whether the further unit is grey; bool [num_intervals]."""
    by_unit = pixels.reshape(rows, down, columns, across, -1)
    units = by_unit[further // columns, :, further % columns]  # [num_intervals, down, across, ...]
    return _is_grey(units, mode).all(axis=(1, 2, 3))

  whole = decode(copy)
  begin, same = header.data, further.copy()
  for place, end in enumerate(ends):
    num_bytes = READ_AHEAD_BYTES_AT_RESTART if end.is_restart else READ_AHEAD_BYTES
    begin = max(begin, end.begin - num_bytes)
    copy[begin : end.begin] = b"\xff" * (end.begin - begin)  # The marker, filled up.
    same[place] -= 1 + 8 * num_bytes // (_MIN_BITS_OF_BLOCK * header.num_blocks)
    begin = end.end
  shortened = decode(_replaced(copy, _further_codes(copy, header.tables)))
  if not is_grey(shortened).all():
    raise segments.DamageError(DATA_DAMAGED)
  places = np.flatnonzero(whole != shortened) // whole.shape[-1]
  row, column = np.divmod(places, columns * across)
  changed = row // down * columns + column // across
  changed = changed[changed < num_intervals * (interval + 1)]
  if (changed < same[changed // (interval + 1)]).any():
    raise segments.DamageError(DATA_DAMAGED)
  return not is_grey(whole).any()


def _layout(num_units: int, columns: int, unit: tuple[int, int]) -> tuple[int, int]:
  """Rows and columns of an image that has room for these units, by its columns before."""
  most_rows, most_columns = (MAX_SIDE_PX // (segments.BLOCK_PX * blocks) for blocks in unit)
  columns = min(max(columns, -(-num_units // most_rows)), most_columns)
  return -(-num_units // columns), columns


def _compare_fillings(
  content: bytes,
  header: segments.Header,
  ends: Sequence[segments.DataEnd],
  tables: Sequence[tuple[int, int]],
) -> None:
  """Refuses an image whose pixels come from what follows its data, or whose data hold more."""
  rows, columns = header.num_units
  down, across = header.unit
  # A row of units follows that no data are for, or several where the image is narrow.
  changed_rows, changed_columns = divmod(_NUM_CHANGED_UNITS, columns)
  last_row = segments.BLOCK_PX * down * (rows + changed_rows)
  height = last_row + segments.BLOCK_PX * down
  if height > MAX_SIDE_PX:
    _decode_by_tensorflow(content)
    return
  copy = bytearray(content)
  _write(copy, header.frame + segments.HEIGHT, height)
  mode = _MODES[len(header.sampling)]
  pixels = _decode(copy, mode, height, header.width)
  if not _is_grey(pixels[last_row:, segments.BLOCK_PX * across * changed_columns :], mode).all():
    raise segments.DamageError(DATA_DAMAGED)
  for filling in (FILLING, _OTHER_FILLING) if header.is_one_scan else (FILLING,):
    changes = _further_codes(copy, tables) + [(end.begin, end.begin, filling) for end in ends]
    others = _decode(_replaced(copy, changes), mode, height, header.width)
    if not np.array_equal(pixels[: header.height], others[: header.height]):
      raise segments.DamageError(DATA_DAMAGED)


def _replaced(content: bytes | bytearray, changes: Sequence[tuple[int, int, bytes]]) -> bytes:
  """The content with other bytes from one offset to another, and so on."""
  parts, at = [], 0
  for begin, end, part in sorted(changes):
    parts += [content[at:begin], part]
    at = end
  return b"".join([*parts, content[at:]])


def _further_codes(
  content: bytes | bytearray, spans: Sequence[tuple[int, int]]
) -> list[tuple[int, int, bytes]]:
  """The changes of segments with Huffman tables after which most bits have a meaning."""
  return [(begin, end, _with_further_codes(bytes(content[begin:end]))) for begin, end in spans]


@functools.lru_cache(maxsize=64)  # Most files have the same ones.
def _with_further_codes(segment: bytes) -> bytes:
  """A segment with Huffman tables, each with one code more of every length above its longest.

  Of the longest codes, the one of ones alone has no meaning (ITU-T T.81, annex C). That, a zero and
  what follows are the further codes.
  """
  tables, rest = [], segment[4:]
  while len(rest) > _MAX_CODE_BITS:
    kind, counts = rest[0], list(rest[1 : 1 + _MAX_CODE_BITS])
    symbols = rest[1 + _MAX_CODE_BITS :][: sum(counts)]
    rest = rest[1 + _MAX_CODE_BITS + sum(counts) :]
    longest = max((length for length, count in enumerate(counts, start=1) if count), default=16)
    counts[longest:] = [1] * (_MAX_CODE_BITS - longest)
    further = bytes([_FURTHER_SYMBOLS.get(kind >> 4, 0)]) * (_MAX_CODE_BITS - longest)
    tables.append(bytes([kind, *counts]) + symbols + further)
  content = b"".join([*tables, rest])
  if len(content) + 2 > _MAX_SEGMENT_BYTES:
    return segment
  return segment[:2] + (len(content) + 2).to_bytes(2, "big") + content


def _is_grey(pixels: np.ndarray, mode: str) -> np.ndarray:
  lowest, highest = _GREY[mode]
  return (pixels >= lowest) & (pixels <= highest)


def _decode(
  content: bytes | bytearray, mode: str, height: int, width: int, scale: int = 1
) -> np.ndarray:
  """Pixels uint8 [height, width] or [height, width, components]; each row of data for itself.

  Args:
    content: of the file.
    mode: Pillow's, of the decoded image.
    height, width: of the decoded image.
    scale: by which the image in the file is larger.
  """
  try:
    # The last argument leaves out the smoothing of colours across units.
    picture = Image.frombytes(mode, (width, height), bytes(content), "jpeg", mode, "", scale, 1)
  except (ValueError, OSError) as error:
    raise segments.DamageError(f"{NOT_DECODED} ({error})") from error
  return np.asarray(picture)


def _decode_by_tensorflow(content: bytes) -> None:
  try:
    tf.io.decode_jpeg(content, channels=3)
  except tf.errors.InvalidArgumentError as error:
    raise segments.DamageError(f"{NOT_DECODED} (by TensorFlow)") from error


def _write(copy: bytearray, offset: int, number: int) -> None:
  copy[offset : offset + 2] = number.to_bytes(2, "big")
