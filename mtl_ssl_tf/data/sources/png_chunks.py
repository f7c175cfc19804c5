"""The chunks of a PNG, and how many pictures they announce.

A PNG of several pictures announces them in a chunk `acTL` before its pixels (PNG, third edition,
11.3.6.1). Decoders that know nothing of animations show the pixels, which need not be the first
picture.
"""

import struct
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANIMATION, PIXELS = b"acTL", b"IDAT"
ANIMATION_BYTES = 8  # The number of pictures and how often they are shown, four bytes each.


def chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
  """Name, size and offset of the content of each chunk before the end of the image."""
  at = len(SIGNATURE)
  while at + 8 <= len(content) and not content.startswith(b"IEND", at + 4):
    size, name = struct.unpack_from(">I4s", content, at)
    yield name, size, at + 8
    at += 12 + size


def num_pictures(content: bytes) -> int:
  """The number of pictures that a PNG, whole or not, announces; 1 where it announces none."""
  # Few announce any, and a large file has thousands of chunks.
  if ANIMATION not in content:
    return 1
  for name, size, start in chunks(content):
    if name == PIXELS:
      break
    if name == ANIMATION:
      whole = size >= ANIMATION_BYTES and len(content) >= start + 4
      return max(struct.unpack_from(">I", content, start)[0], 1) if whole else 1
  return 1
