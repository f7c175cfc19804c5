"""JPEG files for tests, and the same ones damaged in the ways that decoders pass over."""

import re
from typing import Any

import numpy as np
from PIL import Image

from tests.data import voc_files


def photo(height: int = 96, width: int = 128, mode: str = "RGB", **options: Any) -> bytes:
  """A JPEG of a smooth picture with noise, about 30 bytes for each block of 8 x 8 pixels."""
  noise = np.random.default_rng(0).normal(0.0, 15.0, [height, width, 3])
  pixels = np.clip(np.asarray(voc_files.picture(height, width)) + noise, 0, 255)
  image = Image.fromarray(pixels.astype(np.uint8)).convert(mode)
  return voc_files.image_bytes(image, "JPEG", **{"quality": 90, **options})


def data_span(content: bytes) -> tuple[int, int]:
  """Where the data of the first scan begin, and where the last scan's end."""
  scan = content.index(b"\xff\xda")
  return scan + 2 + int.from_bytes(content[scan + 2 : scan + 4], "big"), content.rindex(b"\xff\xd9")


def zeroed(content: bytes, num_bytes: int = 400) -> bytes:
  """Zeros in the middle of the data, as blocks of a disk that were never written."""
  middle = sum(data_span(content)) // 2
  return content[:middle] + bytes(num_bytes) + content[middle + num_bytes :]


def cut_within(content: bytes, num_bytes: int = 300) -> bytes:
  """Bytes cut out of the middle of the data."""
  middle = sum(data_span(content)) // 2
  return content[:middle] + content[middle + num_bytes :]


def cut_and_ended(content: bytes, num_bytes: int = 64) -> bytes:
  """The last bytes of the data cut off, and an end marker behind the others."""
  return content[: data_span(content)[1] - num_bytes] + b"\xff\xd9"


def with_bytes_left(content: bytes, num_bytes: int = 64) -> bytes:
  """Bytes between the data and the end marker."""
  end = data_span(content)[1]
  return content[:end] + bytes(range(1, 1 + num_bytes)) + content[end:]


def padded(content: bytes, padding: bytes) -> bytes:
  """A file filled up before its end marker, which is no damage."""
  end = data_span(content)[1]
  return content[:end] + padding + content[end:]


def with_bytes_between(content: bytes) -> bytes:
  """Bytes between two segments of the header."""
  at = content.index(b"\xff\xdb")
  return content[:at] + b"\0\0" + content[at:]


def restarts(content: bytes) -> list[int]:
  """Where restart markers are."""
  return [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", content)]


def without_a_restart(content: bytes) -> bytes:
  """The second restart marker removed."""
  at = restarts(content)[1]
  return content[:at] + content[at + 2 :]


def with_bytes_before_a_restart(content: bytes, num_bytes: int = 3) -> bytes:
  """Bytes between the data and the second restart marker."""
  at = restarts(content)[1]
  return content[:at] + bytes(range(1, 1 + num_bytes)) + content[at:]


# What of a file with restart markers becomes of them, by name.
KINDS = {
  "zeroed": zeroed,
  "cut within": cut_within,
  "cut and ended": cut_and_ended,
  "bytes before its end marker": with_bytes_left,
  "bytes between its segments": with_bytes_between,
  "without a restart marker": without_a_restart,
  "bytes before a restart marker": with_bytes_before_a_restart,
}
