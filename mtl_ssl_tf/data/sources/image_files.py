"""Image files to the bytes that records store: sound, upright, RGB, 8 bits; JPEG or PNG.

A file that is all that already is stored byte for byte. Any other is decoded and encoded again: as
JPEG of quality 95 with full colour resolution if it was JPEG, else as PNG, which loses nothing.
Transparent parts become white. Of 16 bits the upper 8 are kept, as TensorFlow's decoder does: the
full range, not each image's own, so that brightness stays comparable.
"""

import dataclasses
import io
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.sources import image_cost, jpeg_segments, png_chunks, png_palette, whole_jpeg

MAX_PIXELS = image_cost.MAX_PIXELS
# Named because Pillow would otherwise also try formats that run interpreters (EPS).
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
_JPEG_FORMATS = ("JPEG", "MPO")  # MPO, as cameras write it: a JPEG with further views behind it.
_ACCEPTED = "a whole JPEG, PNG, BMP, TIFF, WebP or GIF image"
_UPRIGHT = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_EXIF = b"Exif\0\0"
_TIFF_HEADERS = (b"MM\0*", b"II*\0")
_RAW_EXIF = "Raw profile type exif"  # As ImageMagick writes it.
# Where a PNG states its orientation.
_PNG_ORIENTATIONS = (b"eXIf", _RAW_EXIF.encode(), b"XML:com.adobe.xmp")
PNG_BIT_DEPTH = 24  # Offset of the byte in the file: signature, chunk length, "IHDR", two sizes.


@dataclasses.dataclass(frozen=True, slots=True)
class StoredImage:
  """An image as a record stores it.

  Attributes:
    encoded: the bytes.
    format: "jpeg" or "png".
    height: of the upright image, in pixels.
    width: of the upright image, in pixels.
    orientation: the source's EXIF orientation, 1 … 8, already applied; 1 is upright.
    reencoded: whether the pixels were encoded again.
    repair: what was done to a JPEG as its file is, a name of `split_source.NOTES`; or nothing.
  """

  encoded: bytes
  format: str
  height: int
  width: int
  orientation: int
  reencoded: bool
  repair: str = ""


def prepare_image(content: bytes, file: str) -> StoredImage:
  """Checks an image file's content, to the last pixel, and converts it where necessary.

  JPEG is checked by `whole_jpeg`, PNG by TensorFlow's decoder, which training will use: Pillow
  accepts files (a PNG without its end, a JPEG whose tail is blank) that TensorFlow refuses, so that
  training would break off.

  Args:
    content: the bytes of the file.
    file: its name, for the error message.

  Raises:
    faults.FaultError: the image is empty, damaged, too large or of a kind that has no RGB picture.
  """

  def fault(value: str, accepted: str = _ACCEPTED) -> faults.FaultError:
    return faults.FaultError([faults.Fault(file, "image", value, accepted)])

  if not content:
    raise fault("the file is empty")
  problem = image_cost.problem(content)
  if problem is not None:
    raise fault(*problem)
  try:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
      if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
      if image.mode in ("I", "F"):
        raise fault("pixels of 32 bits, whose range is not defined", "8 or 16 bits a channel")
      num_frames = _num_frames(image, content)
      if num_frames > 1:
        raise fault(f"{num_frames} pictures in one file", "one still picture")
      if image.format in _JPEG_FORMATS:
        whole, repair = whole_jpeg.completed(content)
        if repair:
          with Image.open(io.BytesIO(whole), formats=_JPEG_FORMATS) as repaired:
            return dataclasses.replace(
              _convert(repaired, whole, repair == whole_jpeg.END_MARKER_ADDED), repair=repair
            )
      elif image.format == "PNG":
        if png_palette.has_odd_opacities(content):
          raise fault(png_palette.VALUE, png_palette.ACCEPTED)
        tf.io.decode_image(content, channels=3, expand_animations=False)
      return _convert(image, content)
  except faults.FaultError:
    raise
  except Image.DecompressionBombError:
    raise fault(f"more than {MAX_PIXELS} pixels", f"at most {MAX_PIXELS} pixels") from None
  except Image.UnidentifiedImageError as error:
    raise fault("the file does not begin like one") from error
  except jpeg_segments.DamageError as error:
    raise fault(f"damaged or truncated ({error})") from error
  except tf.errors.InvalidArgumentError as error:
    raise fault("damaged or truncated (TensorFlow cannot decode it)") from error
  except Exception as error:  # A decoder that reads damaged bytes may raise nearly anything.
    raise fault(f"damaged or truncated ({type(error).__name__}: {error})") from error


def upright_rgb(image: Image.Image) -> Image.Image:
  """The picture of an opened image, turned upright as EXIF says, in 8-bit RGB.

  Raises:
    OSError: the file that it is read from is damaged.
  """
  image.load()  # Pillow turns TIFF upright on loading and then forgets the orientation.
  return _turned(_rgb(image), _orientation(image))


def upright_box(
  box: tuple[float, float, float, float], orientation: int, height: int, width: int
) -> tuple[float, float, float, float]:
  """Returns a box in pixels of the raster after it was turned upright.

  Args:
    box: ymin, xmin, ymax, xmax in pixels of the raster as it is stored.
    orientation: EXIF orientation 5 … 8, the ones that exchange height and width.
    height: of the stored raster, pixels.
    width: of the stored raster, pixels.

  Returns:
    ymin, xmin, ymax, xmax in pixels of the upright image.
  """
  ymin, xmin, ymax, xmax = box
  if orientation in (7, 8):  # The stored right edge comes to lie at the top.
    top, bottom = width - xmax, width - xmin
  else:
    top, bottom = xmin, xmax
  if orientation in (6, 7):  # The stored bottom edge comes to lie at the left.
    left, right = height - ymax, height - ymin
  else:
    left, right = ymin, ymax
  return top, left, bottom, right


def stated_orientation(image: Image.Image, content: bytes | None = None) -> Any:
  """The orientation in the EXIF data of an opened image, whatever it is; 1 without any.

  Args:
    image: opened.
    content: the bytes of its file; None where they are unknown.
  """
  if (
    image.format == "PNG"
    and content is not None
    and not any(mark in content for mark in _PNG_ORIENTATIONS)
  ):
    return 1  # Pillow would decode all of it to know.
  try:
    if image.format == "PNG":
      image.load()  # They may stand behind the pixels.
    exif = image.info.get("exif")
    if exif is None and _RAW_EXIF in image.info:
      exif = bytes.fromhex("".join(image.info[_RAW_EXIF].split("\n")[3:]))
    if exif is not None and not _is_read(exif):
      return 1
    return image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # Reading damaged EXIF data may raise nearly anything.
    return 1


def _is_read(exif: bytes) -> bool:
  """Whether EXIF data begin as they must, and are not too costly; the server has the same rule."""
  while exif.startswith(_EXIF):  # As Pillow does.
    exif = exif[len(_EXIF) :]
  return exif.startswith(_TIFF_HEADERS) and image_cost.exif_problem(exif) is None


def _num_frames(image: Image.Image, content: bytes) -> int:
  """The number of pictures in a file, or 1 of formats whose first one is taken."""
  if image.format in ("MPO", "GIF"):
    return 1
  # Pillow would read all tags of each picture.
  if image.format == "TIFF":
    return image_cost.num_tiff_pictures(content)
  if image.format == "PNG":
    return png_chunks.num_pictures(content)  # By the server's rule.
  return getattr(image, "n_frames", 1)


def _convert(image: Image.Image, content: bytes, reencode: bool = False) -> StoredImage:
  """The image for the record, given the opened file and its bytes; encoded again if it must be."""
  if image.format == "TIFF":
    image.load()  # Pillow turns TIFF upright on loading and then forgets the orientation.
  orientation = _orientation(image, content)
  is_jpeg = image.format in _JPEG_FORMATS
  stored_format = "jpeg" if is_jpeg else "png"
  is_plain_png = image.format == "PNG" and content[PNG_BIT_DEPTH] == 8
  if (
    (is_jpeg or is_plain_png)
    and image.mode == "RGB"
    and "transparency" not in image.info
    and orientation == 1
    and not reencode
  ):
    return StoredImage(content, stored_format, image.height, image.width, 1, False)
  has_clear_colour = image.format == "PNG" and png_palette.has_clear_colour(content)
  picture = _turned(_rgb_of_png(content) if has_clear_colour else _rgb(image), orientation)
  picture.info.clear()  # Else the encoders copy colour profiles and the like.
  encoded = io.BytesIO()
  if is_jpeg:
    picture.save(encoded, "JPEG", quality=95, subsampling=0)
  else:
    picture.save(encoded, "PNG")
  return StoredImage(
    encoded.getvalue(),
    stored_format,
    picture.height,
    picture.width,
    orientation,
    reencoded=True,
  )


def _orientation(image: Image.Image, content: bytes | None = None) -> int:
  """EXIF orientation, 1 … 8; see `stated_orientation`."""
  orientation = stated_orientation(image, content)
  return orientation if orientation in _UPRIGHT else 1  # Some tools write 0.


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
  return picture if orientation == 1 else picture.transpose(_UPRIGHT[orientation])


def _rgb(image: Image.Image) -> Image.Image:
  """The picture in 8-bit RGB."""
  if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255.
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
  if image.has_transparency_data:
    return _on_white(image.convert("RGBA"))
  return image.convert("RGB")


def _rgb_of_png(content: bytes) -> Image.Image:
  """The picture of a PNG with a transparent colour, which Pillow knows of 8 bits alone."""
  pixels = np.array(tf.io.decode_png(content, channels=4))
  # Of few bits, the alpha that is made up where no chunk states any is small, and 0 is real.
  pixels[..., 3] = np.where(pixels[..., 3] > 0, 255, 0)
  return _on_white(Image.fromarray(pixels))


def _on_white(picture: Image.Image) -> Image.Image:
  white = Image.new("RGBA", picture.size, "white")
  return Image.alpha_composite(white, picture).convert("RGB")
