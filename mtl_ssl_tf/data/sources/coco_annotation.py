"""Entries of a COCO file to checked images and boxes, with each fault named by object and field.

A box reaches from `x` to `x + width`, in pixels of the image. Segmentations are ignored.
"""

import dataclasses
import math
import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import Any

from mtl_ssl_tf.data import faults, label_map
from mtl_ssl_tf.data.sources import annotated

_BBOX = ("x", "y", "width", "height")
# Of these COCO itself has the first; the others come with data sets that were VOC once.
FLAGS = ("iscrowd", "difficult", "truncated", "ignore")
# Of an index that keeps integers of 64 bits.
_MAX_ID = 2**63 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class CocoObject(annotated.AnnotatedObject):
  """An object of a COCO file; `number` is its place in `annotations`, counted from 1."""

  name_field = "category_id"
  coordinate_fields = ("bbox/y", "bbox/x", "bbox/y + height", "bbox/x + width")

  @property
  def label(self) -> str:
    return f"{faults.quote(self.name)}, id {self.object_id}"


@dataclasses.dataclass(frozen=True, slots=True)
class CocoImage:
  """An entry of `images`.

  Attributes:
    file_name: path inside the folder of images; None if it is faulty.
    size: height and width in pixels; None where the file leaves them out.
    faults: of the entry.
  """

  file_name: str | None
  size: tuple[int, int] | None
  faults: tuple[faults.Fault, ...]


def parse_image(entry: Mapping[str, Any], number: int, file: str) -> CocoImage:
  """Checks an entry of `images`, its id apart.

  Args:
    entry: the entry.
    number: its place in `images`, counted from 1.
    file: name of the COCO file, for messages.
  """
  found = []

  def report(field: str, value: str, accepted: str) -> None:
    found.append(faults.Fault(file, image_field(number, field), value, accepted))

  name = _file_name(entry)
  if name is None:
    value = show(entry, "file_name")
    report("file_name", value, "a path inside the folder of images, with / between folders")
  size = []
  for field in ("height", "width"):
    value = whole_number(entry.get(field))
    if entry.get(field) is None:
      continue
    if value is None or value < 1:
      report(field, show(entry, field), "a whole number of pixels")
    else:
      size.append(value)
  return CocoImage(name, tuple(size) if len(size) == 2 else None, tuple(found))


def parse_object(
  entry: Mapping[str, Any], number: int, categories: Mapping[int, str], file: str
) -> tuple[CocoObject | None, list[faults.Fault]]:
  """Checks an entry of `annotations`, its image apart.

  Besides COCO's own fields, `difficult` and `truncated` are read where they are, as files made from
  VOC annotations have them; `ignore`, pycocotools' word in such files, is `difficult` too.

  Args:
    entry: the entry.
    number: its place in `annotations`, counted from 1.
    categories: names by id.
    file: name of the COCO file, for messages.

  Returns:
    The object, or None if it has faults, and these.
  """
  found = []
  object_id = whole_number(entry.get("id"))
  category_id = whole_number(entry.get("category_id"))
  name = categories.get(category_id)
  label = object_label(entry, name)

  def report(field: str, value: str, accepted: str) -> None:
    found.append(faults.Fault(file, field, value, accepted, number, label))

  if object_id is None:
    report("id", show(entry, "id"), "a whole number")
  if name is None:
    known = faults.listing([str(known_id) for known_id in categories])
    report("category_id", show(entry, "category_id"), f"the id of a category: {known}")
  flags = {field: entry.get(field, 0) for field in FLAGS}
  for field, value in flags.items():
    if value not in (0, 1):
      report(field, show(entry, field), "0 or 1")
  area = entry.get("area")
  if area is not None and not (_is_finite(area) and area >= 0):
    report("area", show(entry, "area"), "a number of square pixels")
  bbox = entry.get("bbox")
  if not isinstance(bbox, list) or len(bbox) != len(_BBOX):
    report("bbox", show(entry, "bbox"), "[x, y, width, height]")
    return None, found
  for field, value in zip(_BBOX, bbox, strict=True):
    if not _is_finite(value):
      report(f"bbox/{field}", show_value(value), "a finite number")
    elif field in ("width", "height") and value <= 0:
      report(f"bbox/{field}", f"{value:g}", "more than 0")
  if found:
    return None, found
  x, y, width, height = map(float, bbox)
  return CocoObject(
    number,
    name,
    (y, x, y + height, x + width),
    difficult=int(is_difficult(entry)),
    truncated=int(flags["truncated"]),
    is_crowd=int(flags["iscrowd"]),
    area=None if area is None else float(area),
    object_id=object_id,
  ), []


def is_difficult(entry: Mapping[str, Any]) -> bool:
  """Whether an entry of `annotations`, its flags sound, is what VOC calls difficult.

  Crowds may be marked to be ignored as well, and are no difficult objects for that.
  """
  ignored = entry.get("ignore", 0) and not entry.get("iscrowd", 0)
  return bool(entry.get("difficult", 0) or ignored)


def stated_box(entry: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
  """The box of an entry of `annotations`, right or wrong, for drawing it.

  Returns:
    ymin, xmin, ymax, xmax; None where there are no four finite numbers.
  """
  bbox = entry.get("bbox")
  if not isinstance(bbox, list) or len(bbox) != len(_BBOX) or not all(map(_is_finite, bbox)):
    return None
  x, y, width, height = map(float, bbox)
  return y, x, y + height, x + width


def category_problem(entry: Any) -> tuple[str, str, str] | None:
  """Field, value and what is accepted where an entry of `categories` is faulty; None if sound."""
  if not isinstance(entry, dict):
    return "", show_value(entry), "an object with id and name"
  if whole_number(entry.get("id")) is None:
    return "id", show(entry, "id"), "a whole number"
  name = entry.get("name")
  problem = label_map.name_problem(name) if isinstance(name, str) else "a class name"
  return ("name", show(entry, "name"), problem) if problem else None


def object_label(entry: Mapping[str, Any], name: str | None = None) -> str | None:
  """Returns the name of an object in messages; None if the entry has none."""
  parts = [] if name is None else [faults.quote(name)]
  if "id" in entry:
    parts.append(f"id {show_value(entry['id'])}")
  return ", ".join(parts) or None


def image_field(number: int, field: str) -> str:
  """Returns the name of a field of an entry of `images` in messages; `number` counts from 1."""
  return f"image {number} {field}".rstrip()


def whole_number(value: Any) -> int | None:
  """The value if it is a whole number that an index can hold, be it written as 7 or 7.0."""
  if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
    return None
  return int(value) if abs(value) <= _MAX_ID else None


def show(entry: Mapping[str, Any], field: str) -> str:
  """A field's value for a message."""
  return show_value(entry[field]) if field in entry else "missing"


def show_value(value: Any) -> str:
  """A value for a message, of bounded length."""
  if isinstance(value, str):
    return faults.quote(value)
  text = "null" if value is None else repr(value)
  return text if len(text) <= 80 else f"{text[:80]}… ({len(text)} characters)"


def _file_name(entry: Mapping[str, Any]) -> str | None:
  """The path of the image inside its folder; of an address the last part, as COCO has it."""
  name = entry.get("file_name", entry.get("coco_url"))
  if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
    return None
  if "://" in name:
    name = urllib.parse.unquote(urllib.parse.urlsplit(name).path).rsplit("/", 1)[-1]
  path = pathlib.PurePosixPath(name)
  if path.is_absolute() or ".." in path.parts or not path.name:
    return None
  return str(path)


def _is_finite(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
