"""The segments of a JPEG, as far as its decoder needs them (ITU-T T.81, annex B)."""

import dataclasses
import re

import numpy as np

END_MARKER = b"\xff\xd9"
CUT_SHORT = "a JPEG that is cut short"
BYTES_BETWEEN = "a JPEG with bytes between its segments"
SHORT_SEGMENT = "a JPEG whose JFIF or Adobe segment is cut short"
# Marker, begin and least length of segments that Pillow, of which the converters have the pixels,
# reads the version of.
VERSIONED, VERSIONED_BYTES = ((0xE0, b"JFIF"), (0xEE, b"Adobe")), 7

# Bytes after 0xff: what a marker means (table B.1).
START_OF_SCAN, END_OF_IMAGE, RESTART_INTERVAL, TABLES = 0xDA, 0xD9, 0xDD, 0xC4
FIRST_RESTART, NUM_RESTARTS = 0xD0, 8
WITHOUT_LENGTH = (0x01, *range(FIRST_RESTART, FIRST_RESTART + NUM_RESTARTS))
FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2  # Those with Huffman codes.
# Offsets from the 0xff of a segment's marker.
BIT_DEPTH, HEIGHT, WIDTH, NUM_COMPONENTS, FIRST_SAMPLING, COMPONENT_BYTES = 4, 5, 7, 9, 11, 3
INTERVAL, NUM_IN_SCAN = 4, 4
BLOCK_PX = 8
# Bytes before the end marker that repeat with a period of up to so many are padding, so many or
# more of them. The first ones may be data by chance.
MAX_PADDING_PERIOD, MIN_PADDING_BYTES, KEPT_PADDING_BYTES = 8, 32, 7

_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_FILL = re.compile(rb"\xff+")


class DamageError(ValueError):
  """A fault of a JPEG, in words that follow the name of the file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
  """The segments up to the first scan.

  A unit (MCU) is what is decoded in one go: of several components, their blocks of one place.

  Attributes:
    frame: offset of the frame's segment; 0 if there is none.
    kind: of the frame, the second byte of its marker.
    bit_depth: bits of a value.
    height, width: in pixels.
    sampling: for each component, how many of its blocks a unit has across and down.
    unit: blocks of the component with most of them in a unit, down and across.
    restarts: offset of the segment that states the restart interval; 0 if there is none.
    interval: units between restart markers; 0 if there are none.
    num_in_scan: components in the first scan.
    tables: begin and end of segments with Huffman tables.
    data: offset of the first scan's data.
  """

  frame: int
  kind: int
  bit_depth: int
  height: int
  width: int
  sampling: tuple[tuple[int, int], ...]
  unit: tuple[int, int]
  restarts: int
  interval: int
  num_in_scan: int
  tables: tuple[tuple[int, int], ...]
  data: int

  @property
  def is_one_scan(self) -> bool:
    """Whether all data are in the first scan."""
    return self.kind in SEQUENTIAL and self.num_in_scan == len(self.sampling)

  @property
  def num_blocks(self) -> int:
    """Blocks of a unit, of all components."""
    return 1 if len(self.sampling) == 1 else sum(across * down for across, down in self.sampling)

  @property
  def num_units(self) -> tuple[int, int]:
    """Units of the image: down, across."""
    down, across = self.unit
    return -(-self.height // (BLOCK_PX * down)), -(-self.width // (BLOCK_PX * across))


@dataclasses.dataclass(frozen=True, slots=True)
class DataEnd:
  """The place where data of a scan end.

  Attributes:
    begin: offset of the marker, from the first 0xff if there are several.
    end: offset behind it.
    marker: its second byte.
  """

  begin: int
  end: int
  marker: int

  @property
  def is_restart(self) -> bool:
    """Whether the scan goes on behind it."""
    return FIRST_RESTART <= self.marker < FIRST_RESTART + NUM_RESTARTS


def read_header(content: bytes) -> Header:
  """The segments up to the data of the first scan.

  Raises:
    DamageError: there is no scan, or something lies between the segments.
  """
  try:
    return _read_header(content)
  except IndexError as error:
    raise DamageError(CUT_SHORT) from error


def read_scans(content: bytes, header: Header) -> tuple[list[DataEnd], list[tuple[int, int]]]:
  """The places where data end, and all segments with Huffman tables.

  Returns:
    The ends of data, from those of the first scan on, with the end of the image as the last one;
    and begin and end of each segment.

  Raises:
    DamageError: the image has no end.
  """
  try:
    return _read_scans(content, header)
  except IndexError as error:
    raise DamageError(CUT_SHORT) from error


def without_padding(content: bytes) -> bytes:
  """The same JPEG without bytes that repeat before the end marker; itself where none do.

  Raises:
    DamageError: as `read_header` and `read_scans`.
  """
  header = read_header(content)
  ends, _ = read_scans(content, header)
  end = ends[-1].begin
  data = np.frombuffer(content, np.uint8)[header.data : end]
  longest = 0
  for period in range(1, min(MAX_PADDING_PERIOD, data.size - 1) + 1):
    differs = (data[period:] != data[:-period])[::-1]
    repeated = int(differs.argmax()) if differs.any() else differs.size
    longest = max(longest, period + repeated)
  if longest < MIN_PADDING_BYTES:
    return content
  return content[: end - longest + KEPT_PADDING_BYTES] + content[end:]


def number(content: bytes, offset: int) -> int:
  """The number of two bytes at an offset; an IndexError where there are none."""
  return content[offset] << 8 | content[offset + 1]


def _read_header(content: bytes) -> Header:
  at, frame, restarts, tables = 2, 0, 0, []
  while True:
    if content[at] != 0xFF:
      raise DamageError(BYTES_BETWEEN)
    at = _FILL.match(content, at).end() - 1  # Markers may be filled up.
    marker = content[at + 1]
    if marker == END_OF_IMAGE:
      raise DamageError(CUT_SHORT)
    if marker in WITHOUT_LENGTH:
      at += 2
      continue
    size = number(content, at + 2)
    if marker == 0 or size < 2:
      raise DamageError(BYTES_BETWEEN)
    if marker in FRAMES and not frame:
      frame = at
    elif marker == RESTART_INTERVAL:
      restarts = at
    elif marker == TABLES:
      tables.append((at, at + 2 + size))
    elif marker == START_OF_SCAN:
      break
    at += 2 + size
  num_components = content[frame + NUM_COMPONENTS] if frame else 0
  places = range(num_components)
  pairs = [content[frame + FIRST_SAMPLING + COMPONENT_BYTES * place] for place in places]
  sampling = tuple(divmod(pair, 16) for pair in pairs)
  down_of_all, across_of_all = [down for _, down in sampling], [across for across, _ in sampling]
  return Header(
    frame,
    content[frame + 1],
    content[frame + BIT_DEPTH],
    number(content, frame + HEIGHT),
    number(content, frame + WIDTH),
    sampling,
    (max(down_of_all), max(across_of_all)) if num_components > 1 else (1, 1),
    restarts,
    number(content, restarts + INTERVAL) if restarts else 0,
    content[at + NUM_IN_SCAN],
    tuple(tables),
    at + 2 + size,
  )


def _read_scans(content: bytes, header: Header) -> tuple[list[DataEnd], list[tuple[int, int]]]:
  ends, tables = [], [*header.tables]
  at, is_data = header.data, True
  while match := _MARKER.search(content, at):
    begin, end = match.span()
    while begin > at and content[begin - 1] == 0xFF:
      begin -= 1
    marker = content[end - 1]
    if is_data or marker == END_OF_IMAGE:
      ends.append(DataEnd(begin, end, marker))
    if marker == END_OF_IMAGE:
      return ends, tables
    at = end
    if marker not in WITHOUT_LENGTH:
      at += number(content, end)
      is_data = marker == START_OF_SCAN
    if marker == TABLES:
      tables.append((end - 2, at))
  raise DamageError(CUT_SHORT)
