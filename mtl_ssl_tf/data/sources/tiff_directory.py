"""The tags of a TIFF file or of EXIF data, counted before anything reads them.

A tag names its values by their place, and many tags can name the same place: a file of a hundred
kilobytes can hold more than a gigabyte of values (TIFF 6.0, section 2). BigTIFF is read too.
"""

import struct
from typing import NamedTuple

MAX_TAGS = 4096
# Directories that are counted, each a picture.
_MAX_DIRECTORIES = 1000
_BIG = 43
# Bytes of a value by the number of its type; Pillow passes over tags of other types.
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_VALUE_BYTES |= {16: 8}
_TILE_WIDTH, _TILE_LENGTH = 322, 323


class Directory(NamedTuple):
  """The first directory of a file.

  Attributes:
    num_tags: as it states them, or fewer where the file ends before.
    num_bytes: of the values of the tags, each counted as often as a tag names it.
    tile_pixels: of a tile, 0 without.
    num_directories: of the file, at most 1000.
  """

  num_tags: int
  num_bytes: int
  tile_pixels: int
  num_directories: int

  def is_bounded(self, length: int) -> bool:
    """Whether the tags of a file of this length have no more values than it has bytes."""
    return self.num_tags <= MAX_TAGS and self.num_bytes <= length


def read(data: bytes) -> Directory | None:
  """The first directory of a TIFF file, or of EXIF data without prefix; None if there is none."""
  if data[:2] not in (b"II", b"MM") or len(data) < 16:
    return None
  # As Pillow tells them apart.
  layout = _Layout("<" if data[:2] == b"II" else ">", is_big=data[2] == _BIG)
  start = layout.first(data)
  tags = layout.tags(data, start)
  num_bytes = 0
  sides = {_TILE_WIDTH: 0, _TILE_LENGTH: 0}
  for tag, kind, count, place in tags[:MAX_TAGS]:
    size = count * _VALUE_BYTES.get(kind, 0)
    if size > layout.place_bytes:
      if place + size > len(data):
        break  # Nothing is read from here on.
      num_bytes += size
    elif tag in sides:
      short = kind == 3 and layout.order == ">"  # It stands in the upper half of its field.
      sides[tag] = place >> 8 * (layout.place_bytes - 2) if short else place
  return Directory(
    layout.num_whole(data, start),
    num_bytes,
    sides[_TILE_WIDTH] * sides[_TILE_LENGTH],
    _count_directories(data, layout, start),
  )


class _Layout:
  """The form of a directory.

  Attributes:
    order: of the bytes, as `struct` writes it.
    place_bytes: of a place in the file.
  """

  def __init__(self, order: str, is_big: bool):
    self.order = order
    self.place_bytes = 8 if is_big else 4
    self._count = struct.Struct(f"{order}{'Q' if is_big else 'H'}")
    self._tag = struct.Struct(f"{order}{'HHQQ' if is_big else 'HHLL'}")
    self._place = struct.Struct(f"{order}{'Q' if is_big else 'L'}")

  def first(self, data: bytes) -> int:
    """The place of the first directory."""
    return self._place.unpack_from(data, self.place_bytes)[0]

  def count(self, data: bytes, start: int) -> int:
    """The number of tags that a directory states; 0 where it is not in the file."""
    if start + self._count.size > len(data):
      return 0
    return self._count.unpack_from(data, start)[0]

  def num_whole(self, data: bytes, start: int) -> int:
    """The number of tags of a directory that are in the file."""
    begin = start + self._count.size
    return min(self.count(data, start), max(len(data) - begin, 0) // self._tag.size)

  def tags(self, data: bytes, start: int) -> list[tuple[int, int, int, int]]:
    """Number, type, count of values and place of each tag that is in the file."""
    begin = start + self._count.size
    number = min(self.num_whole(data, start), MAX_TAGS)
    return list(self._tag.iter_unpack(data[begin : begin + number * self._tag.size]))

  def following(self, data: bytes, start: int) -> int:
    """The place of the directory after one; 0 for none."""
    place = start + self._count.size + self.count(data, start) * self._tag.size
    if place + self._place.size > len(data):
      return 0
    return self._place.unpack_from(data, place)[0]


def _count_directories(data: bytes, layout: _Layout, start: int) -> int:
  seen = set()
  while start and start not in seen and start < len(data) and len(seen) < _MAX_DIRECTORIES:
    seen.add(start)
    start = layout.following(data, start)
  return len(seen)
