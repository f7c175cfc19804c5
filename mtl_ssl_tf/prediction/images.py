"""Turns a batch of image files into journal records, drawn images and annotation files."""

import contextlib
import dataclasses
import pathlib
import stat
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf import files
from mtl_ssl_tf.data.sources import image_files
from mtl_ssl_tf.prediction import image_detections, voc_xml
from mtl_ssl_tf.serving import served_detector
from mtl_ssl_tf.visualization import draw

_JPEG_SUFFIXES = (".jpg", ".jpeg")
_JPEG_QUALITY = 92


@dataclasses.dataclass(frozen=True, slots=True)
class ImagePredictor:
  """Detects objects in batches of images and writes their results.

  Attributes:
    detector: does the work.
    folder: that the names of files are relative to.
    score_threshold: detections below it are left out.
    draw_threshold: the same for drawn images; None is `score_threshold`.
    drawn_dir: folder for drawn images; None draws none.
    voc_dir: folder for annotations; None writes none.
  """

  detector: served_detector.ServedDetector
  folder: pathlib.Path
  score_threshold: float
  draw_threshold: float | None = None
  drawn_dir: pathlib.Path | None = None
  voc_dir: pathlib.Path | None = None

  def __call__(self, names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the record of each file; writes drawn images and annotations.

    A record has `file`, and either `height`, `width` (of the upright image) and `detections` as
    `Detections.coco_rows`, or `failure`, the reason.

    Args:
      names: of the files; their images go through the detector together, whatever their sizes.

    Raises:
      OSError: a result cannot be written.
    """
    images, failures = {}, {}
    for name in names:
      try:
        images[name] = self._read(name)
      except (OSError, ValueError) as error:
        failures[name] = str(error).removeprefix(f"{name}: image: ")
    found = image_detections.detect_each(
      self.detector.detect_encoded, [image.encoded for image in images.values()]
    )
    records = {}
    for (name, image), detections in zip(images.items(), found, strict=True):
      if isinstance(detections, str):
        failures[name] = detections
      else:
        shown = detections.at_least(self.score_threshold)
        drawn = shown
        if self.draw_threshold is not None:
          drawn = detections.at_least(self.draw_threshold)
        self._write(name, image, shown, drawn)
        records[name] = {
          "file": name,
          "height": image.height,
          "width": image.width,
          "detections": shown.coco_rows(),
        }
    return [records.get(name) or {"file": name, "failure": failures[name]} for name in names]

  def _read(self, name: str) -> image_files.StoredImage:
    """Returns the image exactly as training reads it, before resizing."""
    problem = voc_xml.name_problem(name) if self.voc_dir else None
    if problem:
      raise ValueError(problem)
    path = self.folder / name
    if not stat.S_ISREG(path.stat().st_mode):  # Reading a pipe might never end.
      raise ValueError("neither a file nor a link to one")
    return image_files.prepare_image(path.read_bytes(), name)

  def _write(
    self,
    name: str,
    image: image_files.StoredImage,
    shown: image_detections.Detections,
    drawn: image_detections.Detections,
  ) -> None:
    names = self.detector.class_names
    if self.voc_dir:
      content = voc_xml.annotation(name, image.height, image.width, shown, names)
      with _writing(self.voc_dir / voc_name(name)) as file:
        file.write(content)
    if self.drawn_dir:
      picture = draw.draw_boxes(pixels(image), drawn.boxes_px, drawn.class_ids, names, drawn.scores)
      with _writing(self.drawn_dir / drawn_name(name)) as file:
        Image.fromarray(picture).save(file, "JPEG", quality=_JPEG_QUALITY)


def _writing(path: pathlib.Path) -> contextlib.AbstractContextManager[BinaryIO]:
  """Opens a file of the results, whose folder may have to be made."""
  path.parent.mkdir(parents=True, exist_ok=True)
  return files.writing(path, only_writer=True)


def pixels(image: image_files.StoredImage) -> np.ndarray:
  """Returns pixels uint8 [height, width, 3], RGB, as the detector decodes them."""
  return tf.io.decode_image(image.encoded, channels=3).numpy()


def drawn_name(name: str) -> str:
  """Returns the name of the drawn image: JPEGs keep theirs."""
  return name if name.lower().endswith(_JPEG_SUFFIXES) else f"{name}.jpg"


def voc_name(name: str) -> str:
  """Returns the name of the annotation, that of the image, as labelling tools look for it."""
  return pathlib.PurePosixPath(name).with_suffix(".xml").as_posix()
