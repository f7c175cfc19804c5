"""Small pictures of encoded images, for pages."""

import io

from PIL import Image

from mtl_ssl_tf.data.sources import image_cost, image_files

_MAX_SCALE = 4.0


def decode(encoded: bytes | None, side_px: int) -> tuple[Image.Image, float] | None:
  """Returns an image at the size that it is shown in, RGB, and the factor to that size.

  Args:
    encoded: JPEG or PNG; other bytes, as damaged records hold them, are no picture.
    side_px: the longer side; small images are enlarged fourfold at most.

  Returns:
    None where there is no picture to be had.
  """
  if not encoded or image_cost.problem(encoded) is not None:
    return None
  try:
    with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
      height, width = image.height, image.width
      if height * width > image_files.MAX_PIXELS:
        return None
      image.draft("RGB", (side_px, side_px))  # Decodes a large JPEG at a fraction of its size.
      picture = image.convert("RGB")
  except Exception:  # A reader of damaged bytes may raise nearly anything; faults are for others.
    return None
  scale = min(side_px / max(height, width), _MAX_SCALE)
  size = max(round(width * scale), 1), max(round(height * scale), 1)
  return picture.resize(size, Image.Resampling.BILINEAR), scale


def decode_part(
  encoded: bytes | None, part_px: tuple[int, int, int, int], side_px: int
) -> tuple[Image.Image, float] | None:
  """Returns a part of an image at the size that it is shown in, RGB, and the factor to that size.

  Args:
    encoded: as in `decode`.
    part_px: left, top, right and bottom, whole pixels inside the image.
    side_px: the longer side; small parts are enlarged fourfold at most.

  Returns:
    None where there is no picture to be had.
  """
  if not encoded or image_cost.problem(encoded) is not None:
    return None
  try:
    with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
      if image.height * image.width > image_files.MAX_PIXELS:
        return None
      picture = image.convert("RGB").crop(part_px)
  except Exception:  # A reader of damaged bytes may raise nearly anything; faults are for others.
    return None
  scale = min(side_px / max(picture.size), _MAX_SCALE)
  size = tuple(max(round(side * scale), 1) for side in picture.size)
  return picture.resize(size, Image.Resampling.BILINEAR), scale


def encode(picture: Image.Image, quality: int = 85) -> bytes:
  """Returns a JPEG in which lines stay sharp."""
  content = io.BytesIO()
  picture.save(content, "JPEG", quality=quality, subsampling=0)
  return content.getvalue()
