"""Tiny PASCAL VOC data sets for tests, each made from what the test states."""

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image


def picture(height: int, width: int) -> Image.Image:
  """A smooth RGB picture, so that JPEG hardly changes it; all four corners differ."""
  y, x = np.mgrid[:height, :width]
  channels = [50 + 150 * x / width, 50 + 150 * y / height, 200 - 150 * x / width]
  return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def image_bytes(image: Image.Image, image_format: str = "JPEG", **options: Any) -> bytes:
  """The content of an image file."""
  content = io.BytesIO()
  image.save(content, image_format, **options)
  return content.getvalue()


def exif(orientation: int) -> Image.Exif:
  """EXIF data that hold nothing but an orientation."""
  data = Image.Exif()
  data[0x0112] = orientation
  return data


def object_xml(
  name: str | None = "cat",
  box: Mapping[str, Any] | None = None,
  **fields: Any,
) -> str:
  """An `object` element; `box` changes coordinates of xmin 2, ymin 4, xmax 12, ymax 14."""
  coordinates = {"xmin": 2, "ymin": 4, "xmax": 12, "ymax": 14} | dict(box or {})
  parts = [] if name is None else [f"<name>{name}</name>"]
  parts += [f"<{key}>{value}</{key}>" for key, value in fields.items()]
  inner = "".join(
    f"<{key}>{value}</{key}>" for key, value in coordinates.items() if value is not None
  )
  return f"<object>{''.join(parts)}<bndbox>{inner}</bndbox></object>"


def annotation_xml(
  objects: Sequence[str] = (),
  size: tuple[Any, Any] | None = (20, 40),
  filename: str | None = None,
) -> bytes:
  """An annotation; `size` is height and width."""
  parts = [] if filename is None else [f"<filename>{filename}</filename>"]
  if size is not None:
    parts.append(f"<size><width>{size[1]}</width><height>{size[0]}</height></size>")
  return f"<annotation>{''.join(parts)}{''.join(objects)}</annotation>".encode()


def write(root: pathlib.Path, files: Mapping[str, bytes], split: str = "train") -> pathlib.Path:
  """A data set of annotations and images, by their names, its split listing all annotations.

  An annotation `a.xml` without an image in `files` gets a picture of 20 x 40, height by width.
  """
  for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
    (root / folder).mkdir(parents=True, exist_ok=True)
  stems = [name.removesuffix(".xml") for name in files if name.endswith(".xml")]
  images = {pathlib.PurePath(name).stem for name in files if not name.endswith(".xml")}
  for name, content in files.items():
    folder = "Annotations" if name.endswith(".xml") else "JPEGImages"
    (root / folder / name).write_bytes(content)
  for stem in stems:
    if stem not in images:
      (root / "JPEGImages" / f"{stem}.jpg").write_bytes(image_bytes(picture(20, 40)))
  lines = "".join(f"{stem}\n" for stem in stems)
  (root / "ImageSets" / "Main" / f"{split}.txt").write_text(lines)
  return root
