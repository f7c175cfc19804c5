"""Tests of exif_orientation.py, compared with a reader of EXIF that goes step by step."""

import struct

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from mtl_ssl_tf.serving import exif_orientation

_read = tf.function(
  exif_orientation.read, input_signature=[tf.TensorSpec([None], tf.uint8)], autograph=False
)


def tiff(orientation: int, order: str = "<", kind: int = 3, before: bytes = b"") -> bytes:
  """EXIF data with two entries, the second the orientation as a short (3) or a long (4)."""
  value = struct.pack(f"{order}{'H2x' if kind == 3 else 'I'}", orientation)
  other = struct.pack(f"{order}HHI4x", 0x010F, 2, 1)
  entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + value
  header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(before))
  return header + before + struct.pack(f"{order}H", 2) + other + entry + bytes(4)


def oracle(content: bytes) -> int:
  order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
  if order is None or len(content) < 8:
    return 1
  (start,) = struct.unpack(f"{order}I", content[4:8])
  if start + 2 > len(content):
    return 1
  (count,) = struct.unpack(f"{order}H", content[start : start + 2])
  found = 1
  for i in range(count):
    entry = content[start + 2 + 12 * i : start + 14 + 12 * i]
    if len(entry) < 12:
      break
    tag, kind, number = struct.unpack(f"{order}HHI", entry[:8])
    if tag == 0x0112 and kind in (3, 4) and number == 1:
      (found,) = struct.unpack(f"{order}{'H' if kind == 3 else 'I'}", entry[8 : 8 + 2 * (kind - 2)])
  return found if 1 <= found <= 8 else 1


def read(content: bytes) -> int:
  return int(_read(np.frombuffer(content, np.uint8)))


class TestRead:
  @pytest.mark.parametrize("order", ["<", ">"])
  @pytest.mark.parametrize("kind", [3, 4])
  def test_every_orientation(self, order, kind):
    for orientation in range(1, 9):
      content = tiff(orientation, order, kind)
      assert read(content) == oracle(content) == orientation

  @pytest.mark.parametrize("order", ["<", ">"])
  def test_directory_elsewhere(self, order):
    assert read(tiff(6, order, before=b"in between")) == 6

  @pytest.mark.parametrize("orientation", [0, 9, 256, 65535])
  def test_no_such_orientation(self, orientation):
    assert read(tiff(orientation)) == 1

  def test_another_type_and_another_tag(self):
    assert read(tiff(6).replace(b"\x12\x01\x03\0", b"\x12\x01\x02\0")) == 1
    assert read(tiff(6).replace(b"\x12\x01\x03\0", b"\x13\x01\x03\0")) == 1

  @pytest.mark.parametrize("order", ["<", ">"])
  @pytest.mark.parametrize("number", [0, 2, 0x20001])
  def test_another_number_of_values(self, order, number):
    # What stands in the place of the value may be an offset; viewers and converters take none.
    one, other = (struct.pack(f"{order}HHI", 0x0112, 3, n) for n in (1, number))
    content = tiff(6, order).replace(one, other)
    assert read(content) == oracle(content) == 1

  @pytest.mark.parametrize("order", ["<", ">"])
  def test_behind_as_many_entries_as_there_are(self, order):
    content = bytearray(tiff(6, order))
    content[8:10] = struct.pack(f"{order}H", 1)
    assert read(bytes(content)) == oracle(bytes(content)) == 1

  def test_cut_short_anywhere(self):
    content = tiff(6)
    lengths = [read(content[:length]) for length in range(len(content) + 1)]
    assert lengths == [1] * 34 + [6] * (len(content) - 33)  # 34 bytes up to the second entry's end.

  @hypothesis.settings(max_examples=300, deadline=None, derandomize=True, database=None)
  @hypothesis.given(
    strategies.sampled_from("<>"),
    strategies.integers(0, 9),
    strategies.lists(strategies.tuples(strategies.integers(0, 37), strategies.integers(0, 255))),
  )
  def test_broken_anyhow(self, order, orientation, changes):
    content = bytearray(tiff(orientation, order))
    for place, value in changes:
      content[place] = value
    # A long number beyond 65535 is no orientation, whatever its lower half says.
    assert read(bytes(content)) == oracle(bytes(content))


class TestTurnUpright:
  def test_letters(self):
    # The letter F as each orientation stores it (EXIF 2.32, figure 6).
    upright = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    stored = {
      1: upright,
      2: upright[:, ::-1],
      3: upright[::-1, ::-1],
      4: upright[::-1],
      5: upright.T,
      6: np.rot90(upright),  # Shown after a turn to the right.
      7: upright[::-1, ::-1].T,
      8: np.rot90(upright, -1),
    }
    for orientation, raster in stored.items():
      image = tf.constant(raster[..., np.newaxis].repeat(3, axis=-1), tf.uint8)
      turned = exif_orientation.turn_upright(image, tf.constant(orientation, tf.int64))
      np.testing.assert_array_equal(turned[..., 0], upright, err_msg=str(orientation))
