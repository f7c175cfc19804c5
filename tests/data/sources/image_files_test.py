"""Tests of checking and converting image files."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import image_files
from tests.data import jpeg_damage, voc_files

_HEIGHT, _WIDTH = 48, 64
_PICTURE = voc_files.picture(_HEIGHT, _WIDTH)
_NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, [20, 40, 3], np.uint8))
_PIXELS = np.asarray(_PICTURE)
_GRAY = _PIXELS[..., 0]


def _stored_pixels(stored: image_files.StoredImage) -> np.ndarray:
  """What training decodes; checks that format, size and channels are as stated."""
  image = tf.io.decode_image(stored.encoded)
  assert image.dtype == tf.uint8
  assert image.shape == (stored.height, stored.width, 3)
  assert stored.encoded.startswith({"jpeg": b"\xff\xd8", "png": b"\x89PNG"}[stored.format])
  return image.numpy()


def _png(depth: int, color_type: int, rows: bytes, height: int = _HEIGHT, width: int = _WIDTH):
  """A PNG file put together by hand, for what Pillow does not write."""

  def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

  header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
  body = chunk(b"IDAT", zlib.compress(rows))
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def _error(content: bytes) -> str:
  with pytest.raises(faults.FaultError) as caught:
    image_files.prepare_image(content, "JPEGImages/a.jpg")
  return str(caught.value)


class TestKinds:
  @pytest.mark.parametrize(
    ("options", "stored_format"),
    [
      ({"image_format": "JPEG"}, "jpeg"),
      ({"image_format": "JPEG", "progressive": True}, "jpeg"),
      ({"image_format": "JPEG", "exif": voc_files.exif(1)}, "jpeg"),
      ({"image_format": "JPEG", "exif": voc_files.exif(0)}, "jpeg"),  # As some tools write it.
      ({"image_format": "MPO", "save_all": True, "append_images": [_PICTURE]}, "jpeg"),
      ({"image_format": "PNG"}, "png"),
    ],
  )
  def test_upright_rgb_is_stored_byte_for_byte(self, options, stored_format):
    content = voc_files.image_bytes(_PICTURE, **options)
    stored = image_files.prepare_image(content, "a")
    assert stored == image_files.StoredImage(content, stored_format, _HEIGHT, _WIDTH, 1, False)
    np.testing.assert_allclose(_stored_pixels(stored), _PIXELS, atol=12)

  @pytest.mark.parametrize(
    ("content", "stored_format", "expected", "tolerance"),
    [
      (voc_files.image_bytes(_PICTURE.convert("CMYK"), "JPEG"), "jpeg", _PIXELS, 12),
      (
        voc_files.image_bytes(Image.fromarray(_GRAY), "JPEG"),
        "jpeg",
        np.stack([_GRAY] * 3, axis=-1),
        4,
      ),
      (
        voc_files.image_bytes(Image.fromarray(_GRAY), "PNG"),
        "png",
        np.stack([_GRAY] * 3, axis=-1),
        0,
      ),
      (voc_files.image_bytes(_PICTURE, "BMP"), "png", _PIXELS, 0),
      (voc_files.image_bytes(_PICTURE, "TIFF"), "png", _PIXELS, 0),
      (voc_files.image_bytes(_PICTURE, "WEBP", lossless=True), "png", _PIXELS, 0),
      (voc_files.image_bytes(_PICTURE.convert("RGBA"), "PNG"), "png", _PIXELS, 0),
    ],
    ids=["cmyk", "gray jpeg", "gray png", "bmp", "tiff", "webp", "opaque alpha"],
  )
  def test_others_become_rgb(self, content, stored_format, expected, tolerance):
    stored = image_files.prepare_image(content, "a")
    assert stored.reencoded
    assert stored.format == stored_format
    np.testing.assert_allclose(_stored_pixels(stored), expected, atol=tolerance)

  def test_palette(self):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    stored = image_files.prepare_image(voc_files.image_bytes(palette, "PNG"), "a")
    assert _stored_pixels(stored).tolist() == [[[10, 20, 30], [40, 50, 60]]]

  def test_transparent_parts_become_white(self):
    image = Image.fromarray(np.array([[[10, 20, 30, 255], [0, 0, 0, 0]]], np.uint8))
    stored = image_files.prepare_image(voc_files.image_bytes(image, "PNG"), "a")
    assert _stored_pixels(stored).tolist() == [[[10, 20, 30], [255, 255, 255]]]

  def test_a_transparent_colour_becomes_white(self):
    image = Image.fromarray(np.array([[[10, 20, 30], [1, 2, 3]]], np.uint8))
    content = voc_files.image_bytes(image, "PNG", transparency=(1, 2, 3))
    stored = image_files.prepare_image(content, "a")
    assert _stored_pixels(stored).tolist() == [[[10, 20, 30], [255, 255, 255]]]

  def test_of_16_bits_the_upper_8_are_kept(self):
    gray = Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16))
    for image_format in ("PNG", "TIFF"):
      stored = image_files.prepare_image(voc_files.image_bytes(gray, image_format), "a")
      assert _stored_pixels(stored)[0, :, 1].tolist() == [0, 0, 1, 255]
    rows = b"\0" + np.array([[256, 512, 65535]], ">u2").tobytes()
    stored = image_files.prepare_image(_png(16, 2, rows, height=1, width=1), "a")
    assert _stored_pixels(stored).tolist() == [[[1, 2, 255]]]

  @pytest.mark.parametrize("orientation", range(2, 9))
  @pytest.mark.parametrize(("image_format", "tolerance"), [("JPEG", 12), ("PNG", 0)])
  def test_turned_images_are_stored_upright(self, orientation, image_format, tolerance):
    # How a camera's raster comes about, in the words of EXIF: where row 0 and column 0 lie.
    raster = {
      2: _PIXELS[:, ::-1],
      3: _PIXELS[::-1, ::-1],
      4: _PIXELS[::-1],
      5: _PIXELS.transpose(1, 0, 2),
      6: _PIXELS.transpose(1, 0, 2)[::-1],
      7: _PIXELS.transpose(1, 0, 2)[::-1, ::-1],
      8: _PIXELS.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    content = voc_files.image_bytes(
      Image.fromarray(np.ascontiguousarray(raster)),
      image_format,
      exif=voc_files.exif(orientation),
    )
    stored = image_files.prepare_image(content, "a")
    assert stored.orientation == orientation
    np.testing.assert_allclose(_stored_pixels(stored), _PIXELS, atol=tolerance)
    again = image_files.prepare_image(stored.encoded, "a")
    assert not again.reencoded  # Nothing in the stored file asks to turn it once more.

  def test_a_jpeg_that_is_turned_loses_little(self):
    # Lines of a pixel's width, in colours that a coarser raster of colours would mix.
    pixels = np.full([48, 64, 3], 255, np.uint8)
    pixels[:, 21], pixels[30] = (255, 0, 0), (0, 0, 255)
    content = voc_files.image_bytes(
      Image.fromarray(pixels), quality=100, subsampling=0, exif=voc_files.exif(3)
    )
    stored = image_files.prepare_image(content, "a")
    assert stored.format == "jpeg"
    with Image.open(io.BytesIO(stored.encoded)) as image:  # TensorFlow decodes less exactly.
      errors = np.abs(np.asarray(image).astype(int) - pixels[::-1, ::-1])
    assert errors.mean() < 0.3

  @pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
  def test_colour_profiles_are_left_out(self, image_format):
    options = {"image_format": image_format, "exif": voc_files.exif(6)}
    content = voc_files.image_bytes(_PICTURE, icc_profile=b"profile", **options)
    plain = voc_files.image_bytes(_PICTURE, **options)
    assert image_files.prepare_image(content, "a") == image_files.prepare_image(plain, "a")

  def test_broken_exif_is_upright(self):
    content = voc_files.image_bytes(_PICTURE, exif=b"Exif\0\0MM\0*\xff\xff\xff\xffbroken")
    stored = image_files.prepare_image(content, "a.jpg")
    assert (stored.orientation, stored.encoded) == (1, content)

  def test_turned_tiff_is_stored_upright(self):
    content = voc_files.image_bytes(_PICTURE, "TIFF", tiffinfo={0x0112: 6})
    stored = image_files.prepare_image(content, "a")
    assert (stored.height, stored.width) == (_WIDTH, _HEIGHT)
    np.testing.assert_array_equal(_stored_pixels(stored), np.rot90(_PIXELS, -1))


class TestEndMarker:
  @pytest.mark.parametrize("missing", [1, 2])
  def test_a_jpeg_that_lacks_nothing_else_is_taken(self, missing):
    content = voc_files.image_bytes(_PICTURE)
    stored = image_files.prepare_image(content[:-missing], "a.jpg")
    assert (stored.repair, stored.reencoded) == ("end_marker_added", True)
    assert stored.format == "jpeg"
    pixels, whole = (tf.io.decode_jpeg(data).numpy() for data in (stored.encoded, content))
    assert np.abs(pixels.astype(int) - whole).max() <= 8

  def test_bytes_behind_the_marker_do_not_matter(self):
    content = voc_files.image_bytes(_PICTURE) + b"junk" * 2000
    stored = image_files.prepare_image(content, "a.jpg")
    assert (stored.repair, stored.encoded) == ("", content)

  def test_padding_before_the_marker_is_left_out(self):
    content = voc_files.image_bytes(_PICTURE)
    padded = jpeg_damage.padded(content, b"\0" * 1000)
    stored = image_files.prepare_image(padded, "a.jpg")
    assert (stored.repair, stored.reencoded) == ("padding_left_out", False)
    assert len(stored.encoded) <= len(content) + 7
    pixels, whole = (tf.io.decode_jpeg(data).numpy() for data in (stored.encoded, content))
    np.testing.assert_array_equal(pixels, whole)

  @pytest.mark.parametrize("missing", [3, 4, 6, 20])
  def test_with_pixels_missing_it_is_truncated(self, missing):
    content = voc_files.image_bytes(_NOISE)[:-missing]
    assert "JPEGImages/a.jpg: image: damaged or truncated" in _error(content)

  def test_scans_of_a_progressive_file_may_be_missing(self):
    content = voc_files.image_bytes(_PICTURE, progressive=True)[:-2]
    assert "damaged or truncated" in _error(content)


def test_of_a_gif_the_first_picture():
  content = voc_files.image_bytes(
    _PICTURE, "GIF", save_all=True, append_images=[_PICTURE.rotate(180)]
  )
  stored = image_files.prepare_image(content, "a.jpg")
  assert (stored.format, stored.reencoded) == ("png", True)
  pixels = tf.io.decode_png(stored.encoded).numpy().astype(int)
  assert np.abs(pixels - np.asarray(_PICTURE)).mean() < 16


class TestFaults:
  def test_empty_file(self):
    assert _error(b"") == (
      "JPEGImages/a.jpg: image: the file is empty;"
      " accepted: a whole JPEG, PNG, BMP, TIFF, WebP or GIF image"
    )

  @pytest.mark.parametrize("content", [b"no image", voc_files.image_bytes(_PICTURE, "PPM")])
  def test_no_image(self, content):
    assert "JPEGImages/a.jpg: image: the file does not begin like one; accepted" in _error(content)

  @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
  @pytest.mark.parametrize("missing", [0.01, 0.5])
  def test_truncated_image(self, image_format, missing):
    content = voc_files.image_bytes(_PICTURE, image_format)
    length = len(content) - max(1, int(missing * len(content)))
    assert "JPEGImages/a.jpg: image: damaged or truncated" in _error(content[:length])

  @pytest.mark.parametrize(
    ("image_format", "reason"),
    [("JPEG", "a JPEG that is cut short"), ("PNG", "TensorFlow cannot decode it")],
  )
  def test_truncated_image_filled_up_with_zeros(self, image_format, reason):
    # An interrupted download. Pillow alone takes the JPEG for whole.
    content = voc_files.image_bytes(_PICTURE, image_format)[:-20] + bytes(20)
    assert f"damaged or truncated ({reason})" in _error(content)

  def test_jpeg_that_decoders_take_for_whole(self):
    content = jpeg_damage.zeroed(jpeg_damage.photo())
    assert "damaged or truncated (a JPEG whose data are damaged)" in _error(content)

  def test_png_with_a_changed_bit(self):
    content = bytearray(voc_files.image_bytes(_PICTURE, "PNG"))
    content[-20] ^= 1  # In the checksum of the pixels, which Pillow does not look at.
    assert "damaged or truncated (TensorFlow cannot decode it)" in _error(bytes(content))

  @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
  @pytest.mark.parametrize(("height", "width"), [(10_000, 12_000), (60_000, 60_000)])
  def test_too_large_an_image_is_not_decoded(self, height, width):
    assert _error(_png(8, 2, b"", height, width)) == (
      "JPEGImages/a.jpg: image: more than 100000000 pixels; accepted: at most 100000000 pixels"
    )

  @pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
  def test_several_pictures(self, image_format):
    content = voc_files.image_bytes(
      _PICTURE, image_format, save_all=True, append_images=[_PICTURE.rotate(180)]
    )
    assert "image: 2 pictures in one file; accepted: one still picture" in _error(content)

  @pytest.mark.parametrize("dtype", [np.float32, np.int32])
  def test_pixels_without_range(self, dtype):
    content = voc_files.image_bytes(Image.fromarray(_GRAY.astype(dtype)), "TIFF")
    assert "image: pixels of 32 bits, whose range is not defined" in _error(content)


class TestUprightBox:
  def test_quarter_turn_to_the_right(self):
    # Stored 4 high, 6 wide; a camera held upright, its left side at the bottom of the raster.
    #   . . . . . .            . . . .
    #   . . a a a .            . . . .
    #   . . . . . .    ──▶     . . a .
    #   . . . . . .            . . a .
    #                          . . a .
    #                          . . . .
    assert image_files.upright_box((1, 2, 2, 5), 6, height=4, width=6) == (2, 2, 5, 3)

  @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
  def test_a_box_follows_its_pixels(self, orientation):
    raster = np.zeros([48, 64, 3], np.uint8)
    raster[8:16, 24:56] = 255
    content = voc_files.image_bytes(
      Image.fromarray(raster), "PNG", exif=voc_files.exif(orientation)
    )
    upright = _stored_pixels(image_files.prepare_image(content, "a"))
    ymin, xmin, ymax, xmax = image_files.upright_box((8, 24, 16, 56), orientation, 48, 64)
    assert upright[ymin:ymax, xmin:xmax].min() == 255
    assert upright.sum() == raster.sum() == 255 * 3 * (ymax - ymin) * (xmax - xmin)
