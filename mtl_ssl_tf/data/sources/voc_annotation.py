"""PASCAL VOC annotation files to checked boxes, with each fault named by object and field.

Coordinates are taken as they stand: a box reaches from `xmin` to `xmax`, in pixels of the image,
whether a tool counted them from 0 or from 1; the difference is less than drawing accuracy.
"""

import dataclasses
import math
import re
from xml.etree import ElementTree  # For its types; defusedxml does the parsing.

import defusedxml
from defusedxml import ElementTree as SafeElementTree

from mtl_ssl_tf.data import faults, label_map
from mtl_ssl_tf.data.sources import annotated

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_COORDINATES = ("ymin", "xmin", "ymax", "xmax")


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
  """

  filename: str | None
  size: tuple[int, int] | None
  objects: tuple[VocObject, ...]
  faults: tuple[faults.Fault, ...]


def parse_annotation(content: bytes, file: str) -> Annotation:
  """Reads an annotation without ever expanding an entity or following a reference.

  Args:
    content: the bytes of the file.
    file: its name, for messages.

  Raises:
    faults.FaultError: the file is empty, malformed, harmful or no annotation.
  """
  root = _parse_xml(content, file)
  found, objects = [], []
  filename = _filename(root)
  size = _size(root, file, found)
  for number, element in enumerate(root.findall("object"), start=1):
    voc_object = _object(element, number, file, found)
    if voc_object is not None:
      objects.append(voc_object)
  return Annotation(filename, size, tuple(objects), tuple(found))


def stated_boxes(content: bytes, file: str) -> dict[int, tuple[float, ...]]:
  """The boxes that a file states, right or wrong, by the number of the object; for drawing them.

  Args:
    content: the bytes of the file.
    file: its name, for messages.

  Returns:
    Number of each object with four numbers to ymin, xmin, ymax and xmax.

  Raises:
    faults.FaultError: as `parse_annotation`.
  """
  boxes = {}
  for number, element in enumerate(_parse_xml(content, file).findall("object"), start=1):
    box = [_number(_text(element, field)) for field in VocObject.coordinate_fields]
    if None not in box:
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


def _filename(root: ElementTree.Element) -> str | None:
  """The last part of the file name, if there is one; folders are those of some other machine."""
  name = (_text(root, "filename") or "").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].strip()
  return name if name not in ("", ".", "..") else None


def _size(
  root: ElementTree.Element, file: str, found: list[faults.Fault]
) -> tuple[int, int] | None:
  """Height and width; None where the file leaves them out or, as some tools do, says 0 x 0."""
  element = root.find("size")
  if element is None:
    return None
  size = []
  for field in ("height", "width"):
    text = _text(element, field)
    value = _number(text)
    if value is None or value < 0 or value != int(value):
      found.append(
        faults.Fault(file, f"size/{field}", _quote_or_missing(text), "a whole number of pixels")
      )
    else:
      size.append(int(value))
  return tuple(size) if len(size) == 2 and any(size) else None


def _object(
  element: ElementTree.Element, number: int, file: str, found: list[faults.Fault]
) -> VocObject | None:
  """The object, or None if it has faults, which are appended to `found`."""
  name = (_text(element, "name") or "").strip()
  quoted_name = faults.quote(name) if name else None
  num_found = len(found)

  def report(field: str, value: str, accepted: str) -> None:
    found.append(faults.Fault(file, field, value, accepted, number, quoted_name))

  problem = label_map.name_problem(name)
  if problem:
    report("name", _quote_or_missing(_text(element, "name")), problem)
  flags = {"difficult": 0, "truncated": 0}
  for field in flags:
    text = _text(element, field)
    if text in ("0", "1"):
      flags[field] = int(text)
    elif text is not None:
      report(field, faults.quote(text), "0 or 1")
  boxes = element.findall("bndbox")
  if len(boxes) != 1:
    report("bndbox", f"there are {len(boxes)}", "one box")
    return None
  values = {}
  for field in _COORDINATES:
    text = _text(boxes[0], field)
    values[field] = _number(text)
    if values[field] is None:
      report(f"bndbox/{field}", _quote_or_missing(text), "a finite number")
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
  return VocObject(number, name, tuple(values[field] for field in _COORDINATES), **flags)


def _text(element: ElementTree.Element, field: str) -> str | None:
  """The text of a child, without blanks around it; None where there is no such child."""
  text = element.findtext(field)
  return None if text is None else text.strip()


def _quote_or_missing(text: str | None) -> str:
  return "missing" if text is None else faults.quote(text)


def _number(text: str | None) -> float | None:
  """The number that the text is, or None; unlike `float`, takes no "nan", "inf" or "1_0"."""
  if text is None or not _NUMBER.fullmatch(text):
    return None
  value = float(text)
  return value if math.isfinite(value) else None
