"""PASCAL VOC annotation files to checked boxes, with each fault named by object and field.

Coordinates are taken as they stand: a box reaches from `xmin` to `xmax`, in pixels of the image,
whether a tool counted them from 0 or from 1; the difference is less than drawing accuracy.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator
from xml.etree import ElementTree  # For its types; defusedxml does the parsing.

import defusedxml
from defusedxml import ElementTree as SafeElementTree

from mtl_ssl_tf.data import faults, label_map
from mtl_ssl_tf.data.sources import annotated

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_COORDINATES = ("ymin", "xmin", "ymax", "xmax")
_OBJECT_TEXTS = ("name", "difficult")
_TEXT_ALONE = "text alone, as what follows an element in it would not be read"
# Tags and attributes, in small letters, of elements that may be a box or an object.
_BOX_TAGS = frozenset(
  (
    *("bndbox", "robndbox", "bbox", "box", "bounding_box", "boundingbox", "rect", "rectangle"),
    *("polygon", "object", "obj", "region", "roi"),
  )
)
_MAX_PATH = 80
_SIDE_TAGS = frozenset(
  (
    *_COORDINATES,
    *("left", "top", "right", "bottom", "x1", "y1", "x2", "y2", "xtl", "ytl", "xbr", "ybr"),
    *("x_min", "y_min", "x_max", "y_max", "minx", "miny", "maxx", "maxy"),
    *("x", "y", "cx", "cy", "x_center", "y_center"),
  )
)


@dataclasses.dataclass(frozen=True, slots=True)
class VocObject(annotated.AnnotatedObject):
  """An object of a VOC annotation; the format has no area, identifier or crowds."""

  name_field = "name"
  coordinate_fields = tuple(f"bndbox/{coordinate}" for coordinate in _COORDINATES)


@dataclasses.dataclass(frozen=True, slots=True)
class Annotation:
  """Content of one annotation file.

  Attributes:
    filename: the image's name according to the file, without its folders, or None.
    size: height and width of the image according to the file, or None.
    objects: the sound ones.
    faults: of the file and of the other objects.
    notes: keys of `split_source.NOTES`.
  """

  filename: str | None
  size: tuple[int, int] | None
  objects: tuple[VocObject, ...]
  faults: tuple[faults.Fault, ...]
  notes: tuple[str, ...] = ()


def parse_annotation(content: bytes, file: str) -> Annotation:
  """Reads an annotation without ever expanding an entity or following a reference.

  Args:
    content: the bytes of the file.
    file: its name, for messages.

  Raises:
    faults.FaultError: the file is empty, malformed, harmful or no annotation.
  """
  root = _parse_xml(content, file)
  found, objects, notes = [], [], []
  size = _size(root, notes)
  for number, element in enumerate(root.findall("object"), start=1):
    voc_object = _object(element, number, file, found, notes)
    if voc_object is not None:
      objects.append(voc_object)
  for path in _unread_boxes(root):
    accepted = "each object in an element 'object' of the outermost element"
    found.append(faults.Fault(file, path, "looks like an object and is not read", accepted))
  return Annotation(
    _filename(root), size, tuple(objects), tuple(found), tuple(dict.fromkeys(notes))
  )


def stated_boxes(content: bytes, file: str) -> dict[int, tuple[float, ...]]:
  """The boxes that a file states, right or wrong, by the number of the object; for drawing them.

  Args:
    content: the bytes of the file.
    file: its name, for messages.

  Returns:
    Number of each object with one box of four numbers to ymin, xmin, ymax and xmax.

  Raises:
    faults.FaultError: as `parse_annotation`.
  """
  boxes = {}
  for number, element in enumerate(_parse_xml(content, file).findall("object"), start=1):
    box = [_number(_text(element, field)) for field in VocObject.coordinate_fields]
    if None not in box and len(element.findall("bndbox")) == 1:
      boxes[number] = tuple(box)
  return boxes


def _parse_xml(content: bytes, file: str) -> ElementTree.Element:
  """The root element, which is an `annotation`."""

  def error(value: str, accepted: str = "an XML file of PASCAL VOC") -> faults.FaultError:
    return faults.FaultError([faults.Fault(file, "xml", value, accepted)])

  if not content.strip():
    raise error("the file is empty")
  try:
    root = SafeElementTree.fromstring(content)
  except defusedxml.EntitiesForbidden as forbidden:
    value = f"it defines the entity {faults.quote(str(forbidden.name))}"
    raise error(value, "XML without entity definitions") from forbidden
  except (SafeElementTree.ParseError, ValueError, LookupError) as malformed:
    raise error(f"malformed ({malformed})") from malformed
  if root.tag != "annotation":
    raise error(f"the outermost element is {faults.quote(root.tag)}", "'annotation'")
  return root


def _unread_boxes(root: ElementTree.Element) -> Iterator[str]:
  """The places of elements that may be a box or an object and are none that is read."""
  pending = collections.deque((child.tag, child) for child in root if child.tag != "object")
  while pending:  # Not recursive, and with bounded paths, as elements may be nested deeply.
    path, element = pending.popleft()
    if _may_be_box(element):
      yield path
    else:
      pending.extend((f"{path}/{child.tag}"[:_MAX_PATH], child) for child in element)


def _may_be_box(element: ElementTree.Element) -> bool:
  names = {str(name).lower() for name in (*element.attrib, *(child.tag for child in element))}
  return element.tag.lower() in _BOX_TAGS or len(names & _SIDE_TAGS) >= 2


def _filename(root: ElementTree.Element) -> str | None:
  """The last part of the file name, if there is one; folders are those of some other machine."""
  name = (_text(root, "filename") or "").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].strip()
  return name if name not in ("", ".", "..") else None


def _size(root: ElementTree.Element, notes: list[str]) -> tuple[int, int] | None:
  """Height and width; None where the file does not state them as whole numbers."""
  size = []
  for field in ("size/height", "size/width"):
    text = _text(root, field)
    value = _number(text)
    if value is not None and value > 0 and value == int(value):
      size.append(int(value))
    elif value != 0 and annotated.is_stated(text):
      notes.append("size_unreadable")
  return tuple(size) if len(size) == 2 else None


def _object(
  element: ElementTree.Element,
  number: int,
  file: str,
  found: list[faults.Fault],
  notes: list[str],
) -> VocObject | None:
  """The object, or None if it has faults, which are appended to `found`."""
  texts = _texts(element)
  name = texts.get("name", "")
  num_found = len(found)

  def report(field: str, value: str, accepted: str) -> None:
    quoted_name = faults.quote(name) if name else None
    found.append(faults.Fault(file, field, value, accepted, number, quoted_name))

  for child in element:
    if len(child) and child.tag in _OBJECT_TEXTS:
      report(child.tag, _held(child), _TEXT_ALONE)
  problem = label_map.name_problem(name)
  if problem:
    report("name", _quote_or_missing(texts.get("name")), problem)
  difficult = annotated.flag(texts.get("difficult"))
  if difficult is None:
    report("difficult", _quote_or_missing(texts.get("difficult")), "0 or 1")
  boxes = element.findall("bndbox")
  if len(boxes) != 1:
    report("bndbox", f"there are {len(boxes)}", "one box")
    return None
  for child in boxes[0]:
    if len(child) and child.tag in _COORDINATES:
      report(f"bndbox/{child.tag}", _held(child), _TEXT_ALONE)
  sides = _texts(boxes[0])
  values = {field: _number(sides.get(field)) for field in _COORDINATES}
  for field in _COORDINATES:
    if values[field] is None:
      report(f"bndbox/{field}", _quote_or_missing(sides.get(field)), "a finite number")
  if None not in values.values():
    box = tuple(values.values())
    ordered = annotated.ordered_box(box)
    if ordered != box:
      notes.append("corners_swapped")
    values = dict(zip(_COORDINATES, ordered, strict=True))
  empty = [
    (low, high)
    for low, high in (("xmin", "xmax"), ("ymin", "ymax"))
    if None not in (values[low], values[high]) and values[high] <= values[low]
  ]
  if empty:  # One fault for the box, be it empty in one direction or in both.
    report(
      ", ".join(f"bndbox/{high}" for _, high in empty),
      ", ".join(f"{values[high]:g}" for _, high in empty),
      ", ".join(f"more than {low} {values[low]:g}" for low, _ in empty),
    )
  if len(found) > num_found:
    return None
  return VocObject(
    number,
    name,
    tuple(values[field] for field in _COORDINATES),
    difficult=difficult,
    truncated=annotated.share_flag(texts.get("truncated")),
  )


def _texts(element: ElementTree.Element) -> dict[str, str]:
  """The texts of all children at once, as `_text`: of several with one tag, that of the first."""
  return {child.tag: (child.text or "").strip() for child in element[::-1]}


def _text(element: ElementTree.Element, field: str) -> str | None:
  """The text of a child, without blanks around it; None where there is none that is text alone."""
  child = element.find(field)
  return None if child is None or len(child) else (child.text or "").strip()


def _held(element: ElementTree.Element) -> str:
  return f"holds the element {faults.quote(element[0].tag)}"


def _quote_or_missing(text: str | None) -> str:
  return "missing" if text is None else faults.quote(text)


def _number(text: str | None) -> float | None:
  """The number that the text is, or None; unlike `float`, takes no "nan", "inf" or "1_0"."""
  if text is None or not _NUMBER.fullmatch(text):
    return None
  value = float(text)
  return value if math.isfinite(value) else None
