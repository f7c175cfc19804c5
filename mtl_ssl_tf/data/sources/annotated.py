"""Images and objects as annotations describe them, whatever the format."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from mtl_ssl_tf.data import faults

# How far a box may reach outside the image and is cut off, in pixels; beyond that it is a fault.
BORDER_TOLERANCE_PX = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class AnnotatedObject:
  """One object that is sound as far as its annotation alone shows.

  Attributes:
    number: place in the file, counted from 1, faulty objects included.
    name: of its class.
    box: ymin, xmin, ymax, xmax in pixels of the image that the file describes.
    difficult: 0 or 1.
    truncated: 0 or 1.
    is_crowd: 0 or 1; 1 where the box encloses many objects.
    area: square pixels of the object itself; None is that of its box.
    object_id: the data set's identifier of the object; None is `number` - 1.
    name_field: the format's name of the class.
    coordinate_fields: the format's names of ymin, xmin, ymax and xmax.
  """

  number: int
  name: str
  box: tuple[float, float, float, float]
  difficult: int = 0
  truncated: int = 0
  is_crowd: int = 0
  area: float | None = None
  object_id: int | None = None
  name_field: ClassVar[str]
  coordinate_fields: ClassVar[tuple[str, str, str, str]]

  @property
  def label(self) -> str:
    """Name of the object in messages."""
    return faults.quote(self.name)

  def fault(self, file: str, field: str, value: str, accepted: str) -> faults.Fault:
    """A fault of this object."""
    return faults.Fault(file, field, value, accepted, self.number, self.label)


@dataclasses.dataclass(frozen=True, slots=True)
class AnnotatedImage:
  """One image of the split: its annotation has been read, its image found but not read.

  Attributes:
    source_id: the data set's identifier of the image.
    annotation_file: name of the file with the objects, for messages.
    size: height and width of the image according to the annotation; None if it does not state it.
    objects: the sound ones; None if the annotation is at fault as a whole.
    image_file: path inside the data set; None if there is none.
    faults: found so far.
    notes: keys of `split_source.NOTES`.
    hashes: SHA-256 of the files read so far, by path.
    size_field: the format's name of the size.
  """

  source_id: str
  annotation_file: str | None
  size: tuple[int, int] | None
  objects: tuple[AnnotatedObject, ...] | None
  image_file: str | None
  faults: tuple[faults.Fault, ...]
  notes: tuple[str, ...]
  hashes: Mapping[str, str]
  size_field: str = "size"


def clip_box(
  annotated: AnnotatedObject, height: int, width: int, file: str
) -> tuple[float, float, float, float]:
  """The object's box, cut to an image of this size if it reaches out by a pixel at most.

  Raises:
    faults.FaultError: it reaches further out, or nothing is left of it.
  """
  limits = (height, width, height, width)
  found = []
  for field, value, limit in zip(annotated.coordinate_fields, annotated.box, limits, strict=True):
    lowest, highest = -BORDER_TOLERANCE_PX, limit + BORDER_TOLERANCE_PX
    if not lowest <= value <= highest:
      outside = f"{value:g} lies outside the image of {width} x {height} (width x height)"
      accepted = f"{lowest:g} … {highest:g}"
      found.append(annotated.fault(file, field, outside, accepted))
  if found:
    raise faults.FaultError(found)
  box = tuple(
    min(max(value, 0.0), float(limit)) for value, limit in zip(annotated.box, limits, strict=True)
  )
  ymin, xmin, ymax, xmax = np.float32(box) / np.float32(limits)  # As records store them.
  if ymax <= ymin or xmax <= xmin:
    outside = f"nothing of it is left inside the image of {width} x {height} (width x height)"
    field = annotated.coordinate_fields[0].split("/")[0]
    raise faults.FaultError([annotated.fault(file, field, outside, "a box inside the image")])
  return box
