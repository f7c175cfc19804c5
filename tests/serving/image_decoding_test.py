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

  @pytest.mark.parametrize("masks", [0, 0xFF000000])
  @pytest.mark.parametrize("compression", [0, 3])
  @pytest.mark.parametrize("header_size", [40, 52, 56, 108, 124])
  def test_bmp_of_32_bits_with_and_without_alpha(self, header_size, compression, masks):
    # Without a mask for alpha in the header, the first pixel stands where the mask would.
    pixels = bytes([0, 0, 0, 255, 0, 250, 0, 0])  # BGRA
    fields = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, masks) + bytes(68)
    size_of_masks = 12 if (header_size, compression) == (40, 3) else header_size - 40
    header = struct.pack("<IiiHHIIiiII", header_size, 2, 1, 1, 32, compression, 8, 0, 0, 0, 0)
    header += fields[:size_of_masks]
    offset = 14 + len(header)
    content = b"BM" + struct.pack("<IHHI", offset + 8, 0, 0, offset) + header + pixels
    is_clear = compression == 3 and header_size >= 56 and masks > 0
    expected = [[[0, 0, 0], [255, 255, 255] if is_clear else [0, 250, 0]]]
    assert decode(content).tolist() == stored(content).tolist() == expected

  @pytest.mark.parametrize("header_size", [40, 124])
  @pytest.mark.parametrize("gap", [0, 4])
  @pytest.mark.parametrize("num_named", [0, 2, 3])
  def test_bmp_with_few_colours(self, header_size, gap, num_named):
    colours = bytes([10, 20, 30, 0, 40, 50, 60, 0, 70, 80, 90, 0])  # BGR
    pixels = bytes([0, 1, 2, 3, 1, 255, 200, 2])
    header = struct.pack("<IiiHHIIiiII", header_size, 4, 2, 1, 8, 0, 8, 0, 0, num_named, 0)
    head = header.ljust(header_size, b"\0") + colours + b"\x01" * gap
    offset = 14 + len(head)
    content = b"BM" + struct.pack("<IHHI", offset + 8, 0, 0, offset) + head + pixels
    decoded = decode(content)
    np.testing.assert_array_equal(decoded, stored(content))
    third = [0, 0, 0] if num_named == 2 else [90, 80, 70]
    assert decoded[1, :3].tolist() == [[30, 20, 10], [60, 50, 40], third]

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

  @pytest.mark.parametrize("size", [(25, 12), (15, 40), (15, 12)])
  def test_gif_whose_picture_reaches_out_of_its_screen(self, size):
    content = bytearray(encode(PICTURE.quantize(16), "GIF"))
    at = content.rindex(b",\0\0\0\0\x1e\0\x14\0")
    content[at + 1 : at + 5] = struct.pack("<HH", 3, 2)
    content[6:10] = struct.pack("<HH", *size[::-1])
    decoded = decode(bytes(content))
    assert decoded.shape == (max(size[0], 22), max(size[1], 33), 3)
    np.testing.assert_array_equal(decoded, stored(bytes(content)))

  def test_gif_of_two_colours(self):
    content = bytearray(encode(PICTURE.quantize(2), "GIF"))
    assert content[10] % 8 == 1  # Pillow writes four.
    content[10] -= 1
    del content[13 + 3 * 2 : 13 + 3 * 4]
    np.testing.assert_array_equal(decode(bytes(content)), stored(bytes(content)))

  @pytest.mark.parametrize("is_shared_too", [False, True], ids=["own alone", "shared too"])
  @pytest.mark.parametrize("transparency", [None, 3, 20], ids=["opaque", "third", "beyond"])
  @pytest.mark.parametrize("offset", [(0, 0), (2, 3)])
  def test_gif_whose_picture_has_colours_of_its_own(self, is_shared_too, transparency, offset):
    content = bytearray(encode(PICTURE.quantize(16), "GIF"))
    colours = bytes(content[13 : 13 + 3 * 16])
    at = content.rindex(b",\0\0\0\0\x1e\0\x14\0")
    if transparency is not None:
      clear = b"\x21\xf9\x04" + bytes([1, 0, 0, transparency]) + b"\0"
      content[at:at] = clear
      at += len(clear)
    content[at + 1 : at + 5] = struct.pack("<HH", *offset[::-1])
    content[6:10] = struct.pack("<HH", 40, 25)
    content[at + 9] |= 0x83  # It has colours, 16.
    content[at + 10 : at + 10] = colours
    if is_shared_too:
      content[13 : 13 + 3 * 16] = colours[::-1]
    else:
      content[10] &= 0x70
      del content[13 : 13 + 3 * 16]
    np.testing.assert_array_equal(decode(bytes(content)), stored(bytes(content)))

  @pytest.mark.parametrize("transparency", [None, 3])
  @pytest.mark.parametrize("extension", [(0, 5), (1, 5), (8, 5), (9, 5)], ids=str)
  def test_gif_with_another_graphic_control_extension(self, transparency, extension):
    options = {} if transparency is None else {"transparency": transparency}
    content = encode(PICTURE.quantize(16), "GIF", **options)
    at = content.rindex(b",\0\0\0\0\x1e\0\x14\0")
    flags, colour = extension
    other = b"\x21\xf9\x04" + bytes([flags, 0, 0, colour]) + b"\0"
    odd = content[:at] + other + content[at:]
    np.testing.assert_array_equal(decode(odd), stored(odd))
    shows = colour if flags % 2 else transparency
    assert (decode(odd) == 255).all(axis=-1).any() == (shows is not None)

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

  @pytest.mark.parametrize("icc_profile", [b"odd", b"even"])
  def test_behind_a_chunk_of_a_webp_of_odd_length(self, icc_profile):
    exif = voc_files.exif(6)
    content = encode(PICTURE, "WEBP", lossless=True, icc_profile=icc_profile, exif=exif)
    assert content.index(b"ICCP") < content.index(b"EXIF")
    np.testing.assert_array_equal(decode(content), stored(content))
    assert decode(content).shape == (30, 20, 3)

  def test_of_the_first_exif_segment_alone(self):
    content = encode(PICTURE, "JPEG", exif=voc_files.exif(6))
    at = content.index(b"\xff\xe1")
    end = at + 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    again = content[at:end].replace(b"\0\x06\0\0\0\0", b"\0\x01\0\0\0\0")
    assert again != content[at:end]
    for extra in (b"", b"\xff", b"\xff\x01", b"\xff\xe1\0\x06XMP\0"):  # Fill byte, bare marker.
      assert decode(content[:at] + extra + content[at:end] + again + content[end:]).shape[0] == 30

  def test_of_the_first_exif_chunk_of_a_webp_alone(self):
    content = encode(PICTURE, "WEBP", lossless=True, exif=voc_files.exif(6))
    again = content[content.index(b"EXIF") :].replace(b"\0\x06\0\0\0\0", b"\0\x01\0\0\0\0")
    assert not content.endswith(again)
    content += again
    content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
    np.testing.assert_array_equal(decode(content), stored(content))
    assert decode(content).shape == (30, 20, 3)

  def test_exif_that_the_head_of_a_webp_does_not_announce(self):
    content = bytearray(encode(PICTURE, "WEBP", lossless=True, exif=voc_files.exif(6), xmp=b"x"))
    assert decode(bytes(content)).shape == (30, 20, 3)
    content[20] &= ~0x08
    np.testing.assert_array_equal(decode(bytes(content)), stored(bytes(content)))
    assert decode(bytes(content)).shape == (20, 30, 3)

  def test_broken_exif_counts_as_upright(self):
    content = encode(PICTURE, "JPEG", exif=voc_files.exif(6))
    at = content.index(b"MM\0*")
    for broken in (b"XX\0*", b"MM\0+", b"MM*\0"):
      odd = content[:at] + broken + content[at + 4 :]
      assert decode(odd).shape == stored(odd).shape == (20, 30, 3)
    beyond = content[: at + 4] + b"\xff\xff\xff\xff" + content[at + 8 :]
    assert decode(beyond).shape == (20, 30, 3)

  @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
  def test_exif_whose_tags_lie_behind_it(self, image_format):
    tags = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
    # The head of a WebP says that there is EXIF.
    options = {"exif": voc_files.exif(6)} if image_format == "WEBP" else {}
    content = encode(PICTURE, image_format, **options)

    def odd(offset: int) -> bytes:
      exif = b"MM\0*" + struct.pack(">I", offset)
      if image_format == "JPEG":
        parts = [(0xE1, b"Exif\0\0" + exif), (0xFE, tags)]
        parts = [costly_images.jpeg_segment(payload, marker) for marker, payload in parts]
        return content[:2] + b"".join(parts) + content[2:]
      if image_format == "PNG":
        return content[:33] + chunk(b"eXIf", exif) + chunk(b"abCd", tags) + content[33:]
      chunks = [b"EXIF", struct.pack("<I", len(exif)), exif, b"abcd", struct.pack("<I", len(tags))]
      made = content[: content.index(b"EXIF")] + b"".join(chunks) + tags
      return made[:4] + struct.pack("<I", len(made) - 8) + made[8:]

    for offset in (odd(8).index(tags) - odd(8).index(b"MM\0*"), 2**31):
      found = decode(odd(offset))
      assert found.shape == stored(odd(offset)).shape == (20, 30, 3), offset

  def test_png_that_only_seems_to_have_exif(self):
    content = encode(PICTURE, "PNG")
    text = chunk(b"tEXt", b"a\0eXIf" + voc_files.exif(6).tobytes())
    assert decode(content[:33] + text + content[33:]).shape == (20, 30, 3)

  def test_exif_of_a_png_after_other_chunks(self):
    content = encode(PICTURE, "PNG")
    chunks = [chunk(b"tEXt", b"a\0b"), chunk(b"eXIf", voc_files.exif(6).tobytes()[6:])]
    turned = content[:33] + b"".join(chunks) + content[33:]
    assert decode(turned).shape == stored(turned).shape == (30, 20, 3)

  def test_what_stands_behind_the_end_of_a_png_does_not_count(self):
    content = encode(PICTURE, "PNG")
    turning = chunk(b"eXIf", voc_files.exif(6).tobytes()[6:])
    behind = content + turning
    assert decode(behind).shape == stored(behind).shape == (20, 30, 3)

  def test_more_tags_than_there_are(self):
    content = encode(PICTURE, "PNG", exif=voc_files.exif(6))
    at = content.index(b"eXIf")
    exif = bytearray(voc_files.exif(6).tobytes()[6:])
    exif[8] = 0x2D  # Of the number of tags, which is far above the limit then.
    size = len(exif)
    odd = content[: at - 4] + chunk(b"eXIf", bytes(exif)) + content[at + 8 + size :]
    assert decode(odd).shape == stored(odd).shape == (30, 20, 3)


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
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 40000, 40000)  # More than in all scans.
    assert refusal(bytes(jpeg)).startswith("40000 x 40000 pixels; accepted: at most")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 20000, 20000)
    # Another frame behind it does not say how large the image is.
    end = at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    frame = jpeg[at : at + 5] + struct.pack(">HH", 20, 30) + jpeg[at + 9 : end]
    assert refusal(bytes(jpeg[:end] + frame + jpeg[end:])) == sides
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

  @pytest.mark.parametrize("colours", [65536, 65537])
  def test_bmp_of_many_colours(self, colours):
    bmp = bytearray(encode(PICTURE.convert("P"), "BMP"))
    bmp[46:50] = struct.pack("<I", colours)
    if colours == 65536:
      assert decode(bytes(bmp)).shape == (20, 30, 3)
    else:
      assert refusal(bytes(bmp)) == (
        "a BMP with a palette of 65537 colours; accepted: at most 65536"
      )
      with pytest.raises(faults.FaultError):
        stored(bytes(bmp))

  @pytest.mark.parametrize("opacities", [3, 4])
  def test_png_with_opacities_that_are_no_colours(self, opacities):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, 8, 3, 0, 0, 0))
    colours = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60, 70, 80, 90]))
    clear = chunk(b"tRNS", bytes(opacities))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0\1\2"))
    # What stands behind the end does not count.
    end = chunk(b"IEND", b"") + chunk(b"PLTE", bytes(30))
    content = b"\x89PNG\r\n\x1a\n" + header + colours + clear + pixels + end
    if opacities == 3:
      assert decode(content).tolist() == stored(content).tolist() == [3 * [[255, 255, 255]]]
    else:
      assert refusal(content) == self.ODD_OPACITIES
      with pytest.raises(faults.FaultError, match=self.ODD_OPACITIES):
        stored(content)

  ODD_OPACITIES = (
    "a PNG that states opacities out of place, or of other colours than it has; accepted: of its"
    " colours, between palette and pixels"
  )

  @pytest.mark.parametrize("order", ["tRNS PLTE IDAT", "PLTE IDAT tRNS", "tRNS IDAT"])
  def test_png_with_opacities_out_of_place(self, order):
    chunks = {
      "IHDR": struct.pack(">IIBBBBB", 3, 1, 8, 3, 0, 0, 0),
      "PLTE": bytes([10, 20, 30, 40, 50, 60, 70, 80, 90]),
      "tRNS": bytes(3),
      "IDAT": zlib.compress(b"\0\0\1\2"),
      "IEND": b"",
    }
    names = ["IHDR", *order.split(), "IEND"]
    content = b"\x89PNG\r\n\x1a\n"
    content += b"".join(chunk(name.encode(), chunks[name]) for name in names)
    assert refusal(content) == self.ODD_OPACITIES
    with pytest.raises(faults.FaultError, match=self.ODD_OPACITIES):
      stored(content)

  @pytest.mark.parametrize("order", ["PLTE IDAT IEND tRNS", "PLTE none IDAT IEND"])
  def test_png_without_opacities_that_count(self, order):
    palette = voc_files.picture(20, 40).quantize(16)
    content = encode(palette, "PNG")
    header, end = content[:33], content.index(b"IEND") - 4
    pixels = content.index(b"IDAT") - 4
    parts = {
      "PLTE": content[33:pixels],
      "none": chunk(b"tRNS", b""),
      "IDAT": content[pixels:end],
      "IEND": content[end:],
      "tRNS": chunk(b"tRNS", b"\xd4"),
    }
    odd = header + b"".join(parts[name] for name in order.split())
    assert decode(odd).tolist() == stored(odd).tolist() == decode(content).tolist()

  @pytest.mark.parametrize(
    ("depth", "samples", "clear", "wanted"),
    [
      pytest.param(1, b"\x50", (1,), [0, 255, 0, 255], id="1 bit"),
      pytest.param(2, b"\x1b", (2,), [0, 85, 255, 255], id="2 bits"),
      pytest.param(4, b"\x01\xdf", (13,), [0, 17, 255, 255], id="4 bits"),
      pytest.param(8, b"\0\1\x0d\x0f", (13,), [0, 1, 255, 15], id="8 bits"),
      pytest.param(16, b"\0\0\0\1\5\x14\xff\xff", (1300,), [0, 0, 255, 255], id="16 bits"),
      pytest.param(8, bytes([9, 2, 3, 1, 2, 3]), (1, 2, 3), [9, 255], id="colours of 8 bits"),
      pytest.param(
        *(16, b"\1\0\2\0\3\0\1\0\2\0\3\1", (256, 512, 768), [255, 1]), id="colours of 16 bits"
      ),
    ],
  )
  def test_png_with_a_transparent_colour(self, depth, samples, clear, wanted):
    colour_type = 0 if len(clear) == 1 else 2
    header = struct.pack(">IIBBBBB", len(wanted), 1, depth, colour_type, 0, 0, 0)
    opacities = b"".join(number.to_bytes(2) for number in clear)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + samples)), chunk(b"IEND", b"")
    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    content = b"".join((begin, chunk(b"tRNS", opacities), *pixels))
    assert decode(content)[0, :, 0].tolist() == stored(content)[0, :, 0].tolist() == wanted
    # With a wrong checksum they do not count.
    opaque = b"".join((begin, *pixels))
    damaged = b"".join((begin, chunk(b"tRNS", opacities)[:-1] + b"?", *pixels))
    assert decode(damaged).tolist() == decode(opaque).tolist() == stored(opaque).tolist()
    assert stored(opaque + chunk(b"tRNS", opacities)).tolist() == decode(opaque).tolist()
    for parts in (
      (chunk(b"tRNS", opacities + opacities), *pixels),
      (chunk(b"tRNS", opacities[:-1]), *pixels),
      (chunk(b"tRNS", b""), *pixels),
      (pixels[0], chunk(b"tRNS", opacities), pixels[1]),
    ):
      odd = b"".join((begin, *parts))
      assert refusal(odd) == self.ODD_OPACITIES
      with pytest.raises(faults.FaultError):
        stored(odd)

  @pytest.mark.parametrize("size", [0, 7, 8])
  def test_png_whose_animation_is_cut_short(self, size):
    content = encode(PICTURE, "PNG")
    odd = content[:33] + chunk(b"acTL", bytes(size)) + content[33:]
    if size == 8:
      assert decode(odd).shape == stored(odd).shape == (20, 30, 3)
    else:
      assert refusal(odd) == f"a PNG whose animation is cut short; {ACCEPTED}"
      with pytest.raises(faults.FaultError):
        stored(odd)

  @pytest.mark.parametrize("default_image", [False, True])
  def test_png_of_several_pictures(self, default_image):
    options = {"save_all": True, "default_image": default_image}
    content = encode(PICTURE, "PNG", append_images=[PICTURE.rotate(180)] * 2, **options)
    words = f"{2 if default_image else 3} pictures in one file; accepted: one still picture"
    assert refusal(content) == words
    with pytest.raises(faults.FaultError, match=words):
      stored(content)

  @pytest.mark.parametrize(
    "order",
    [
      pytest.param("0 IDAT", id="of no picture"),
      pytest.param("1 IDAT", id="of one"),
      pytest.param("1 2 IDAT", id="the first counts"),
      pytest.param("IDAT 2", id="behind the pixels"),
    ],
  )
  def test_png_that_is_one_picture_by_its_first_announcement(self, order):
    content = encode(PICTURE, "PNG")
    end = content.index(b"IEND") - 4
    parts = {"IDAT": content[33:end]}
    parts |= {str(number): chunk(b"acTL", struct.pack(">II", number, 0)) for number in range(3)}
    odd = content[:33] + b"".join(parts[name] for name in order.split()) + content[end:]
    assert decode(odd).tolist() == stored(odd).tolist() == decode(content).tolist()

  @pytest.mark.parametrize("mode", ["P", "RGB"])
  @pytest.mark.parametrize("width", [1, 2, 3, 4])
  def test_bmp_that_lacks_its_last_byte(self, mode, width):
    # Of rows that are padded to four bytes.
    content = encode(voc_files.picture(3, width).convert(mode), "BMP")
    assert decode(content).tolist() == stored(content).tolist()
    assert refusal(content[:-1]) == f"a BMP that is cut short; {ACCEPTED}"

  def test_bmp_that_is_cut_short_and_as_large_as_is_accepted(self):
    bmp = bytearray(encode(PICTURE, "BMP"))
    bmp[18:26] = struct.pack("<ii", 10**4, 10**4)
    assert refusal(bytes(bmp)) == f"a BMP that is cut short; {ACCEPTED}"

  def test_bmp_that_names_colours_without_a_palette(self):
    bmp = bytearray(encode(PICTURE, "BMP"))
    bmp[46:50] = struct.pack("<I", 65537)
    assert decode(bytes(bmp)).tolist() == stored(bytes(bmp)).tolist()

  @pytest.mark.parametrize("lacks", ["height", "width", "pixels"])
  def test_gif_that_shows_nothing(self, lacks):
    content = bytearray(encode(PICTURE.quantize(16), "GIF"))
    at = content.rindex(b",\0\0\0\0\x1e\0\x14\0")
    if lacks == "pixels":
      content[at + 11 :] = b"\0;"
    else:
      side = at + (5 if lacks == "width" else 7)
      content[side : side + 2] = b"\0\0"
    message = f"a GIF that is cut short or shows nothing; {ACCEPTED}"
    assert refusal(bytes(content)) == message

  def test_bmp_with_a_header_of_no_kind(self):
    bmp = bytearray(encode(PICTURE, "BMP"))
    bmp[10:14], bmp[14:18] = struct.pack("<I", 54 + 32), struct.pack("<I", 72)
    odd = bytes(bmp[:54]) + bytes(32) + bytes(bmp[54:])
    assert refusal(odd) == (
      "a BMP with a header of 72 bytes; accepted: 40, 52, 56, 64, 108, 124 bytes"
    )
    with pytest.raises(faults.FaultError):
      stored(odd)

  def test_opacities_without_a_palette(self):
    content = encode(PICTURE, "PNG", transparency=(0, 0, 0))
    assert decode(content).tolist() == stored(content).tolist()

  @pytest.mark.parametrize(("marker", "name"), [(0xE0, b"JFIF"), (0xEE, b"Adobe")])
  def test_jpeg_whose_segment_ends_before_its_version(self, marker, name):
    content = encode(PICTURE, "JPEG")

    def with_segment(payload: bytes) -> bytes:
      segment = bytes([0xFF, marker]) + struct.pack(">H", 2 + len(payload)) + payload
      return content[:2] + segment + content[2:]

    whole, odd = with_segment(name.ljust(7, b"\0")), with_segment(name.ljust(6, b"\0"))
    assert decode(whole).shape == stored(whole).shape == (20, 30, 3)
    assert refusal(odd) == f"a JPEG whose JFIF or Adobe segment is cut short; {ACCEPTED}"
    with pytest.raises(faults.FaultError, match="does not begin like one"):
      stored(odd)

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
