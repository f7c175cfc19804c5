"""Image files that cost far more to decode than their size suggests, found before they are decoded.

A size in pixels bounds the memory of a decoder, but not its time: a JPEG of 100 kB can have a
thousand scans, each of which goes over all pixels; a PNG can have texts that take megabytes when
they are decompressed. `serving/image_headers.py` has the same bounds in graph operations.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from mtl_ssl_tf.data.sources import tiff_directory

MAX_PIXELS = 100_000_000
# Encoders write up to a dozen scans. One costs as much as its pixels.
MAX_JPEG_SCANS = 100
MAX_JPEG_SCAN_PIXELS = 10 * MAX_PIXELS
MAX_JPEG_SEGMENTS = 2000
# Each may take 8 MB decompressed before a decoder gives up.
MAX_PNG_TEXTS = 16
PNG_TEXTS = (b"zTXt", b"iTXt")
_MAX_PNG_CHUNKS = 100_000
# Blocks of one size in a row count as one, up to so many.
GIF_ROW_BLOCKS = 1024
MAX_GIF_ROWS = 2000
GIF_PROBLEM = f"a GIF whose blocks change their size more than {MAX_GIF_ROWS} times"
GIF_ACCEPTED = "blocks of one size"
# Pillow puts a comment together from its blocks in a time that grows with the square of their
# number.
_MAX_GIF_COMMENT_BYTES = 2**20

_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
_FRAME_HEADERS = {*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
_EXIF = b"Exif\0\0"
# What is no marker: a fill byte, a stuffed zero, a restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_TEMPORARY = 0x01  # A marker without a length.
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GIF_SCREEN_BYTES, _GIF_EXTENSION = 13, 0x21
_TIFF = (b"MM\0*", b"II*\0", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")


class Problem(NamedTuple):
  """Why an image is not decoded.

  Attributes:
    value: what it has.
    accepted: what it may have.
  """

  value: str
  accepted: str


def problem(content: bytes) -> Problem | None:
  """Why the bytes of an image file are not to be decoded; None where they may be.

  Files that are malformed are left to the decoder.
  """
  if content.startswith(b"\xff\xd8\xff"):
    return _of_jpeg(content)
  if content.startswith(_PNG_SIGNATURE):
    return _of_png(content)
  if content.startswith((b"GIF87a", b"GIF89a")):
    return _of_gif(content)
  if content.startswith(_TIFF):
    return _of_tiff(content)
  return None


def exif_problem(exif: bytes) -> Problem | None:
  """Why EXIF data, with or without their prefix, are not to be read; None where they may be."""
  while exif.startswith(_EXIF):  # As Pillow does.
    exif = exif[len(_EXIF) :]
  directory = tiff_directory.read(exif)
  return None if directory is None else _of_tags(directory, len(exif), "EXIF data")


def num_tiff_pictures(content: bytes) -> int:
  """The number of pictures in a TIFF file, up to 1000."""
  directory = tiff_directory.read(content)
  return 0 if directory is None else directory.num_directories


def _of_jpeg(content: bytes) -> Problem | None:
  """Goes from marker to marker (ITU-T T.81, annex B), in scans as well."""
  pixels, num_scans, exif = 0, 0, b""
  for number, (marker, start, end) in enumerate(_jpeg_segments(content)):
    if number == MAX_JPEG_SEGMENTS:
      return Problem(f"more than {number} segments", f"at most {MAX_JPEG_SEGMENTS}")
    if marker in _FRAME_HEADERS and not pixels:
      height, width = (int.from_bytes(content[start + i : start + i + 2]) for i in (1, 3))
      pixels = height * width
    elif marker == _APP1 and not num_scans and content.startswith(_EXIF, start):
      exif += content[start + len(_EXIF) : end]  # Pillow puts them together.
    elif marker == _START_OF_SCAN:
      num_scans += 1
      if num_scans > MAX_JPEG_SCANS:
        return Problem(f"a JPEG of more than {MAX_JPEG_SCANS} scans", f"at most {MAX_JPEG_SCANS}")
  if num_scans > 1 and num_scans * pixels > MAX_JPEG_SCAN_PIXELS:
    return Problem(
      f"a JPEG of {num_scans} scans of {pixels} pixels each",
      f"at most {MAX_JPEG_SCAN_PIXELS} pixels in all scans",
    )
  return exif_problem(exif)


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
  """Marker, and start and end of the payload, of each segment up to the end of the image."""
  at = 2
  while match := _MARKER.search(content, at):
    marker, at = content[match.start() + 1], match.end()
    if marker == _END_OF_IMAGE:
      return
    if marker != _TEMPORARY:
      start, at = at + 2, at + int.from_bytes(content[at : at + 2])
      yield marker, start, at


def _of_png(content: bytes) -> Problem | None:
  num_texts = sum(map(content.count, PNG_TEXTS))
  if num_texts > MAX_PNG_TEXTS:
    return Problem(f"a PNG of {num_texts} compressed texts", f"at most {MAX_PNG_TEXTS}")
  at = len(_PNG_SIGNATURE)
  for _ in range(_MAX_PNG_CHUNKS):
    if at >= len(content) or content.startswith(b"IEND", at + 4):
      return None
    at += 12 + int.from_bytes(content[at : at + 4])
  return Problem(f"a PNG of more than {_MAX_PNG_CHUNKS} chunks", f"at most {_MAX_PNG_CHUNKS}")


def _of_gif(content: bytes) -> Problem | None:
  """Goes from block to block up to the end of the first picture (GIF89a, appendix B)."""
  at = _GIF_SCREEN_BYTES + _gif_colours(content, 10)
  num_rows, is_extension = 0, True
  while is_extension:
    is_extension = content[at : at + 1] == bytes([_GIF_EXTENSION])
    begin = at
    at += 2 if is_extension else 11 + _gif_colours(content, at + 9)
    previous, run = -1, 0
    while size := (content[at] if at < len(content) else 0):
      run = run + 1 if size == previous and run < GIF_ROW_BLOCKS else 1
      num_rows += run == 1
      at, previous = at + 1 + size, size
      if num_rows > MAX_GIF_ROWS:
        return Problem(GIF_PROBLEM, GIF_ACCEPTED)
    at += 1
    if is_extension and at - begin > _MAX_GIF_COMMENT_BYTES:
      return Problem(
        f"a GIF with an extension of {at - begin} bytes", f"at most {_MAX_GIF_COMMENT_BYTES}"
      )
    num_rows += 1
  return None


def _gif_colours(content: bytes, at: int) -> int:
  """Bytes of the table of colours that a byte of flags announces."""
  flags = content[at] if at < len(content) else 0
  return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _of_tiff(content: bytes) -> Problem | None:
  directory = tiff_directory.read(content)
  if directory is None:
    return None
  if directory.tile_pixels > MAX_PIXELS:
    return Problem(f"a TIFF with tiles of {directory.tile_pixels} pixels", f"at most {MAX_PIXELS}")
  return _of_tags(directory, len(content), "a TIFF")


def _of_tags(directory: tiff_directory.Directory, length: int, what: str) -> Problem | None:
  if directory.is_bounded(length):
    return None
  return Problem(
    f"{what} of {length} bytes with {directory.num_tags} tags, which have"
    f" {directory.num_bytes} bytes of values",
    f"at most {tiff_directory.MAX_TAGS} tags, and no more values than bytes",
  )
