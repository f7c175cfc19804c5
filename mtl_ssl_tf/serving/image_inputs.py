"""Images as programs have them: arrays, Pillow's, or paths of files, to be detected in."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data.sources import image_files, safe_files
from mtl_ssl_tf.reading import regular_files

ACCEPTED = (
  "NumPy uint8 [height, width, 3] in the order RGB, or grey [height, width], a Pillow image, or the"
  " path of an image file"
)


@dataclasses.dataclass(frozen=True)
class ImageInput:
  """An image in memory, or a file that is read when its turn comes.

  Attributes:
    where: what messages call it.
    array: uint8 [height, width, 3], RGB; None for a file.
    path: of the file; empty for an image in memory.
  """

  where: str
  array: np.ndarray | None = None
  path: str = ""

  def stored(self) -> image_files.StoredImage:
    """The file as training reads it: upright, 8-bit RGB.

    Raises:
      ValueError: it cannot be read, or is no sound image.
    """
    path = pathlib.Path(self.path)
    if path.is_dir():
      raise ValueError(
        f"{self.where} {self.path!r} is a folder; accepted: image files (mtl-ssl predict takes"
        " folders)"
      )
    try:
      content = regular_files.read_bytes(path, safe_files.MAX_BYTES)
    except OSError as error:
      raise ValueError(
        f"{self.where} {self.path!r} cannot be read ({error.strerror}); accepted: an image file"
      ) from error
    return image_files.prepare_image(content, self.path)

  def pixels(self) -> np.ndarray:
    """The image, uint8 [height, width, 3], RGB.

    Raises:
      ValueError: as `stored`.
    """
    if self.array is not None:
      return self.array
    return tf.io.decode_image(self.stored().encoded, channels=3).numpy()


def of(image: Any, where: str) -> ImageInput:
  """The image in one form, whichever of the accepted ones it has.

  Args:
    image: as `ACCEPTED` says.
    where: what messages call it.

  Raises:
    ValueError: it is none, or could be meant in more than one way.
  """
  if isinstance(image, str | os.PathLike):
    return ImageInput(where, path=os.fspath(image))
  if isinstance(image, Image.Image):
    return ImageInput(where, np.asarray(_rgb_of_pillow(image, where)))
  if isinstance(image, np.ndarray):
    return ImageInput(where, _rgb_of_array(image, where))
  raise ValueError(f"{where} is a {type(image).__name__}; accepted: {ACCEPTED}")


def _rgb_of_pillow(image: Image.Image, where: str) -> Image.Image:
  if image.mode in ("I", "F"):
    raise ValueError(f"{where} has the mode {image.mode!r}; accepted: 8 or 16 bits a channel")
  if not (image.width and image.height):
    raise ValueError(f"{where} has the size {image.size}; accepted: sides of at least 1")
  try:
    return image_files.upright_rgb(image)
  except OSError as error:  # Pillow reads a file when its pixels are asked for.
    raise ValueError(f"{where} cannot be read ({error}); accepted: a whole image") from error


def _rgb_of_array(image: np.ndarray, where: str) -> np.ndarray:
  if image.dtype != np.uint8:
    hint = ""
    if np.issubdtype(image.dtype, np.floating):
      hint = "; of values 0 … 1, (255 * image).round().astype(np.uint8) makes that"
    raise ValueError(f"{where} is {image.dtype}; accepted: {ACCEPTED}{hint}")
  channels = image.shape[2] if image.ndim == 3 else None
  if image.ndim == 2 or channels == 1:
    image = np.repeat(np.reshape(image, (*image.shape[:2], 1)), 3, axis=2)
  elif channels != 3:
    hint = "; image[..., :3] leaves out transparency" if channels == 4 else ""
    raise ValueError(f"{where} has the shape {list(image.shape)}; accepted: {ACCEPTED}{hint}")
  if not image.size:
    raise ValueError(f"{where} has the shape {list(image.shape)}; accepted: sides of at least 1")
  return image
