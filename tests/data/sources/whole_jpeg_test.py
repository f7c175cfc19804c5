"""Tests of whole_jpeg.py; libjpeg's own warnings are read where OpenCV lets it write them."""

import random

import cv2
import numpy as np
import pytest
from PIL import Image

from mtl_ssl_tf.data.sources import jpeg_segments, whole_jpeg
from tests.data import jpeg_damage, voc_files

_DAMAGED = "a JPEG whose data are damaged"
_GREY = Image.new("RGB", (40, 24), (128, 128, 128))


def _refusal(content: bytes) -> str:
  with pytest.raises(jpeg_segments.DamageError) as caught:
    whole_jpeg.check(content)
  return str(caught.value)


def _grey_at_the_end(**options) -> bytes:
  image = Image.new("RGB", (64, 48), (128, 128, 128))
  image.paste(voc_files.picture(20, 64))
  return voc_files.image_bytes(image, "JPEG", **options)


class TestWhole:
  @pytest.mark.parametrize(
    "options",
    [
      {},
      {"quality": 100},
      {"subsampling": 0},
      {"subsampling": 1, "quality": 30},
      {"optimize": True},
      {"progressive": True},
      {"restart_marker_blocks": 1},
      {"restart_marker_blocks": 5, "optimize": True},
      {"restart_marker_rows": 1},
      {"restart_marker_blocks": 5, "progressive": True},
      {"mode": "L"},
      {"mode": "L", "progressive": True},
      {"mode": "CMYK"},
      {"mode": "CMYK", "progressive": True},
    ],
    ids=str,
  )
  @pytest.mark.parametrize("size", [(48, 64), (45, 61), (7, 100), (1, 1), (33, 5)])
  def test_accepted_without_a_word(self, options, size, capfd):
    content = jpeg_damage.photo(*size, **options)
    whole_jpeg.check(content)
    assert whole_jpeg.completed(content)[0] is content
    assert whole_jpeg.completed(content)[1] == ""
    assert capfd.readouterr() == ("", "")

  @pytest.mark.parametrize(
    "content",
    [
      voc_files.image_bytes(_GREY),
      voc_files.image_bytes(_GREY, optimize=True),
      voc_files.image_bytes(_GREY, progressive=True),
      voc_files.image_bytes(_GREY.convert("L"), optimize=True, restart_marker_blocks=1),
      voc_files.image_bytes(_GREY.convert("CMYK"), optimize=True),
      _grey_at_the_end(),
      _grey_at_the_end(optimize=True, restart_marker_blocks=3),
      voc_files.image_bytes(Image.new("RGB", (40, 24), "white"), optimize=True),
    ],
  )
  def test_grey_of_itself(self, content):
    whole_jpeg.check(content)

  def test_markers_may_be_filled_up(self):
    content = jpeg_damage.photo(restart_marker_rows=1)
    for at in reversed(range(2, len(content))):
      if content[at] == 0xFF and content[at + 1] in (0xDA, 0xD1, 0xD9):
        content = content[:at] + b"\xff\xff" + content[at:]
    whole_jpeg.check(content)

  def test_bytes_behind_the_end_do_not_matter(self):
    whole_jpeg.check(jpeg_damage.photo() + b"junk" * 100)
    whole_jpeg.check(jpeg_damage.photo() + jpeg_damage.photo(20, 30))

  def test_a_restart_marker_behind_the_last_interval(self):
    content = jpeg_damage.photo(restart_marker_rows=1)  # 3 rows: RST0, RST1
    whole_jpeg.check(content[:-2] + b"\xff\xd2\xff\xd9")

  def test_some_bytes_that_fill_up_the_data(self):
    whole_jpeg.check(jpeg_damage.with_bytes_left(jpeg_damage.photo(), 7))

  def test_sides_as_long_as_they_may_be(self):
    whole_jpeg.check(voc_files.image_bytes(Image.new("L", (65_500, 1), 90)))
    whole_jpeg.check(voc_files.image_bytes(Image.new("L", (8, 65_500), 90)))

  def test_arithmetic_coding_is_left_to_tensorflow(self, monkeypatch):
    content = bytearray(jpeg_damage.photo())
    content[content.index(b"\xff\xc0") + 1] = 0xC9
    asked = []
    monkeypatch.setattr(whole_jpeg, "_decode_by_tensorflow", asked.append)
    whole_jpeg.check(bytes(content))
    assert asked == [bytes(content)]


class TestDamaged:
  @pytest.mark.parametrize("options", [{}, {"optimize": True}, {"mode": "L"}, {"mode": "CMYK"}])
  @pytest.mark.parametrize("kind", jpeg_damage.KINDS)
  def test_refused(self, kind, options):
    content = jpeg_damage.KINDS[kind](jpeg_damage.photo(restart_marker_rows=1, **options))
    is_between = kind == "bytes between its segments"
    assert _refusal(content) == (
      "a JPEG with bytes between its segments" if is_between else _DAMAGED
    )

  @pytest.mark.parametrize("num_bytes", [1, 2, 3, 20, 500])
  @pytest.mark.parametrize("options", [{}, {"quality": 100}, {"subsampling": 0}])
  def test_the_last_bytes_are_missing(self, num_bytes, options):
    content = jpeg_damage.cut_and_ended(jpeg_damage.photo(**options), num_bytes)
    assert _refusal(content) == _DAMAGED

  @pytest.mark.parametrize("num_bytes", [8, 9, 50])
  def test_bytes_are_left(self, num_bytes):
    content = jpeg_damage.with_bytes_left(jpeg_damage.photo(), num_bytes)
    assert _refusal(content) == _DAMAGED

  def test_a_byte_is_left_before_a_restart_marker(self):
    content = jpeg_damage.photo(restart_marker_rows=1)
    assert _refusal(jpeg_damage.with_bytes_before_a_restart(content, 1)) == _DAMAGED

  @pytest.mark.parametrize("change", [jpeg_damage.zeroed, jpeg_damage.cut_and_ended])
  def test_progressive(self, change):
    assert _refusal(change(jpeg_damage.photo(progressive=True))) == _DAMAGED

  @pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
  def test_grey_that_is_missing_is_told_from_grey_that_is_not(self, options):
    content = jpeg_damage.cut_and_ended(_grey_at_the_end(**options), 12)
    assert _refusal(content) == _DAMAGED

  def test_further_restart_markers(self):
    content = jpeg_damage.photo(restart_marker_rows=1)
    at = jpeg_damage.restarts(content)[0]
    assert _refusal(content.replace(b"\xff\xd1", b"\xff\xd3")) == _DAMAGED
    assert _refusal(content[:at] + content[at : at + 2] + content[at:]) == _DAMAGED
    begin, _ = jpeg_damage.data_span(content := jpeg_damage.photo())
    assert _refusal(content[: begin + 500] + b"\xff\xd0" + content[begin + 500 :]) == _DAMAGED

  @pytest.mark.parametrize("missing", [1, 2, 20, 1500])
  def test_without_an_end_marker(self, missing):
    assert _refusal(jpeg_damage.photo()[:-missing]) == "a JPEG that is cut short"

  def test_no_decoder_takes_it(self):
    content = jpeg_damage.photo()
    at = content.index(b"\xff\xc4")
    tables = content[: at + 5] + b"\xff" * 16 + content[at + 21 :]
    assert _refusal(tables) == "a JPEG that cannot be decoded (cannot decode image data)"
    at = content.index(b"\xff\xc0")
    lossless = content[: at + 1] + b"\xc3" + content[at + 2 :]
    assert _refusal(lossless) == "a JPEG that cannot be decoded (by TensorFlow)"

  @pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1, "optimize": True}])
  def test_what_libjpeg_warns_of(self, options, capfd):
    content, warned = jpeg_damage.photo(96, 128, **options), 0
    begin, end = jpeg_damage.data_span(content)
    numbers = random.Random(0)
    for _ in range(60):
      at, num_bytes = numbers.randrange(begin, end - 300), numbers.choice([20, 100, 300])
      changed = bytes(num_bytes) if numbers.random() < 0.5 else numbers.randbytes(num_bytes)
      damaged = content[:at] + changed.replace(b"\xff", b"\xfe") + content[at + num_bytes :]
      cv2.imdecode(np.frombuffer(damaged, np.uint8), cv2.IMREAD_COLOR)
      if "Corrupt JPEG data" in capfd.readouterr().err:
        _refusal(damaged)
        warned += 1
    assert warned > 40


class TestEndMarker:
  @pytest.mark.parametrize("end", [b"", b"\xff", bytes(9), b"\xff" + bytes(9)])
  @pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"mode": "L"}])
  def test_added_where_nothing_else_is_missing(self, end, options):
    content = jpeg_damage.photo(**options)
    assert whole_jpeg.completed(content[:-2] + end) == (content, "end_marker_added")

  @pytest.mark.parametrize("missing", [3, 4, 6, 20, 1000])
  def test_not_where_pixels_are_missing_too(self, missing):
    with pytest.raises(jpeg_segments.DamageError, match=r"a JPEG that is cut short$"):
      whole_jpeg.completed(jpeg_damage.photo()[:-missing])

  def test_not_where_scans_may_be_missing(self):
    with pytest.raises(jpeg_segments.DamageError, match=r"a JPEG that is cut short$"):
      whole_jpeg.completed(jpeg_damage.photo(progressive=True)[:-2])

  def test_other_damage_is_named_as_such(self):
    with pytest.raises(jpeg_segments.DamageError, match=_DAMAGED):
      whole_jpeg.completed(jpeg_damage.zeroed(jpeg_damage.photo()))


class TestPadding:
  @pytest.mark.parametrize(
    "padding", [bytes(32), b"\x01" * 500, b'\x11"3' * 100, b"12345678" * 5], ids=len
  )
  @pytest.mark.parametrize("options", [{}, {"mode": "L"}, {"restart_marker_rows": 1}])
  def test_is_left_out(self, padding, options):
    content = jpeg_damage.photo(**options)
    padded = jpeg_damage.padded(content, padding)
    whole_jpeg.check(padded)
    unpadded, repair = whole_jpeg.completed(padded)
    assert repair == "padding_left_out"
    end = jpeg_damage.data_span(content)[1]
    assert content[:end] in unpadded[: end + 7]
    assert len(unpadded) == len(content) + 7
    whole_jpeg.check(unpadded)

  def test_behind_an_image_of_one_colour(self):
    content = voc_files.image_bytes(Image.new("RGB", (640, 480), "white"))
    whole_jpeg.check(content)
    assert whole_jpeg.completed(content) == (content, "")

  @pytest.mark.parametrize("padding", [b"123456789" * 5, b"\x01" * 24])
  def test_with_another_period_or_shorter_it_is_damage(self, padding):
    assert _refusal(jpeg_damage.padded(jpeg_damage.photo(), padding)) == _DAMAGED

  @pytest.mark.parametrize("change", [jpeg_damage.cut_within, jpeg_damage.cut_and_ended])
  def test_makes_up_for_no_pixels(self, change):
    assert _refusal(jpeg_damage.padded(change(jpeg_damage.photo()), bytes(5000))) == _DAMAGED
