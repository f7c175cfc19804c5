"""Tests of image files that cost far more to decode than their size suggests."""

import struct

import pytest
from PIL import Image

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import image_cost, image_files, tiff_directory
from tests.data import costly_images, voc_files


def refusal(content: bytes) -> str:
  """Why the converters refuse a file; it is not decoded."""
  with pytest.raises(faults.FaultError) as raised:
    image_files.prepare_image(content, "a")
  return str(raised.value).removeprefix("a: image: ")


@pytest.fixture(name="no_decoder", autouse=True)
def _no_decoder(monkeypatch, request):
  """Lets no test of a refusal decode anything."""
  if "refused" in request.node.name:
    monkeypatch.setattr(Image, "open", None)


@pytest.mark.parametrize("name", costly_images.REFUSED)
def test_refused_before_anything_is_decoded(name):
  content, message = costly_images.REFUSED[name]
  assert refusal(content) == message


@pytest.mark.parametrize("name", costly_images.ACCEPTED)
def test_up_to_the_limits_files_are_stored(name):
  assert image_files.prepare_image(costly_images.ACCEPTED[name], "a").height == 16


_VALUES = "at most 4096 tags, and no more values than bytes"


class TestTags:
  @pytest.mark.parametrize(
    ("content", "message"),
    [
      (
        costly_images.tiff(100, 200),
        "a TIFF of 2234 bytes with 110 tags, which have 20006 bytes of values; accepted: "
        + _VALUES,
      ),
      (
        costly_images.tiff(tile=10_001),
        "a TIFF with tiles of 100020001 pixels; accepted: at most 100000000",
      ),
    ],
  )
  def test_refused_tiff(self, content, message):
    assert refusal(content) == message

  # Pillow reads no BigTIFF whose bytes are in the other order.
  @pytest.mark.parametrize(("order", "is_big"), [("<", False), (">", False), ("<", True)])
  @pytest.mark.parametrize("kind", [3, 4])
  def test_sides_of_tiles_in_every_layout(self, order, is_big, kind):
    number, place = ("Q", 8) if is_big else ("H", 4)
    count = "Q" if is_big else "I"
    entries = b""
    for tag, side in ((322, 10_001), (323, 20_002)):
      value = struct.pack(f"{order}{'H' if kind == 3 else 'I'}", side).ljust(place, b"\0")
      entries += struct.pack(f"{order}HH{count}", tag, kind, 1) + value
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if is_big else 42)
    header += struct.pack(f"{order}HHQ", 8, 0, 16) if is_big else struct.pack(f"{order}I", 8)
    content = header + struct.pack(f"{order}{number}", 2) + entries + bytes(8)
    found = tiff_directory.read(content)
    assert found.tile_pixels == 10_001 * 20_002

  def test_refused_exif_of_a_jpeg(self):
    exif = b"Exif\0\0" + costly_images.tags(20, 200, 300)
    content = voc_files.image_bytes(voc_files.picture(16, 16))
    content = content[:2] + costly_images.jpeg_segment(exif, 0xE1) + content[2:]
    assert refusal(content).startswith("EXIF data of 300 bytes with 20 tags, which have 4000 bytes")

  @pytest.mark.parametrize("number", [0, 1, 2, 3])
  def test_exif_behind_any_number_of_prefixes(self, number):
    prefix = b"Exif\0\0" * number
    assert image_cost.exif_problem(prefix + costly_images.tags(1, 8, 300)) is None
    assert image_cost.exif_problem(prefix + costly_images.tags(20, 200, 300)) is not None

  def test_tags_of_a_sound_tiff_are_read(self):
    content = costly_images.tiff(5, 100)
    assert image_files.prepare_image(content, "a").height == 16
    directory = tiff_directory.read(content)
    assert (directory.num_tags, directory.num_directories) == (15, 1)

  def test_tiff_of_several_pictures(self):
    assert refusal(costly_images.tiff(num_pictures=3)) == (
      "3 pictures in one file; accepted: one still picture"
    )

  # A big-endian BigTIFF is not known by its third byte, and not to Pillow either.
  @pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
  def test_both_byte_orders_and_big_tiff(self, order, big):
    magic = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    tag = struct.Struct(f"{order}{'HHQQ' if big else 'HHLL'}")
    content = magic + (struct.pack("<HHQ", 8, 0, 16) if big else struct.pack(f"{order}L", 8))
    content += struct.pack(f"{order}{'Q' if big else 'H'}", 3)
    short = 7 if order == "<" else 7 << 16
    content += tag.pack(322, 3, 1, short) + tag.pack(323, 4, 1, 5) + tag.pack(1, 3, 20, 0)
    content = content.ljust(200, b"\0")
    assert tiff_directory.read(content) == (3, 40, 35, 1)

  def test_directories_that_lead_in_a_circle_are_counted_once(self):
    content = bytearray(costly_images.tiff(num_pictures=2))
    content[-4:] = content[4:8]
    assert tiff_directory.read(bytes(content)).num_directories == 2

  def test_exif_of_a_png_that_is_too_costly_is_not_read(self):
    content = voc_files.image_bytes(voc_files.picture(16, 16), "PNG", exif=voc_files.exif(6))
    assert image_files.prepare_image(content, "a").orientation == 6
    exif = costly_images.tags(20, 200, 300)
    content = voc_files.image_bytes(voc_files.picture(16, 16), "PNG", exif=exif)
    assert image_files.prepare_image(content, "a").orientation == 1


def test_a_comment_that_pillow_would_put_together_block_by_block():
  # Of full blocks, so that the rows are few.
  content = costly_images.gif([[b"a" * 255] * 4200])
  assert refusal(content).startswith("a GIF with an extension of 1075")


def test_a_png_of_many_chunks():
  content = voc_files.image_bytes(voc_files.picture(16, 16), "PNG")
  content = content[:33] + b"\0\0\0\0abCd\0\0\0\0" * 100_001 + content[33:]
  assert refusal(content) == "a PNG of more than 100000 chunks; accepted: at most 100000"


def test_a_jpeg_of_many_segments():
  content = voc_files.image_bytes(voc_files.picture(16, 16))
  content = content[:2] + costly_images.jpeg_segment(b"") * 2000 + content[2:]
  assert refusal(content) == "more than 2000 segments; accepted: at most 2000"


@pytest.mark.parametrize("length", [0, 1, 2, 3, 8, 20, 100, 300])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_cut_files_are_left_to_the_decoder(image_format, length):
  content = voc_files.image_bytes(voc_files.picture(16, 16), image_format)
  assert image_cost.problem(content[:length]) is None
