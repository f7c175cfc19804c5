"""Images and objects as annotations describe them, whatever the format."""

import csv
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mtl_ssl_tf.data import faults

# How far a box may reach outside the image and is cut off: pixels, or this share of the side where
# that is more. Beyond it, its coordinates are of another image or another scale.
_CLIP_PX, _CLIP_SHARE = 3.0, 0.01
# Words that tools write where they have nothing to say of a field, in small letters.
_NOT_STATED = frozenset(
  (
    *("", "-", "--", "?", "n/a", "na", "nan", "nil", "none", "null"),
    *("not specified", "undefined", "unknown", "unset", "unspecified"),
  )
)
ANNOTATED_CLASSES_FLAG = "--annotated_classes"
_FLAG_WORDS = {"true": 1, "false": 0, "yes": 1, "no": 0}


@dataclasses.dataclass(frozen=True, slots=True)
class BoxRules:
  """Decides what becomes of boxes that are not as they should be.

  Attributes:
    clip_px: pixels that a box may reach outside the image and is cut; None is 3, or 1 % of the side
      where that is more.
    ignore_faulty: keep the place of a faulty object as a region to be ignored, where its place is
      known; otherwise the whole image is left out, so that the object is not background.
    annotated_classes: names of the classes whose objects are all annotated, of images that do not
      say so themselves; None is all classes. A box of another class is at fault.
  """

  clip_px: float | None = None
  ignore_faulty: bool = True
  annotated_classes: tuple[str, ...] | None = None

  def __post_init__(self):
    if self.clip_px is not None and not (math.isfinite(self.clip_px) and self.clip_px >= 0):
      raise ValueError(f"--clip_px is {self.clip_px}; accepted: 0 or more pixels")
    if self.annotated_classes is not None and not self.annotated_classes:
      raise ValueError(f"{ANNOTATED_CLASSES_FLAG} is empty; accepted: at least one class, or None")

  def allowance_px(self, side_px: int) -> float:
    """Returns how far a box may reach outside an image with a side of this length."""
    return max(_CLIP_PX, _CLIP_SHARE * side_px) if self.clip_px is None else self.clip_px

  def check_classes(self, classes: Sequence[str], origin: str) -> None:
    """Raises a ValueError where an annotated class is none of the data set's.

    Args:
      classes: of the data set.
      origin: where they come from.
    """
    for name in self.annotated_classes or ():
      if name not in classes:
        raise ValueError(
          f"{ANNOTATED_CLASSES_FLAG}: {faults.quote(name)} is no known class; accepted: the classes"
          f" {origin}: {faults.listing(classes)}"
        )


DEFAULT_RULES = BoxRules()


def class_list(text: str) -> tuple[str, ...]:
  """The class names of a flag, between commas; a name with a comma is in double quotes.

  Raises:
    ValueError: a name is empty or repeated.
  """
  names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True)) or [""]]
  for place, name in enumerate(names):
    if not name or name in names[:place]:
      value = f"repeats {faults.quote(name)}" if name else "holds an empty name"
      raise ValueError(
        f"{ANNOTATED_CLASSES_FLAG} is {faults.quote(text)}, which {value}; accepted: class names"
        " between commas, each once"
      )
  return tuple(names)


def is_stated(value: Any) -> bool:
  """Whether a field says anything, unlike null, -1, empty values and words like `Unspecified`."""
  if isinstance(value, str):
    text = value.strip().lower()
    return text not in _NOT_STATED and text not in ("-1", "-1.0")
  return isinstance(value, bool) or value not in (None, -1, [], {})


def flag(value: Any) -> int | None:
  """The flag that a value means: 0 where it is not stated, None where it is no flag."""
  if isinstance(value, str):
    return _flag_of_text(value)
  if not is_stated(value):
    return 0
  return int(value) if isinstance(value, int | float) and value in (0, 1) else None


@functools.lru_cache(maxsize=1024)  # Nearly all texts of a data set are "0" or "1".
def _flag_of_text(value: str) -> int | None:
  if not is_stated(value):
    return 0
  text = value.strip().lower()
  if text in _FLAG_WORDS:
    return _FLAG_WORDS[text]
  try:
    number = float(text)
  except ValueError:
    return None
  return int(number) if number in (0, 1) else None


def share_flag(value: Any) -> int:
  """A flag that training does not use: 1 for any share above 0, 0 for what is no number."""
  known = flag(value)
  if known is not None:
    return known
  try:
    return int(float(value) > 0.0)
  except (TypeError, ValueError):
    return 0


def ordered_box(
  box: tuple[float, float, float, float],
) -> tuple[float, float, float, float]:
  """Returns ymin, xmin, ymax and xmax of a box whichever of its corners come first."""
  ymin, xmin, ymax, xmax = box
  return min(ymin, ymax), min(xmin, xmax), max(ymin, ymax), max(xmin, xmax)


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
    annotated_classes: names of the classes whose objects are all annotated; None where the
      annotation does not say.
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
  annotated_classes: tuple[str, ...] | None = None


def clip_box(
  annotated: AnnotatedObject,
  height: int,
  width: int,
  file: str,
  rules: BoxRules = DEFAULT_RULES,
) -> tuple[float, float, float, float]:
  """The object's box, cut to an image of this size if it reaches out a little.

  Raises:
    faults.FaultError: it reaches further out than `rules` allow, or nothing is left of it.
  """
  limits = (height, width, height, width)
  if are_fractions(annotated.box, height, width):
    field = annotated.coordinate_fields[0].split("/")[0]
    value = ", ".join(f"{value:g}" for value in annotated.box)
    value += " (top, left, bottom, right) are fractions of the image"
    raise faults.FaultError([annotated.fault(file, field, value, "pixels")])
  found = []
  for field, value, limit in zip(annotated.coordinate_fields, annotated.box, limits, strict=True):
    allowance = rules.allowance_px(limit)
    lowest, highest = -allowance, limit + allowance
    if not lowest <= value <= highest:
      outside = f"{value:g} lies outside the image of {width} x {height} (width x height)"
      accepted = f"{lowest:g} … {highest:g}"
      found.append(annotated.fault(file, field, outside, accepted))
  if found:
    raise faults.FaultError(found)
  box = cut_to_image(annotated.box, height, width)
  if box is None:
    outside = f"nothing of it is left inside the image of {width} x {height} (width x height)"
    field = annotated.coordinate_fields[0].split("/")[0]
    raise faults.FaultError([annotated.fault(file, field, outside, "a box inside the image")])
  return box


def are_fractions(box: tuple[float, float, float, float], height: int, width: int) -> bool:
  """Whether a box must be meant in fractions of the image, as it lies within its first pixel."""
  ymin, xmin, ymax, xmax = box
  if ymax > 1.0 or xmax > 1.0 or ymin < 0.0 or xmin < 0.0:
    return False
  return min(height, width) > 1 and (ymax - ymin < 1.0 or xmax - xmin < 1.0)


def cut_to_image(
  box: tuple[float, float, float, float], height: int, width: int
) -> tuple[float, float, float, float] | None:
  """The part of a box that lies in an image of this size; None where that is nothing."""
  limits = (height, width, height, width)
  cut = tuple(min(max(value, 0.0), float(limit)) for value, limit in zip(box, limits, strict=True))
  ymin, xmin, ymax, xmax = np.float32(cut) / np.float32(limits)  # As records store them.
  return None if ymax <= ymin or xmax <= xmin else cut
