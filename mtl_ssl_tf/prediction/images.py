"""Turns a batch of image files into journal records, drawn images and annotation files."""

import dataclasses
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf import texts, written_files
from mtl_ssl_tf.data.sources import image_files, safe_files
from mtl_ssl_tf.prediction import image_detections, voc_xml
from mtl_ssl_tf.reading import regular_files
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
    score_threshold: detections below it, or below that of their class, are left out.
    written: the folder of the results; None where no files are written.
    draw_threshold: another smallest score for drawn images; None is `score_threshold`.
    drawn_dir: folder in there for drawn images; None draws none.
    voc_dir: folder in there for annotations; None writes none.
  """

  detector: served_detector.ServedDetector
  folder: pathlib.Path
  score_threshold: float | np.ndarray
  written: written_files.WrittenFiles | None = None
  draw_threshold: float | None = None
  drawn_dir: str | None = None
  voc_dir: str | None = None

  def __call__(self, names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the record of each file; writes drawn images and annotations.

    A record has `file`, and `height`, `width` (of the upright image) and `detections` as
    `Detections.coco_rows`, or `failure`, the reason. It has both where a file of its results cannot
    be written; `is_unwritten` then says so.

    Args:
      names: of the files; their images go through the detector together, whatever their sizes.

    Raises:
      OSError: no result can be written, say as the disk is full.
    """
    images, failures = {}, {}
    for name in names:
      try:
        images[name] = self._read(name)
      except OSError as error:
        failures[name] = f"cannot be read ({error.strerror})"
      except ValueError as error:
        failures[name] = str(error).removeprefix(f"{texts.escaped(name)}: image: ")
    found = image_detections.detect_each(
      self.detector.detect_encoded, [image.encoded for image in images.values()]
    )
    records = {}
    if self.written is not None:
      results = [get(name) for name in images for get in (self._annotation, self._drawing)]
      self.written.claim(filter(None, results))
    for (name, image), detections in zip(images.items(), found, strict=True):
      if isinstance(detections, str):
        failures[name] = detections
      else:
        shown = detections.at_least(self.score_threshold)
        drawn = shown
        if self.draw_threshold is not None:
          drawn = detections.at_least(self.draw_threshold)
        records[name] = {
          "file": name,
          "height": image.height,
          "width": image.width,
          "detections": shown.coco_rows(),
        }
        if unwritten := self._write(name, image, shown, drawn):
          records[name] |= {"failure": "; ".join(unwritten), "is_unwritten": True}
    return [records.get(name) or {"file": name, "failure": failures[name]} for name in names]

  def _read(self, name: str) -> image_files.StoredImage:
    """Returns the image exactly as training reads it, before resizing."""
    problem = None if self.voc_dir is None else voc_xml.name_problem(name)
    if problem:
      raise ValueError(problem)
    content = regular_files.read_bytes(self.folder / name, safe_files.MAX_BYTES)
    return image_files.prepare_image(content, name)

  def _write(
    self,
    name: str,
    image: image_files.StoredImage,
    shown: image_detections.Detections,
    drawn: image_detections.Detections,
  ) -> list[str]:
    """Writes the files of an image's results; returns the reasons of those that cannot be."""
    names = self.detector.class_names
    contents = {
      self._annotation(name): lambda: voc_xml.annotation(
        name, image.height, image.width, shown, names
      ),
      self._drawing(name): lambda: _jpeg(
        draw.draw_boxes(pixels(image), drawn.boxes_px, drawn.class_ids, names, drawn.scores)
      ),
    }
    failures = []
    for result, content in contents.items():
      try:
        if result is not None:
          with self.written.writing(result) as file:
            file.write(content())
      except OSError as error:
        failures.append(f"{result} cannot be written ({written_files.reason(error)})")
    return failures

  def _annotation(self, name: str) -> str | None:
    return None if self.voc_dir is None else f"{self.voc_dir}/{voc_name(name)}"

  def _drawing(self, name: str) -> str | None:
    return None if self.drawn_dir is None else f"{self.drawn_dir}/{drawn_name(name)}"


def _jpeg(image: np.ndarray) -> bytes:
  content = io.BytesIO()
  Image.fromarray(image).save(content, "JPEG", quality=_JPEG_QUALITY)
  return content.getvalue()


def pixels(image: image_files.StoredImage) -> np.ndarray:
  """Returns pixels uint8 [height, width, 3], RGB, as the detector decodes them."""
  return tf.io.decode_image(image.encoded, channels=3).numpy()


def drawn_name(name: str) -> str:
  """Returns the name of the drawn image: JPEGs keep theirs."""
  return name if name.lower().endswith(_JPEG_SUFFIXES) else f"{name}.jpg"


def voc_name(name: str) -> str:
  """Returns the name of the annotation, that of the image, as labelling tools look for it."""
  return pathlib.PurePosixPath(name).with_suffix(".xml").as_posix()
