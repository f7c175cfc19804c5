"""The objects of a data set's images as metrics need them, wherever they come from."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Sequence

import numpy as np

_WHOLE_NUMBER = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Boxes:
  """Boxes in pixels of the file, in both forms, so that neither is rounded on the way.

  Attributes:
    corners: float64 [n, 4], ymin, xmin, ymax, xmax.
    xywh: float64 [n, 4], left, top, width and height, as COCO has them.
  """

  corners: np.ndarray
  xywh: np.ndarray

  @classmethod
  def from_corners(cls, corners: np.ndarray) -> "Boxes":
    """From ymin, xmin, ymax, xmax."""
    corners = np.asarray(corners, np.float64).reshape(-1, 4)
    ymin, xmin, ymax, xmax = corners.T
    return cls(corners, np.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=1))

  @classmethod
  def from_xywh(cls, xywh: np.ndarray) -> "Boxes":
    """From left, top, width and height."""
    xywh = np.asarray(xywh, np.float64).reshape(-1, 4)
    left, top, width, height = xywh.T
    return cls(np.stack([top, left, top + height, left + width], axis=1), xywh)

  def take(self, rows: np.ndarray) -> "Boxes":
    """The boxes of some rows, integers or bool [n]."""
    return Boxes(self.corners[rows], self.xywh[rows])


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ImageTruth:
  """The objects of one image.

  Attributes:
    image_id: the name or number that the data set knows it by, as text.
    file_name: of the image; may be empty.
    size: height and width in pixels, or None where the annotation does not say.
    boxes: of the objects.
    classes: int64 [n], from 1.
    difficult: bool [n], PASCAL VOC's flag.
    is_crowd: bool [n], COCO's flag.
    areas: float64 [n], square pixels.
    annotated_classes: int64 [m], ascending, the classes whose objects are all annotated; None is
      all of them.
  """

  image_id: str
  file_name: str
  size: tuple[int, int] | None
  boxes: Boxes
  classes: np.ndarray
  difficult: np.ndarray
  is_crowd: np.ndarray
  areas: np.ndarray
  annotated_classes: np.ndarray | None = None

  def of_annotated_classes(self) -> "ImageTruth":
    """Returns the same without objects of classes that the image is not annotated for."""
    if self.annotated_classes is None:
      return self
    rows = np.isin(self.classes, self.annotated_classes)
    columns = ("classes", "difficult", "is_crowd", "areas")
    return dataclasses.replace(
      self, boxes=self.boxes.take(rows), **{name: getattr(self, name)[rows] for name in columns}
    )


@dataclasses.dataclass(frozen=True, eq=False)
class GroundTruth:
  """A data set's images and classes.

  Attributes:
    source: where they come from, for messages.
    class_names: class 1 first.
    category_ids: number of each class in COCO files, in the order of `class_names`.
    images: in the order of the data set.
  """

  source: str
  class_names: tuple[str, ...]
  category_ids: tuple[int, ...]
  images: tuple[ImageTruth, ...]

  @functools.cached_property
  def index(self) -> dict[str, int]:
    """Place of each image by its id and, where that is not some other's id, by its file's name."""
    return self.by_name | {image.image_id: place for place, image in enumerate(self.images)}

  @functools.cached_property
  def by_name(self) -> dict[str, int]:
    """Place of each image by the path of its file, or a part of it that no other image has.

    Parts are the last name and that without its ending. Where files have no names, as those of VOC
    annotations may, and where ids are no numbers, ids are names too.
    """
    paths: dict[str, list[int]] = {}
    parts: dict[str, list[int]] = {}
    for place, image in enumerate(self.images):
      path = pathlib.PurePath(image.file_name)
      names = {path.name, path.stem}
      if not _WHOLE_NUMBER.fullmatch(image.image_id):
        names |= {image.image_id, pathlib.PurePath(image.image_id).name}
      paths.setdefault(image.file_name, []).append(place)
      for name in names:
        parts.setdefault(name, []).append(place)
    return {
      name: places[0]
      for names in (parts, paths)
      for name, places in names.items()
      if name and len(places) == 1
    }

  @functools.cached_property
  def coco_image_ids(self) -> tuple[int | str, ...]:
    """The ids of all images as COCO files hold them."""
    return coco_image_ids([image.image_id for image in self.images])


def coco_image_ids(image_ids: Sequence[str]) -> tuple[int | str, ...]:
  """Ids as COCO files hold them: numbers if all are such, else the names that they are.

  VOC's 000012 is a name: as a number it would not be found again.
  """
  are_numbers = all(_WHOLE_NUMBER.fullmatch(image_id) for image_id in image_ids)
  return tuple(map(int, image_ids)) if are_numbers else tuple(image_ids)
