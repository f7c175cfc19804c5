"""Entries of a COCO file to checked images and boxes, with each fault named by object and field.

A box reaches from `x` to `x + width`, in pixels of the image. Of segmentations only
the extents of polygons are read, where there is no box.
"""

import dataclasses
import pathlib
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mtl_ssl_tf.data import faults, label_map
from mtl_ssl_tf.data.sources import annotated
from mtl_ssl_tf.reading import json_text, quoting

_WHOLE = re.compile(r"-?\d{1,30}", re.ASCII)
_BBOX = ("x", "y", "width", "height")
_LOCAL_FILES = "/data/local-files/?d="
# Of these COCO itself has the first; the others come with data sets that were VOC once.
FLAGS = ("iscrowd", "difficult", "truncated", "ignore")
# Field of an entry of `images`, see `annotated_classes`.
ANNOTATED_CLASSES = "annotated_classes"
# Of a record, which keeps integers of 64 bits.
_MAX_ID = 2**63 - 1
# Of a record, which keeps numbers of 32 bits.
_MAX_AREA = 3.4e38


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
    file_name: path of the image, with / between folders, which may be those of another machine;
      None if it is faulty.
    size: height and width in pixels; None where the file does not state them.
    faults: of the entry.
    notes: keys of `split_source.NOTES`.
  """

  file_name: str | None
  size: tuple[int, int] | None
  faults: tuple[faults.Fault, ...]
  notes: tuple[str, ...] = ()


def parse_image(entry: Mapping[str, Any], number: int, file: str) -> CocoImage:
  """Checks an entry of `images`, its id apart.

  Args:
    entry: the entry.
    number: its place in `images`, counted from 1.
    file: name of the COCO file, for messages.
  """
  found, notes = [], []

  def report(field: str, value: str, accepted: str) -> None:
    found.append(faults.Fault(file, image_field(number, field), value, accepted))

  name = image_name(entry)
  if name is None:
    report("file_name", show(entry, "file_name"), "the path of an image")
  inside = entry.get("boxes_inside")
  if inside is not None:
    report(inside, "holds boxes, which are not read", "entries of the list annotations")
  size = []
  for field in ("height", "width"):
    value = entry.get(field)
    if whole_number(value) == 0 or not annotated.is_stated(value):
      continue
    side = whole_number(value)
    if side is None or side < 1:
      notes.append("size_unreadable")
    else:
      size.append(side)
  return CocoImage(
    name,
    tuple(size) if len(size) == 2 else None,
    tuple(found),
    tuple(dict.fromkeys(notes)),
  )


def parse_object(
  entry: Mapping[str, Any],
  number: int,
  categories: Mapping[str, str],
  file: str,
  notes: list[str] | None = None,
  may_be_empty: bool = False,
) -> tuple[CocoObject | None, list[faults.Fault]]:
  """Checks an entry of `annotations`, its image apart.

  Besides COCO's own fields, `difficult` and `truncated` are read where they are, as files made from
  VOC annotations have them; `ignore`, pycocotools' word in such files, is `difficult` too. What is
  not stated (null, -1, `Unspecified`) is no fault.

  Args:
    entry: the entry; an id that is none, or is not to be used, is to be left out.
    number: its place in `annotations`, counted from 1, and its id where it has none.
    categories: names by id as text.
    file: name of the COCO file, for messages.
    notes: takes keys of `split_source.NOTES`.
    may_be_empty: whether a box without width or height is sound, as pycocotools has it.

  Returns:
    The object, or None if it has faults, and these. Neither where the entry only says that the
    image has no object (`bbox: []`).
  """
  found, notes = [], [] if notes is None else notes
  if is_empty_mark(entry):
    return None, []
  name = categories.get(id_text(entry.get("category_id")))

  def report(field: str, value: str, accepted: str) -> None:
    label = object_label(entry, name)
    found.append(faults.Fault(file, field, value, accepted, number, label))

  if name is None:
    known = faults.listing(list(categories))
    report("category_id", show(entry, "category_id"), f"the id of a category: {known}")
  for field in ("iscrowd", "difficult", "ignore"):
    if annotated.flag(entry.get(field)) is None:
      report(field, show(entry, field), "0 or 1")
  box = _box(entry, report, notes, may_be_empty)
  if found:
    return None, found
  area, object_id = entry.get("area"), whole_number(entry.get("id"))
  return CocoObject(
    number,
    name,
    box,
    difficult=int(is_difficult(entry)),
    truncated=annotated.share_flag(entry.get("truncated")),
    is_crowd=annotated.flag(entry.get("iscrowd")),
    area=float(area) if json_text.is_number(area) and 0 <= area <= _MAX_AREA else None,
    object_id=number if object_id is None else object_id,
  ), []


def annotated_classes(
  entry: Mapping[str, Any], number: int, categories: Mapping[str, str], file: str
) -> tuple[tuple[str, ...] | None, list[faults.Fault]]:
  """Names of the classes that an entry of `images` is annotated for, and the faults of the field.

  The field `annotated_classes`, which COCO itself does not have, is a list of ids or names of
  categories. A number is an id; a text is a name, or an id where no category has that name.

  Args:
    entry: the entry.
    number: its place in `images`, counted from 1.
    categories: names by id as text.
    file: name of the COCO file, for messages.

  Returns:
    None in the place of the names where the field is not stated, or is at fault.
  """
  stated = entry.get(ANNOTATED_CLASSES)
  if stated is None:
    return None, []
  field, known = image_field(number, ANNOTATED_CLASSES), set(categories.values())
  accepted = f"ids or names of categories: {faults.listing(list(known_as(categories)))}"
  if not isinstance(stated, list) or not stated:
    return None, [faults.Fault(file, field, show_value(stated), f"a list of {accepted}")]
  names: dict[str, None] = {}
  for value in stated:
    text = value.strip() if isinstance(value, str) else None
    name = text if text in known else categories.get(id_text(value))
    if name is None:
      return None, [faults.Fault(file, field, f"{show_value(value)} is no category", accepted)]
    names[name] = None
  return tuple(names), []


def known_as(categories: Mapping[str, str]) -> Iterator[str]:
  """Yields each category's id and name as messages show them."""
  for category_id, name in categories.items():
    yield f"{category_id} ({name})"


def is_empty_mark(entry: Mapping[str, Any]) -> bool:
  """Whether an entry of `annotations` says that its image has no object: `bbox: []` alone."""
  return entry.get("bbox") == [] and not entry.get("segmentation")


def lacks_box(entry: Mapping[str, Any]) -> bool:
  """Whether an entry of `annotations` does not state its box, so that a polygon gives it."""
  bbox = entry.get("bbox")
  return not annotated.is_stated(bbox) or bbox in ([], [0] * 4, [None] * 4, [-1] * 4)


def xywh(entry: Mapping[str, Any]) -> list[float]:
  """Left, top, width and height of a sound entry's box, not rounded in any way."""
  x, y, width, height = map(float, _bbox(entry))
  return [min(x, x + width), min(y, y + height), abs(width), abs(height)]


def _bbox(entry: Mapping[str, Any]) -> Any:
  """The value of `bbox`, or where it is not stated that of the polygons."""
  extent = entry.get("segmentation")
  if lacks_box(entry) and isinstance(extent, list):
    left, top, right, bottom = extent
    return [left, top, right - left, bottom - top]
  return entry.get("bbox")


def _box(
  entry: Mapping[str, Any],
  report: Callable[[str, str, str], None],
  notes: list[str],
  may_be_empty: bool,
) -> tuple[float, float, float, float] | None:
  """Returns ymin, xmin, ymax and xmax; None where a fault was reported."""
  bbox = _bbox(entry)
  if bbox is not entry.get("bbox"):
    notes.append("box_of_polygon")
  if not isinstance(bbox, list) or len(bbox) != len(_BBOX):
    report("bbox", show(entry, "bbox"), "[x, y, width, height]")
    return None
  is_sound = True
  for field, value in zip(_BBOX, bbox, strict=True):
    if not json_text.is_number(value):
      report(f"bbox/{field}", show_value(value), "a finite number")
    elif field in ("width", "height") and value == 0 and not may_be_empty:
      report(f"bbox/{field}", f"{value:g}", "more than 0")
    else:
      continue
    is_sound = False
  if not is_sound:
    return None
  x, y, width, height = map(float, bbox)
  if width < 0 or height < 0:
    notes.append("corners_swapped")
  return annotated.ordered_box((y, x, y + height, x + width))


def is_difficult(entry: Mapping[str, Any]) -> bool:
  """Whether an entry of `annotations`, its flags sound, is what VOC calls difficult.

  Crowds may be marked to be ignored as well, and are no difficult objects for that.
  """
  difficult, ignored, crowd = (
    annotated.flag(entry.get(field)) for field in ("difficult", "ignore", "iscrowd")
  )
  return bool(difficult or (ignored and not crowd))


def stated_box(entry: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
  """The box of an entry of `annotations`, right or wrong, for drawing it.

  Returns:
    ymin, xmin, ymax, xmax; None where there are no four finite numbers.
  """
  bbox, extent = entry.get("bbox"), entry.get("segmentation")
  if lacks_box(entry) and isinstance(extent, list):
    left, top, right, bottom = map(float, extent)
    return top, left, bottom, right
  if (
    not isinstance(bbox, list) or len(bbox) != len(_BBOX) or not all(map(json_text.is_number, bbox))
  ):
    return None
  x, y, width, height = map(float, bbox)
  return y, x, y + height, x + width


def category_problem(entry: Any) -> tuple[str, str, str] | None:
  """Field, value and what is accepted where an entry of `categories` is faulty; None if sound."""
  if not isinstance(entry, dict):
    return "", show_value(entry), "an object with id and name"
  if id_text(entry.get("id")) is None:
    return "id", show(entry, "id"), "a number or a name"
  name = entry.get("name")
  problem = label_map.name_problem(name.strip()) if isinstance(name, str) else "a class name"
  return ("name", show(entry, "name"), problem) if problem else None


def id_text(value: Any) -> str | None:
  """An id as text, by which ids are compared, be it 7, 7.0 or "7"; None if it is none."""
  if isinstance(value, str):
    return value.strip() or None
  if not json_text.is_number(value):
    return None
  return str(int(value)) if value == int(value) else None


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
  """The value if it is a whole number of 64 bits, be it written as 7, 7.0 or "7"."""
  text = id_text(value)
  if text is None or not _WHOLE.fullmatch(text):
    return None
  return int(text) if abs(int(text)) <= _MAX_ID else None


def show(entry: Mapping[str, Any], field: str) -> str:
  """A field's value for a message."""
  return show_value(entry[field]) if field in entry else "missing"


def show_value(value: Any) -> str:
  """A value for a message, of bounded length."""
  if isinstance(value, str):
    return faults.quote(value)
  return "null" if value is None else quoting.shown(value)


def image_name(entry: Mapping[str, Any]) -> str | None:
  """The path of the image with / between folders; of an address the last part, as COCO has it."""
  name = entry.get("file_name", entry.get("coco_url"))
  if not isinstance(name, str) or "\0" in name:
    return None
  name = name.strip().replace("\\", "/")
  _, found, rest = name.partition(_LOCAL_FILES)
  if found:  # The address of a file on the disk of Label Studio's server.
    name = urllib.parse.unquote(rest)
  if "://" in name:
    name = urllib.parse.unquote(urllib.parse.urlsplit(name).path).rsplit("/", 1)[-1]
  path = pathlib.PurePosixPath(name)
  return str(path) if path.name not in ("", "..") else None
