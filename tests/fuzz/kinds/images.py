"""Image files as converters store them, and what Pillow alone decodes."""

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data.sources import image_files, jpeg_segments, whole_jpeg
from tests.data import voc_files
from tests.fuzz import mutations, outcomes
from tests.fuzz.kinds import base

_FILE = "image"
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Grey levels, mean over all pixels, of a JPEG that was encoded again.
_MAX_MEAN_DIFFERENCE = 6.0


def seed_images() -> list[bytes]:
  """A few small files of each format."""
  picture = voc_files.picture(20, 40)
  grey, clear = picture.convert("L"), picture.convert("RGBA")
  clear.putalpha(Image.linear_gradient("L").resize(picture.size))
  palette = picture.quantize(16)
  deep = Image.fromarray((np.asarray(grey).astype(np.uint16) << 8) + 7)

  def save(image: Image.Image, image_format: str, **options) -> bytes:
    return voc_files.image_bytes(image, image_format, **options)

  return [
    save(picture, "JPEG"),
    save(picture, "JPEG", progressive=True),
    save(picture, "JPEG", subsampling=0, restart_marker_blocks=1),
    save(grey, "JPEG", optimize=True),
    save(picture.convert("CMYK"), "JPEG"),
    *(save(picture, "JPEG", exif=voc_files.exif(orientation)) for orientation in (3, 6)),
    save(picture, "PNG"),
    save(clear, "PNG"),
    save(palette, "PNG", transparency=3),
    save(grey, "PNG"),
    save(grey.convert("1"), "PNG"),
    save(deep, "PNG"),
    save(picture, "PNG", exif=voc_files.exif(8)),
    save(picture, "BMP"),
    save(palette, "BMP"),
    save(palette, "GIF"),
    save(palette, "GIF", transparency=3),
    save(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]),
    save(picture, "TIFF"),
    save(picture, "TIFF", compression="tiff_lzw"),
    save(picture, "WEBP"),
    save(clear, "WEBP", lossless=True),
  ]


def mutate_image(rng: random.Random, seeds: list[bytes]) -> bytes:
  """A damaged image; of JPEG and PNG often with parts that are whole in themselves."""
  data = rng.choice(seeds)
  if rng.random() < 0.5:
    if data.startswith(_PNG):
      return _join_png(_mutate_parts(rng, _png_chunks(data), _odd_png_chunk))
    if data.startswith(_JPEG):
      return b"\xff\xd8" + b"".join(_mutate_parts(rng, _jpeg_segments(data), _odd_jpeg_segment))
  return mutations.mutate(rng, seeds, (_PNG, _JPEG, b"\xff\xd9", b"\xff\xda", b"Exif\0\0", b"IEND"))


class Cases(base.Kind):
  """See above."""

  name = "images"
  about = "image files, as the converters store them"

  def __init__(self, prepared, scratch):
    super().__init__(prepared, scratch)
    self._seeds = seed_images()

  def seeds(self) -> list[base.Files]:
    return [{_FILE: content} for content in self._seeds]

  def make(self, rng: random.Random) -> base.Files:
    return {_FILE: mutate_image(rng, self._seeds)}

  def check(self, files: base.Files) -> bool:
    stored = image_files.prepare_image(files[_FILE], _FILE)
    with base.untimed():
      check_one_picture(files[_FILE])
      decoded = exact_pixels(stored.encoded, stored.format)
      outcomes.check_equal(decoded.shape, (stored.height, stored.width, 3), "shape")
      check_pixels(decoded, stored.encoded)
      if stored.reencoded:
        is_ended = stored.repair == whole_jpeg.END_MARKER_ADDED
        content = files[_FILE] + (jpeg_segments.END_MARKER if is_ended else b"")
        check_pixels(decoded, content, encoded_again=stored.format == "jpeg")
    return True


def exact_pixels(content: bytes, image_format: str) -> np.ndarray:
  """What TensorFlow decodes, uint8 [h, w, 3]: the same as Pillow, to the last bit.

  By default TensorFlow takes a faster transform for JPEG, whose pixels differ by a few levels, and
  by any number in damaged files.
  """
  if image_format == "jpeg":
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE").numpy()
  return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


def check_pixels(decoded: np.ndarray, content: bytes, encoded_again: bool = False) -> None:
  """Compares pixels with those that Pillow decodes.

  Args:
    decoded: uint8 [h, w, 3].
    content: of the image file.
    encoded_again: whether the pixels went through another JPEG.
  """
  plain = plain_pixels(content)
  if plain is None:
    return
  outcomes.check_equal(decoded.shape, plain.shape, "shape")
  if np.array_equal(decoded, plain):  # Differences of millions of pixels take their time.
    return
  difference = np.abs(np.subtract(decoded, plain, dtype=np.int16))
  if encoded_again:
    mean = difference.mean()
    outcomes.check(mean <= _MAX_MEAN_DIFFERENCE, f"pixels differ by {mean:.1f} in the mean")
  else:
    outcomes.check(not difference.any(), f"pixels differ by up to {difference.max()}")


def check_one_picture(content: bytes) -> None:
  """Raises DisagreementError where Pillow finds several pictures in a PNG.

  Of two announcements of them it uses none.
  """
  if content.count(b"acTL") != 1:
    return
  try:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
      # Pillow counts the pixels besides, if they are no part of the animation.
      num_pictures = image.n_frames - image.default_image
  except Exception:  # Of broken chunks that need not be read, it may raise nearly anything.
    return
  outcomes.check(num_pictures <= 1, f"a PNG of {num_pictures} pictures")


def plain_pixels(content: bytes) -> np.ndarray | None:
  """The picture that Pillow decodes: upright, RGB, on white, of 16 bits the upper 8.

  None where Pillow trips over a chunk that it need not read, where there are several EXIF chunks,
  of which it takes the one or the other, and where a colour of other than 8 bits is transparent,
  which it does not know.

  Raises:
    outcomes.DisagreementError: it refuses the image.
  """
  if content.count(b"eXIf") > 1 or _has_clear_colour(content):
    return None
  try:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
      # What comes behind the pixels of a PNG does not count, and loading would read it.
      orientation = 1 if image.format == "TIFF" else plain_orientation(content)
      is_clear = "A" in image.getbands() or "transparency" in image.info
      image.load()
      if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
      elif is_clear:
        clear = image.convert("RGBA")
        image = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        image.alpha_composite(clear)
      return turned(np.asarray(image.convert("RGB")), orientation)
  except (struct.error, SyntaxError):
    return None
  except Exception as error:
    raise outcomes.DisagreementError(f"read, though Pillow refuses it: {error!r}") from error


def _has_clear_colour(content: bytes) -> bool:
  """Whether a PNG without a palette, of other than 8 bits, states a transparent colour, or two."""
  num_stated = content.count(b"tRNS") if content.startswith(_PNG) else 0
  depth, colour_type = content[24:26] if len(content) > 25 else (8, 3)
  return colour_type in (0, 2) and num_stated > (depth == 8)


def plain_orientation(content: bytes) -> int:
  """EXIF's orientation, 1 where it is broken or there is none."""
  try:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
      exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
      if exif and not exif.startswith((b"MM\0*", b"II*\0")):
        return 1  # Pillow takes a few other beginnings for TIFF's, too.
      orientation = image.getexif().get(0x0112, 1)
  except Exception:  # Broken EXIF data may raise nearly anything.
    return 1
  return orientation if orientation in range(1, 9) else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Pixels [h, w, 3] as they are to be shown."""
  if orientation >= 5:
    pixels = pixels.transpose(1, 0, 2)
  if orientation in (3, 4, 7, 8):
    pixels = pixels[::-1]
  return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def plain_size(content: bytes) -> tuple[int, int]:
  """Height and width of the raster, as Pillow has them."""
  with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
    return image.height, image.width


def _mutate_parts(
  rng: random.Random, parts: list[bytes], make_odd: Callable[[random.Random, bytes], bytes]
) -> list[bytes]:
  """Leaves out, repeats, exchanges and changes parts of a file."""
  for _ in range(rng.randint(1, 3)):
    if not parts:
      break
    place, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    choice = rng.randrange(6)
    if choice == 0:
      del parts[place]
    elif choice == 1:
      parts.insert(other, parts[place])
    elif choice == 2:
      parts[place], parts[other] = parts[other], parts[place]
    else:
      parts[place] = make_odd(rng, parts[place])
  return parts


def _png_chunks(data: bytes) -> list[bytes]:
  """Names and contents of the chunks."""
  chunks, at = [], len(_PNG)
  while at < len(data):
    (size,) = struct.unpack_from(">I", data, at)
    chunks.append(data[at + 4 : at + 8 + size])
    at += 12 + size
  return chunks


def _join_png(chunks: list[bytes]) -> bytes:
  """A file of chunks, whose sizes and checksums are right."""
  return _PNG + b"".join(
    struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    for chunk in chunks
    if len(chunk) >= 4
  )


def _odd_png_chunk(rng: random.Random, chunk: bytes) -> bytes:
  if chunk.startswith(b"IHDR") and len(chunk) == 17 and rng.random() < 0.5:
    fields = list(struct.unpack(">IIBBBBB", chunk[4:17]))
    place = rng.randrange(7)
    sizes = (0, 1, 19, 21, 41, 1000, 9999, 65535, 2**31 - 1, 2**31, 2**32 - 1)
    fields[place] = rng.choice(sizes) if place < 2 else rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return b"IHDR" + struct.pack(">IIBBBBB", *fields)
  if chunk.startswith(b"IDAT") and rng.random() < 0.5:
    try:
      raw = zlib.decompress(chunk[4:])
    except zlib.error:
      return chunk
    return b"IDAT" + zlib.compress(mutations.mutate(rng, [raw]))
  if rng.random() < 0.5:
    return rng.choice(
      (
        b"tRNS" + rng.randbytes(rng.choice((1, 2, 6, 16))),
        b"PLTE" + rng.randbytes(rng.choice((3, 48, 768, 5))),
        b"gAMA" + struct.pack(">I", rng.choice((0, 45455, 2**31))),
        b"eXIf" + voc_files.exif(rng.randrange(10)).tobytes()[6:],
        b"tEXtkey\0" + rng.randbytes(20),
        b"iCCPx\0\0" + zlib.compress(rng.randbytes(50)),
        b"acTL" + struct.pack(">II", rng.choice((0, 1, 2, 2**31)), 0),
        b"fdAT" + rng.randbytes(20),
        b"ABCD" + rng.randbytes(3),
      )
    )
  return chunk[:4] + mutations.mutate(rng, [chunk[4:]])


def _jpeg_segments(data: bytes) -> list[bytes]:
  """The segments after the start, each with its marker; the last is the scan with all behind it."""
  segments, at = [], 2
  while at + 4 <= len(data) and data[at + 1] != 0xDA:
    (size,) = struct.unpack_from(">H", data, at + 2)
    segments.append(data[at : at + 2 + size])
    at += 2 + size
  return [*segments, data[at:]]


def _odd_jpeg_segment(rng: random.Random, segment: bytes) -> bytes:
  choice = rng.randrange(5)
  if segment[1:2] in (b"\xc0", b"\xc1", b"\xc2") and choice < 3:
    fields = bytearray(segment)
    place = rng.choice((4, 5, 6, 7, 8, 9, 11, 12))  # Bits, height, width, components, samplings.
    if place < len(fields):
      fields[place] = rng.choice((0, 1, 2, 3, 4, 8, 12, 17, 34, 255))
    return bytes(fields)
  if choice == 0:
    content = rng.choice(
      (
        b"Exif\0\0" + voc_files.exif(rng.randrange(10)).tobytes()[6:],
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
        b"Adobe\0d\0\0\0\0" + bytes([rng.randrange(4)]),
        b"JFIF\0\1\1\0\0\1\0\1\0\0",
        rng.randbytes(30),
      )
    )
    marker = rng.choice((0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xDB, 0xC4, 0xDD))
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
  if choice == 1 and segment[1:2] == b"\xda":  # Restarts, fill bytes and markers in the scan.
    words = (b"\xff\xd0", b"\xff\xff", b"\xff\x00", b"\xff\xd9", b"\xff\xd8", b"\x00" * 40)
    return mutations.mutate(rng, [segment], words)
  content = mutations.mutate(rng, [segment[4:]])
  return segment[:2] + struct.pack(">H", (len(content) + 2) % 65536) + content
