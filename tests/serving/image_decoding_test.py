"""Tests of image_decoding.py and the headers it reads, compared with what the converters store."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import image_files, whole_jpeg
from mtl_ssl_tf.serving import image_decoding
from tests.data import costly_images, jpeg_damage, voc_files

_decode = tf.function(
  lambda content: image_decoding.decode_image(content, tf.constant("image 7")),
  input_signature=[tf.TensorSpec([], tf.string)],
  autograph=False,
)
PICTURE = voc_files.picture(20, 30)
ACCEPTED = "accepted: a whole JPEG, PNG, BMP, WebP or GIF image"


def decode(content: bytes) -> np.ndarray:
  return _decode(content).numpy()


def refusal(content: bytes) -> str:
  """The message on an image that is refused before it is decoded."""
  with pytest.raises(tf.errors.InvalidArgumentError) as caught:
    decode(content)
  message = caught.value.message.partition("assertion failed: [image 7: ")[2]
  assert message, caught.value.message
  return message.split("]")[0]


def stored(content: bytes) -> np.ndarray:
  """The pixels that a record of this file has."""
  return tf.io.decode_image(image_files.prepare_image(content, "a").encoded, channels=3).numpy()


def encode(image: Image.Image, image_format: str, **options) -> bytes:
  return voc_files.image_bytes(image, image_format, **options)


def png(height: int, width: int, *chunks: bytes) -> bytes:
  """A PNG whose header names a size; without pixels."""
  header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
  return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def chunk(name: bytes, content: bytes) -> bytes:
  checksum = struct.pack(">I", zlib.crc32(name + content))
  return struct.pack(">I", len(content)) + name + content + checksum


class TestFormats:
  @pytest.mark.parametrize(
    ("mode", "image_format"),
    [
      ("RGB", "JPEG"),
      ("RGB", "PNG"),
      ("RGB", "BMP"),
      ("L", "PNG"),
      ("L", "BMP"),
      ("1", "PNG"),
      ("P", "PNG"),
      ("P", "BMP"),
      ("RGBA", "BMP"),
      ("RGB", "MPO"),
    ],
  )
  def test_as_the_converters_store_it(self, mode, image_format):
    content = encode(PICTURE.convert(mode), image_format)
    np.testing.assert_array_equal(decode(content), stored(content))

  @pytest.mark.parametrize("mode", ["CMYK", "L"])
  def test_jpeg_that_the_converters_encode_again(self, mode):
    content = encode(PICTURE.convert(mode), "JPEG", quality=95)
    np.testing.assert_allclose(decode(content), stored(content), atol=8)

  def test_of_16_bits_the_upper_8(self):
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    content = encode(Image.fromarray(values), "PNG")
    expected = np.repeat((values >> 8)[..., np.newaxis], 3, axis=-1)
    np.testing.assert_array_equal(decode(content), expected)

  @pytest.mark.parametrize("mode", ["RGBA", "LA"])
  def test_transparent_parts_become_white(self, mode):
    picture = PICTURE.convert(mode)
    picture.putalpha(Image.fromarray(np.linspace(0, 255, 600).astype(np.uint8).reshape(20, 30)))
    content = encode(picture, "PNG")
    decoded = decode(content)
    np.testing.assert_allclose(decoded, stored(content), atol=1)
    assert (decoded[0, 0] == 255).all()

  def test_one_transparent_colour(self):
    content = encode(
      PICTURE.convert("P"), "PNG", transparency=PICTURE.convert("P").getpixel((0, 0))
    )
    np.testing.assert_array_equal(decode(content), stored(content))
    assert (decode(content)[0, 0] == 255).all()

  def test_transparent_bmp(self):
    pixels = np.array([[[0, 0, 250, 255], [0, 250, 0, 0]]], np.uint8)  # BGRA
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 56, 2, 1, 1, 32, 3, 8, 0, 0, 0, 0) + masks
    content = b"BM" + struct.pack("<IHHI", 14 + 56 + 8, 0, 0, 14 + 56) + header + pixels.tobytes()
    np.testing.assert_array_equal(decode(content), [[[250, 0, 0], [255, 255, 255]]])

  def test_bmp_from_top_to_bottom(self):
    content = bytearray(encode(PICTURE, "BMP"))
    content[22:26] = struct.pack("<i", -20)
    np.testing.assert_array_equal(decode(bytes(content)), np.asarray(PICTURE)[::-1])

  def test_first_picture_of_a_gif(self):
    grey = [PICTURE.convert("L"), PICTURE.convert("L").rotate(180)]
    content = encode(grey[0], "GIF", save_all=True, append_images=grey[1:], comment=b"c" * 600)
    with Image.open(io.BytesIO(content)) as image:
      assert image.n_frames == 2
    np.testing.assert_array_equal(decode(content)[..., 1], np.asarray(grey[0]))

  @pytest.mark.parametrize("transparency", [None, 0, 3, 200])
  @pytest.mark.parametrize("colours", [16, None], ids=["shared colours", "grey"])
  def test_gif_whose_picture_does_not_fill_it(self, colours, transparency):
    # Twice the same: the picture fills it, and lies within it at row 2 and column 3.
    picture = PICTURE.quantize(colours) if colours else PICTURE.convert("L")
    options = {} if transparency is None else {"transparency": transparency}
    content = bytearray(encode(picture, "GIF", comment=b"c" * 300, **options))
    np.testing.assert_array_equal(decode(bytes(content)), stored(bytes(content)))
    at = content.rindex(b",\0\0\0\0\x1e\0\x14\0")
    content[at + 1 : at + 5] = struct.pack("<HH", 3, 2)
    content[6:10] = struct.pack("<HH", 40, 25)
    decoded = decode(bytes(content))
    assert decoded.shape == (25, 40, 3)
    np.testing.assert_array_equal(decoded, stored(bytes(content)))

  def test_transparent_gif(self):
    content = encode(PICTURE.quantize(16), "GIF", transparency=3)
    where = np.asarray(PICTURE.quantize(16)) == 3
    assert where.any() and (decode(content)[where] == 255).all()

  def test_pictures_behind_the_first_are_not_decompressed(self):
    content = encode(PICTURE.convert("L"), "GIF")
    # Of 65535 pixels a side, and nothing behind that.
    bomb = b"," + struct.pack("<HHHHBB", 0, 0, 65535, 65535, 0, 8) + b"\0;"
    np.testing.assert_array_equal(decode(content[:-1] + bomb), decode(content))

  @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
  @pytest.mark.parametrize("lossless", [False, True], ids=["lossy", "lossless"])
  def test_webp(self, mode, lossless):
    picture = PICTURE.convert(mode)
    if mode == "RGBA":
      picture.putalpha(Image.fromarray(np.linspace(0, 255, 600).astype(np.uint8).reshape(20, 30)))
    content = encode(picture, "WEBP", lossless=lossless)
    np.testing.assert_allclose(decode(content), stored(content), atol=1)

  def test_webp_with_further_chunks(self):
    content = encode(PICTURE, "WEBP", lossless=True, icc_profile=b"odd", xmp=b"even")
    assert content[12:16] == b"VP8X"
    np.testing.assert_array_equal(decode(content), np.asarray(PICTURE))

  def test_first_view_of_an_mpo(self):
    views = [PICTURE, PICTURE.rotate(180)]
    content = encode(views[0], "MPO", save_all=True, append_images=views[1:])
    with Image.open(io.BytesIO(content)) as image:
      assert (image.format, image.n_frames) == ("MPO", 2)
    np.testing.assert_array_equal(decode(content), stored(content))

  @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
  def test_one_pixel(self, image_format):
    assert decode(encode(voc_files.picture(1, 1), image_format)).shape == (1, 1, 3)


class TestOrientation:
  @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
  def test_turned_upright(self, image_format):
    for orientation in range(1, 9):
      content = encode(PICTURE, image_format, exif=voc_files.exif(orientation))
      expected = stored(content)
      assert expected.shape == ((20, 30, 3) if orientation < 5 else (30, 20, 3))
      np.testing.assert_allclose(decode(content), expected, atol=10, err_msg=str(orientation))

  def test_of_the_first_exif_segment_alone(self):
    content = encode(PICTURE, "JPEG", exif=voc_files.exif(6))
    at = content.index(b"\xff\xe1")
    end = at + 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    again = content[at:end].replace(b"\0\x06\0\0\0\0", b"\0\x01\0\0\0\0")
    assert again != content[at:end]
    for extra in (b"", b"\xff", b"\xff\x01", b"\xff\xe1\0\x06XMP\0"):  # Fill byte, bare marker.
      assert decode(content[:at] + extra + content[at:end] + again + content[end:]).shape[0] == 30

  def test_broken_exif_counts_as_upright(self):
    content = encode(PICTURE, "JPEG", exif=voc_files.exif(6))
    at = content.index(b"MM\0*")
    for broken in (b"XX\0*", b"MM\0+"):
      assert decode(content[:at] + broken + content[at + 4 :]).shape == (20, 30, 3)
    beyond = content[: at + 4] + b"\xff\xff\xff\xff" + content[at + 8 :]
    assert decode(beyond).shape == (20, 30, 3)

  def test_png_that_only_seems_to_have_exif(self):
    content = encode(PICTURE, "PNG")
    text = chunk(b"tEXt", b"a\0eXIf" + voc_files.exif(6).tobytes())
    assert decode(content[:33] + text + content[33:]).shape == (20, 30, 3)


class TestRefusals:
  def test_no_image(self):
    assert refusal(b"") == f"no bytes; {ACCEPTED}"
    for content in (b"no image", b"\xff\xd8", encode(PICTURE, "TIFF"), b"RIFF\0\0\0\0WAVE"):
      assert refusal(content) == f"bytes that do not begin like an image; {ACCEPTED}"

  @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "GIF", "WebP"])
  @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
  def test_cut_short(self, image_format, share):
    content = encode(PICTURE, image_format)
    message = refusal(content[: int(share * len(content)) - 1])
    assert message.startswith(f"a {image_format} that is cut short"), message
    assert message.endswith(ACCEPTED)

  @pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
  def test_damaged_within(self, image_format):
    content = bytearray(encode(PICTURE, image_format))
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2 - 12) + content[-12:]
    content[len(content) // 2 + 1] = 0xFF
    content[len(content) // 2 + 2] = 0xC9  # A frame header where none may be.
    with pytest.raises(tf.errors.InvalidArgumentError, match=image_format):
      decode(bytes(content))

  def test_too_large_to_decode(self):
    sides = "20000 x 20000 pixels; accepted: at most 100000000 in all"
    assert refusal(png(20000, 20000)) == sides
    jpeg = bytearray(encode(PICTURE, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 20000, 20000)
    assert refusal(bytes(jpeg)) == sides
    bmp = bytearray(encode(PICTURE, "BMP"))
    bmp[18:26] = struct.pack("<ii", 20000, -20000)
    assert refusal(bytes(bmp)) == sides
    gif = bytearray(encode(PICTURE.convert("L"), "GIF"))
    gif[6:10] = struct.pack("<HH", 20000, 20000)
    assert refusal(bytes(gif)) == sides
    webp = bytearray(encode(PICTURE, "WEBP", xmp=b"x"))
    webp[24:30] = 2 * (19999).to_bytes(3, "little")
    assert refusal(bytes(webp)) == sides

  def test_limit(self):
    assert refusal(png(10**4, 10**4 + 1)).startswith("10000 x 10001 pixels; accepted: at most")
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid PNG"):
      decode(png(10**4, 10**4))  # As large as is accepted; but it has no pixels.
    assert refusal(png(2**31, 2**31)).startswith(
      "2147483648 x 2147483648 pixels; accepted: at most"
    )

  def test_no_pixel(self):
    assert refusal(png(0, 5)) == "0 x 5 pixels; accepted: sides of at least 1"
    jpeg = bytearray(encode(PICTURE, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 7] = b"\0\0"
    assert refusal(bytes(jpeg)).startswith("0 x 30 pixels")

  def test_bmp_of_few_bits(self):
    assert refusal(encode(PICTURE.convert("1"), "BMP")) == (
      "a BMP of 1 bits a pixel, compression 0; accepted: a BMP of 8, 24 or 32 bits without"
      " compression"
    )

  def test_compressed_bmp(self):
    bmp = bytearray(encode(PICTURE.convert("P"), "BMP"))
    bmp[30] = 1
    assert refusal(bytes(bmp)).startswith("a BMP of 8 bits a pixel, compression 1; accepted")

  def test_png_without_its_header(self):
    content = encode(PICTURE, "PNG").replace(b"IHDR", b"iHDR")
    assert refusal(content) == f"a PNG without its header; {ACCEPTED}"

  def test_forged_files_do_not_keep_it_counting(self):
    content = encode(PICTURE, "JPEG")
    for forged in (b"\xff" * 200_000, b"\xff\xe4\0\2" * 200_000):
      message = refusal(content[:2] + forged + content[2:])
      assert message == "more than 2000 segments; accepted: at most 2000"

  def test_many_segments_are_taken_as_the_converters_take_them(self):
    content = encode(PICTURE, "JPEG")
    odd = content[:2] + b"\xff\xe4\0\2" * 1900 + content[2:]
    assert decode(odd).shape == stored(odd).shape == (20, 30, 3)
    odd = content[:2] + b"\xff\xe4\0\2" * 2000 + content[2:]
    message = refusal(odd)
    with pytest.raises(faults.FaultError, match=message):
      stored(odd)

  def test_animated_webp(self):
    frames = [PICTURE, PICTURE.rotate(180)]
    content = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    words = "2 pictures in one file; accepted: one still picture"
    assert refusal(content) == words
    with pytest.raises(faults.FaultError, match=words):  # The converters say the same.
      stored(content)


class TestCost:
  """Files that take a decoder long; the converters refuse them in the same words."""

  @pytest.mark.parametrize("name", costly_images.REFUSED)
  def test_refused(self, name):
    content, message = costly_images.REFUSED[name]
    assert refusal(content) == message

  @pytest.mark.parametrize("name", costly_images.ACCEPTED)
  def test_up_to_the_limits_they_are_decoded(self, name):
    content = costly_images.ACCEPTED[name]
    np.testing.assert_allclose(decode(content), stored(content), atol=10)

  def test_png_chunks_of_one_size_are_passed_over_in_rows(self):
    content = encode(PICTURE, "PNG", exif=voc_files.exif(6))
    exif = content[content.index(b"eXIf") - 4 :]
    exif = exif[: 12 + int.from_bytes(exif[:4])]
    rest = content.replace(exif, b"")
    late = rest[:33] + chunk(b"abCd", b"") * 1500 + rest[33:-12] + exif + rest[-12:]
    assert decode(late).shape == (30, 20, 3)


class TestLostEnds:
  """A JPEG that lacks its end marker alone; the converters have the same rule."""

  @pytest.mark.parametrize("end", [b"", b"\xff", bytes(9)], ids=["none", "half", "zeros"])
  def test_completed(self, end):
    content = encode(PICTURE, "JPEG")
    np.testing.assert_array_equal(decode(content[:-2] + end), decode(content))

  def test_turned_upright(self):
    content = encode(PICTURE, "JPEG", exif=voc_files.exif(6))[:-2]
    np.testing.assert_allclose(decode(content), stored(content), atol=10)
    assert decode(content).shape == (30, 20, 3)

  @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
  def test_refused_where_the_converters_refuse(self, options):
    content, outcomes = encode(PICTURE, "JPEG", **options), []
    for length in [*range(len(content) - 40, len(content)), len(content) // 2, 300, 30]:
      try:
        stored(content[:length])
        decode(content[:length])
        outcomes.append(True)
      except faults.FaultError:
        assert refusal(content[:length]) == f"a JPEG that is cut short; {ACCEPTED}"
        outcomes.append(False)
    assert any(outcomes) != bool(options.get("progressive"))
    assert not all(outcomes)


class TestDamagedJpegs:
  """Data that do not end with the last pixel, of which the decoder says nothing."""

  @pytest.mark.parametrize(
    "options",
    [
      {},
      {"quality": 100, "subsampling": 0},
      {"optimize": True},
      {"restart_marker_rows": 1},
      {"restart_marker_blocks": 5},
      {"progressive": True},
      {"mode": "L"},
      {"mode": "CMYK"},
    ],
    ids=str,
  )
  @pytest.mark.parametrize("size", [(96, 128), (45, 61), (1, 1)])
  def test_whole_ones_are_decoded_without_a_word(self, options, size, capfd):
    content = jpeg_damage.photo(*size, **options)
    np.testing.assert_array_equal(decode(content), tf.io.decode_jpeg(content, channels=3))
    assert "JPEG" not in capfd.readouterr().err

  @pytest.mark.parametrize(
    "content",
    [
      encode(Image.new("RGB", (40, 24), (128, 128, 128)), "JPEG"),
      encode(Image.new("RGB", (40, 24), (128, 128, 128)), "JPEG", optimize=True),
      encode(Image.new("RGB", (40, 24), "white"), "JPEG", optimize=True),
      encode(Image.new("L", (65_500, 1), 90), "JPEG"),
      encode(Image.new("L", (1, 65_500), 90), "JPEG"),
      jpeg_damage.photo(restart_marker_rows=2)[:-2] + b"\xff\xd2\xff\xff\xd9",
      jpeg_damage.with_bytes_left(jpeg_damage.photo(), 7) + b"junk",
      jpeg_damage.padded(jpeg_damage.photo(), bytes(32)),
      jpeg_damage.padded(jpeg_damage.photo(), b'\x11"3' * 100),
      jpeg_damage.padded(jpeg_damage.photo(restart_marker_rows=1), b"12345678" * 50),
    ],
  )
  def test_whole_ones_that_look_odd(self, content):
    whole_jpeg.check(content)
    np.testing.assert_array_equal(decode(content), tf.io.decode_jpeg(content, channels=3))

  @pytest.mark.parametrize("options", [{}, {"optimize": True}, {"mode": "L"}, {"mode": "CMYK"}])
  @pytest.mark.parametrize(
    "change",
    [
      jpeg_damage.cut_and_ended,
      lambda content: jpeg_damage.cut_and_ended(content, 1),
      lambda content: jpeg_damage.cut_and_ended(content, 3000),
      jpeg_damage.with_bytes_left,
      lambda content: jpeg_damage.with_bytes_left(content, 8),
      lambda content: jpeg_damage.padded(content, b"123456789" * 5),
      lambda content: jpeg_damage.padded(content, b"\x01" * 24),
      lambda content: jpeg_damage.padded(jpeg_damage.cut_and_ended(content), bytes(5000)),
    ],
  )
  def test_refused(self, change, options):
    content = change(jpeg_damage.photo(**options))
    assert refusal(content) == f"a JPEG whose data are damaged; {ACCEPTED}"

  @pytest.mark.parametrize("change", [jpeg_damage.zeroed, jpeg_damage.cut_within])
  @pytest.mark.parametrize("options", [{}, {"quality": 95}, {"subsampling": 0}])
  def test_refused_with_damage_within(self, change, options):
    content = change(jpeg_damage.photo(**options))
    assert refusal(content) == f"a JPEG whose data are damaged; {ACCEPTED}"

  @pytest.mark.parametrize(
    "change",
    [
      jpeg_damage.without_a_restart,
      jpeg_damage.cut_and_ended,
      jpeg_damage.with_bytes_left,
      lambda content: content.replace(b"\xff\xd1", b"\xff\xd3"),
    ],
  )
  def test_refused_with_restart_markers(self, change):
    content = change(jpeg_damage.photo(restart_marker_rows=1))
    assert refusal(content) == f"a JPEG whose data are damaged; {ACCEPTED}"

  def test_grey_that_is_missing_is_told_from_grey_that_is_not(self):
    image = Image.new("RGB", (64, 48), (128, 128, 128))
    image.paste(PICTURE)
    content = encode(image, "JPEG")
    assert decode(content).shape == (48, 64, 3)
    content = jpeg_damage.cut_and_ended(content, 12)
    assert refusal(content) == f"a JPEG whose data are damaged; {ACCEPTED}"

  def test_bytes_between_segments(self):
    content = jpeg_damage.with_bytes_between(jpeg_damage.photo())
    assert refusal(content) == f"a JPEG with bytes between its segments; {ACCEPTED}"

  def test_a_scan_that_begins_behind_the_end(self):
    content = bytearray(jpeg_damage.photo())
    scan = content.index(b"\xff\xda")
    content[scan + 2 : scan + 4] = b"\xff\xff"
    assert refusal(bytes(content)) == f"a JPEG that is cut short; {ACCEPTED}"
