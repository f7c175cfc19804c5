"""Images of the records with given and detected boxes, as JPEG of bounded size."""

import logging
import os
from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.sources import thumbnails
from mtl_ssl_tf.evaluation import error_analysis
from mtl_ssl_tf.reporting import judged as judged_lib
from mtl_ssl_tf.visualization import marks

_LOGGER = logging.getLogger(__name__)
SIDE_PX = 480
_QUALITY = 80
FOUND, WRONG, GIVEN, MISSED, IGNORED = (
  (70, 220, 130),
  (255, 90, 80),
  (255, 255, 255),
  (255, 214, 0),
  (160, 160, 160),
)
_VERDICTS = {
  error_analysis.Verdict[kind.upper()]: kind for kind in error_analysis.KINDS if kind[0] != "f"
}


def kind_of(verdict: int) -> str | None:
  """Returns the kind of error of a verdict; None of what is no error."""
  return _VERDICTS.get(error_analysis.Verdict(verdict))


def read(records: str | list[str], image_ids: Collection[str]) -> dict[str, bytes]:
  """Returns the encoded images of these ids; those that the records lack are left out.

  Records that are not there, as when a run was moved, leave out all; a warning says so.
  """
  found: dict[str, bytes] = {}
  if not image_ids:
    return found
  try:
    for record in tf.data.TFRecordDataset(record_paths.match_files(records)).as_numpy_iterator():
      features = tf.train.Example.FromString(record).features.feature
      (name,) = features[schema.IMAGE_SOURCE_ID].bytes_list.value[:1] or (b"",)
      image_id = os.fsdecode(name)
      if image_id in image_ids:
        found[image_id] = features[schema.IMAGE_ENCODED].bytes_list.value[0]
        if len(found) == len(image_ids):
          break
  except (ValueError, tf.errors.OpError) as error:
    reason = str(error).split("\n")[0]
    _LOGGER.warning(f"the page has no pictures of images: {reason}")
  return found


def draw(
  image: judged_lib.JudgedImage, encoded: bytes | None, class_names: Sequence[str]
) -> bytes | None:
  """Returns a JPEG of an image with its objects, dashed, and its detections.

  Args:
    image: objects and detections.
    encoded: its file.
    class_names: class 1 first.

  Returns:
    None where the file is no picture.
  """
  decoded = thumbnails.decode(encoded, SIDE_PX)
  if decoded is None:
    return None
  picture, scale = decoded
  drawn = marks.draw_marks(np.asarray(picture), _marks(image, scale, class_names))
  return thumbnails.encode(Image.fromarray(drawn), _QUALITY)


def _marks(
  image: judged_lib.JudgedImage, scale: float, class_names: Sequence[str]
) -> list[marks.Mark]:
  """Given boxes below, then detections, the best on top."""
  found = []
  for box, class_id, missed, ignored in zip(
    image.truth.boxes.corners, image.truth.classes, image.missed, image.ignored, strict=True
  ):
    name = class_names[class_id - 1]
    text = f"missed: {name}" if missed else f"ignored: {name}" if ignored else ""
    color = MISSED if missed else IGNORED if ignored else GIVEN
    found.append(marks.Mark(scale * box, text, color, is_dashed=True))
  for row in np.argsort(image.scores, kind="stable"):
    name = f"{class_names[image.classes[row] - 1]} {image.scores[row]:.2f}"
    kind = kind_of(image.verdicts[row])
    box = scale * image.boxes[row]
    if kind is not None:
      found.append(marks.Mark(box, f"{name} {kind}", WRONG))
    else:
      is_match = image.verdicts[row] == error_analysis.Verdict.MATCH
      found.append(marks.Mark(box, name, FOUND if is_match else IGNORED))
  return found
