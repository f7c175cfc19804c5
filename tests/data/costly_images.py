"""Small image files that take a decoder long, or would where their limits are a little higher."""

import re
import struct
import zlib
from collections.abc import Sequence

from tests.data import voc_files

_PICTURE = voc_files.picture(16, 16)
_PROGRESSIVE = b"\xff\xc2"
# The scan with the last bits of the first coefficients: to read it again changes nothing.
_LAST_BITS = re.compile(rb"\xff\xda\x00\x0c\x03.{6}\x00\x00\x10.*?(?=\xff[^\x00])", re.DOTALL)


def jpeg(num_scans: int, height: int = 16, width: int = 16, between: bytes = b"") -> bytes:
  """A whole progressive JPEG, of which one scan is there so often that it has `num_scans` in all.

  Args:
    num_scans: more than a dozen.
    height, width: that its header states.
    between: segments in front of the scans that are added.
  """
  content = bytearray(voc_files.image_bytes(_PICTURE, "JPEG", progressive=True))
  at = content.index(_PROGRESSIVE) + 5
  content[at : at + 4] = struct.pack(">HH", height, width)
  scan = _LAST_BITS.search(content)[0]
  number = num_scans - content.count(b"\xff\xda")
  assert number >= 0
  return bytes(content[:-2]) + between + number * scan + b"\xff\xd9"


def jpeg_segment(payload: bytes, marker: int = 0xFE) -> bytes:
  """A segment, by default a comment."""
  return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def png(num_texts: int) -> bytes:
  """A PNG with compressed texts."""
  content = voc_files.image_bytes(_PICTURE, "PNG")
  text = _chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a"))
  return content[:33] + num_texts * text + content[33:]


def gif(extensions: Sequence[Sequence[bytes]]) -> bytes:
  """A GIF with comments, each of some blocks."""
  content = voc_files.image_bytes(_PICTURE.quantize(4), "GIF")
  start = 13 + 3 * 4
  comments = b"".join(
    b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    for blocks in extensions
  )
  return content[:start] + comments + content[start:]


def tags(num_tags: int, num_bytes: int, length: int) -> bytes:
  """EXIF data of a length, whose tags all name the same bytes."""
  entries = [struct.pack("<HHII", 0x9000 + i, 1, num_bytes, 8) for i in range(num_tags)]
  content = b"II*\0" + struct.pack("<IH", 8, num_tags) + b"".join(entries) + b"\0\0\0\0"
  return content.ljust(length, b"\0")


def tiff(num_tags: int = 0, num_bytes: int = 8, tile: int = 0, num_pictures: int = 1) -> bytes:
  """A TIFF with more tags, and with the same picture so often.

  Args:
    num_tags: that are added.
    num_bytes: of the values of each, all in one place.
    tile: width and length that tags state; 0 states none.
    num_pictures: directories.
  """
  content = voc_files.image_bytes(_PICTURE, "TIFF")
  (first,) = struct.unpack_from("<I", content, 4)
  (count,) = struct.unpack_from("<H", content, first)
  entries = content[first + 2 : first + 2 + 12 * count]
  if tile:
    entries += struct.pack("<HHIIHHII", 322, 4, 1, tile, 323, 4, 1, tile)
  entries += b"".join(struct.pack("<HHII", 0x9000 + i, 1, num_bytes, 8) for i in range(num_tags))
  directory = struct.pack("<H", len(entries) // 12) + entries
  places = [len(content) + i * (len(directory) + 4) for i in range(num_pictures)]
  content = content[:4] + struct.pack("<I", places[0]) + content[8:]
  for following in [*places[1:], 0]:
    content += directory + struct.pack("<I", following)
  return content


def _chunk(name: bytes, content: bytes) -> bytes:
  checksum = struct.pack(">I", zlib.crc32(name + content))
  return struct.pack(">I", len(content)) + name + content + checksum


# Kind -> a file, and why it is refused; the kinds that the server accepts.
REFUSED = {
  "scans": (jpeg(101), "a JPEG of more than 100 scans; accepted: at most 100"),
  "scans behind a hidden end": (
    jpeg(101, between=jpeg_segment(b"\xff\xd9")),
    "a JPEG of more than 100 scans; accepted: at most 100",
  ),
  # Were the next bytes their length, they would reach over all scans.
  **{
    f"scans behind a marker {marker:x}": (
      jpeg(101, between=bytes([0xFF, marker, 0xFF, 0x00])),
      "a JPEG of more than 100 scans; accepted: at most 100",
    )
    for marker in (0x01, 0xD0, 0xD7)
  },
  "scans of many pixels": (
    jpeg(11, 10_000, 10_000),
    "a JPEG of 11 scans of 100000000 pixels each; accepted: at most 1000000000 pixels in all scans",
  ),
  # A second frame header does not say how many pixels the scans of the first one have.
  "scans of many pixels behind another frame": (
    jpeg(11, 10_000, 10_000, jpeg_segment(struct.pack(">BHHB3x", 8, 16, 16, 1), 0xC2)),
    "a JPEG of 11 scans of 100000000 pixels each; accepted: at most 1000000000 pixels in all scans",
  ),
  "texts": (png(17), "a PNG of 17 compressed texts; accepted: at most 16"),
  "blocks": (
    gif([[b"a", b"aa"] * 1001]),
    "a GIF whose blocks change their size more than 2000 times; accepted: blocks of one size",
  ),
  "extensions": (
    gif([[b"a"]] * 1001),
    "a GIF whose blocks change their size more than 2000 times; accepted: blocks of one size",
  ),
}
ACCEPTED = {
  "scans": jpeg(100),
  "scans in a comment": jpeg(12, between=jpeg_segment(b"\xff\xda" * 200)),
  "scans behind the end": jpeg(12) + b"\xff\xda" * 200,
  "texts": png(16),
  "blocks": gif([[b"a" * 255] * 3000]),
  "extensions": gif([[b"a"]] * 900),
}
