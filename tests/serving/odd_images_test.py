"""Tests of the headers that image_decoding.py reads, on images of kinds that few programs write."""

import struct

import numpy as np
import pytest

from tests.data import voc_files
from tests.serving import image_decoding_test as usual

_ORDINARY = (0xFF0000, 0xFF00, 0xFF)


@pytest.mark.parametrize(
  ("depth", "masks"),
  [
    pytest.param(32, _ORDINARY, id="as usual"),
    pytest.param(32, _ORDINARY[::-1], id="red and blue exchanged"),
    pytest.param(32, (0x7C00, 0x3E0, 0x1F), id="of five bits"),
    pytest.param(24, _ORDINARY, id="of another depth"),
  ],
)
def test_bmp_whose_colours_lie_elsewhere(depth, masks):
  header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, depth, 3, 8, 0, 0, 0, 0)
  header += struct.pack("<III", *masks)
  offset = 14 + len(header)
  pixels = bytes([10, 20, 30, 0, 40, 50, 60, 0])
  content = b"BM" + struct.pack("<IHHI", offset + 8, 0, 0, offset) + header + pixels
  if (depth, masks) == (32, _ORDINARY):
    assert usual.decode(content).tolist() == [[[30, 20, 10], [60, 50, 40]]]
  else:
    assert usual.refusal(content) == (
      f"a BMP of {depth} bits a pixel, compression 3; accepted: a BMP of 8, 24 or 32 bits without"
      " compression"
    )


@pytest.mark.parametrize(
  ("mask", "second"), [(0xFF000000, [255, 255, 255]), (0x7F000000, [60, 50, 40])]
)
def test_bmp_whose_opacity_lies_elsewhere_is_opaque(mask, second):
  header = struct.pack("<IiiHHIIiiII", 56, 2, 1, 1, 32, 3, 8, 0, 0, 0, 0)
  header += struct.pack("<IIII", *_ORDINARY, mask)
  offset = 14 + len(header)
  pixels = bytes([10, 20, 30, 255, 40, 50, 60, 0])
  content = b"BM" + struct.pack("<IHHI", offset + 8, 0, 0, offset) + header + pixels
  assert usual.decode(content).tolist() == [[[30, 20, 10], second]]


def test_exif_of_a_webp_behind_many_chunks():
  content = usual.encode(usual.PICTURE, "WEBP", lossless=True, exif=voc_files.exif(6))
  at = content.index(b"EXIF")
  content = content[:at] + b"abcd\1\0\0\0x\0" * 100 + content[at:]
  content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
  np.testing.assert_array_equal(usual.decode(content), usual.stored(content))
  assert usual.decode(content).shape == (30, 20, 3)


@pytest.mark.parametrize("length", [21, 25, 29])
@pytest.mark.parametrize("kind", [b"VP8X", b"VP8L", b"VP8 "])
def test_webp_that_ends_before_its_size(kind, length):
  content = b"RIFF" + struct.pack("<I", length - 8) + b"WEBP" + kind + struct.pack("<I", 10)
  message = f"a WebP that is cut short; {usual.ACCEPTED}"
  assert usual.refusal(content.ljust(length, b"\1")) == message


def test_exif_of_a_png_behind_many_chunks():
  content = usual.encode(usual.PICTURE, "PNG")
  # Of sizes that differ, so that none is passed over together with another.
  chunks = [usual.chunk(b"abCd", bytes(number % 7)) for number in range(100)]
  exif = usual.chunk(b"eXIf", voc_files.exif(6).tobytes()[6:])
  turned = content[:33] + b"".join([*chunks, exif]) + content[33:]
  assert usual.decode(turned).shape == usual.stored(turned).shape == (30, 20, 3)
