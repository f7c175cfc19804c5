"""A candidate's place in its image, with given and proposed boxes, as JPEG."""

import numpy as np
from PIL import Image

from mtl_ssl_tf.auditing import listing
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.sources import thumbnails
from mtl_ssl_tf.visualization import marks

SIDE_PX = 360
_QUALITY = 80
# Of the longer side of what is shown: enough around it to see what it is part of.
_AROUND, _LEAST_PX = 1.0, 64
GIVEN, DOUBTED, PROPOSED = (255, 255, 255), (255, 90, 80), (70, 220, 130)


def draw(image: ground_truth.ImageTruth, row: listing.Row, encoded: bytes | None) -> bytes | None:
  """Returns a JPEG of the place of a candidate.

  Given boxes are dashed and white, the one in doubt red; the proposed one is green.

  Args:
    image: the annotations.
    row: of the list.
    encoded: the image's file.

  Returns:
    None where the file is no picture.
  """
  part = _part(image.size, [row[name] for name in ("bbox", "given_bbox") if row[name]])
  decoded = thumbnails.decode_part(encoded, part, SIDE_PX)
  if decoded is None:
    return None
  picture, scale = decoded
  offset = np.array([part[1], part[0]] * 2, np.float64)
  drawn = marks.draw_marks(np.asarray(picture), _marks(image, row, offset, scale))
  return thumbnails.encode(Image.fromarray(drawn), _QUALITY)


def _part(size: tuple[int, int], boxes: list[list[float]]) -> tuple[int, int, int, int]:
  """Left, top, right and bottom of what is shown, whole pixels of the image."""
  corners = ground_truth.Boxes.from_xywh(np.array(boxes)).corners
  low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
  side = max(float((high - low).max()) * (1.0 + 2.0 * _AROUND), _LEAST_PX)
  limits = np.array(size)
  center = 0.5 * (low + high)
  # The window moves inwards at a border, rather than shrink.
  start = np.clip(np.floor(center - 0.5 * side), 0, np.maximum(limits - np.ceil(side), 0))
  end = np.minimum(start + np.ceil(side), limits)
  start = np.minimum(start, limits - 1)
  end = np.maximum(end, start + 1)
  return int(start[1]), int(start[0]), int(end[1]), int(end[0])


def _marks(
  image: ground_truth.ImageTruth, row: listing.Row, offset: np.ndarray, scale: float
) -> list[marks.Mark]:
  found = [
    marks.Mark(scale * (box - offset), "", GIVEN, is_dashed=True)
    for place, box in enumerate(image.boxes.corners)
    if place != row["given_object"]
  ]
  for name, color, is_dashed in (("given", DOUBTED, True), ("", PROPOSED, False)):
    prefix = f"{name}_" if name else ""
    box, label = row[f"{prefix}bbox"], row[f"{prefix}class"]
    if box is not None:
      corners = ground_truth.Boxes.from_xywh(np.array([box])).corners[0]
      found.append(marks.Mark(scale * (corners - offset), label or "", color, is_dashed))
  return found
