"""The entries of a COCO file one by one, whatever its size."""

import itertools
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import ijson

from mtl_ssl_tf.data.sources import coco_annotation
from mtl_ssl_tf.reading import json_text, quoting, regular_files

# What is read of an entry; all else is passed over, segmentations first of all.
FIELDS = {
  "images": ("id", "file_name", "coco_url", "width", "height", coco_annotation.ANNOTATED_CLASSES),
  "annotations": (
    "id",
    "image_id",
    "category_id",
    "bbox",
    "area",
    *coco_annotation.FLAGS,
  ),
  "categories": ("id", "name", "supercategory"),
}
# Key of an entry of `images` that holds boxes itself: the name of the field with them.
BOXES_INSIDE = "boxes_inside"
# Key of an entry of `annotations`: True where it has a segmentation that was passed over, or else
# the left, top, right and bottom of its polygons.
SEGMENTATION = "segmentation"
# Fields, in small letters, that only boxes and objects have.
_BOX_FIELDS = frozenset(
  (
    *("annotations", "annotation", "objects", "regions", "shape_attributes"),
    *(
      "bbox",
      "bboxes",
      "bndbox",
      "box",
      "boxes",
      "bounding_box",
      "boundingbox",
      "rect",
      "rectangle",
    ),
    *("rect", "rectangle", "xmin", "x_min", "xtl", "shapes", "instances"),
    *("segmentation", "polygon", "polygons"),
  )
)
# Fields, in small letters, by which entries of an unknown list mean images.
_IMAGE_FIELDS = frozenset(("image_id", "imageid"))
_ACCEPTED = "a COCO file: a JSON object with lists of images, annotations and categories"
_CHUNK_BYTES = 1 << 18
# Of an entry, and of a value of a list that is not read: some tools put pictures into them.
_MAX_ENTRY_BYTES = 1 << 28
_DEPTH = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}
# What the parser does not take: numbers that JSON does not have, and integers above 63 bits.
_ODD_NUMBER = re.compile(rb"([:\[,]\s*)(NaN|-?Infinity|-?\d{19,})(?=\s*(?:[,\]}]|\Z))")
_BOM = b"\xef\xbb\xbf"
_OTHER_KINDS = {
  b"\x1f\x8b": "compressed with gzip",
  b"PK\x03\x04": "a zip archive",
  b"\xff\xfe": "UTF-16 text",
  b"\xfe\xff": "UTF-16 text",
}


def read_entries(
  path: pathlib.Path,
  read_bytes: Callable[[int], object] = lambda count: None,
  quote_odd_numbers: bool = False,
  polygons: bool = False,
) -> Iterator[tuple[str, int, Any]]:
  """The entries of the lists in `FIELDS`, in the order of the file.

  Args:
    path: of the file.
    read_bytes: called with the number of further bytes that have been read.
    quote_odd_numbers: take NaN and Infinity, which some tools write though JSON does not have them,
      and integers above 63 bits for text, so that they matter only where they are read.
    polygons: read the extents of polygons, see `SEGMENTATION`.

  Yields:
    Name of the list, place in it from 1 on, and the entry with its `FIELDS` alone; an entry that is
    no JSON object as it is.

  Raises:
    ValueError: the file is no COCO file, the JSON ends early or is malformed, or a list of another
      name has boxes in it.
    OSError: it cannot be read.
  """
  with regular_files.open_file(path) as file:
    start = file.read(4)
    if not start:
      raise _error(path, "the file is empty")
    for magic, kind in _OTHER_KINDS.items():
      if start.startswith(magic):
        raise _error(path, kind, "plain UTF-8 text")
    file.seek(len(_BOM) if start.startswith(_BOM) else 0)
    stream = _Stream(file, read_bytes, quote_odd_numbers)
    events = ijson.basic_parse(stream, use_float=True, buf_size=_CHUNK_BYTES)
    last = None
    try:
      for last in _entries(events, path, polygons, stream):
        yield last
    except (ijson.JSONError, UnicodeDecodeError) as error:
      where = "at its beginning" if last is None else f"after {last[0]} entry {last[1]}"
      # The parser shows the place in several lines.
      reason = " ".join(str(error).split())[:120]
      raise _error(path, f"malformed or cut short {where} ({reason})", "UTF-8 JSON") from error
    except RecursionError:
      raise _too_deep(path, last) from None


def _entries(
  events: Iterator[tuple[str, Any]], path: pathlib.Path, polygons: bool, stream: "_Stream"
) -> Iterator[tuple[str, int, Any]]:
  """See `read_entries`."""
  event, _ = next(events)
  if event != "start_map":
    raise _error(path, f"the outermost value is no object but {_kind(event)}")
  seen, num_annotations, of_images = set(), 0, None
  for event, section in events:
    if event == "end_map":
      break
    event, _ = next(events)
    if section not in FIELDS:
      if event in _DEPTH:
        holds_boxes, means_images = _search(section, event, events, stream)
        if holds_boxes:
          raise _unread(path, section, "holds boxes")
        of_images = of_images or (section if means_images else None)
      continue
    if event != "start_array" or section in seen:
      value = "there are two" if section in seen else f"no list but {_kind(event)}"
      raise ValueError(f"{path.name}: {section}: {value}; accepted: one list")
    seen.add(section)
    for number in itertools.count(1):
      event, value = next(events)
      stream.num_bytes = 0
      if event == "end_array":
        break
      if event == "start_map":
        value = _entry(section, events, polygons)
      else:
        value = _value(event, value, events)
      num_annotations += section == "annotations"
      yield section, number, value
  if of_images is not None and not num_annotations:
    raise _unread(path, of_images, "has entries of images")
  if "images" not in seen:
    raise _error(path, "no list of images")
  for _ in events:  # What follows the object is an error that is reported here.
    pass


def _entry(section: str, events: Iterator[tuple[str, Any]], polygons: bool) -> dict[str, Any]:
  """The entry of a list whose object has begun, its `FIELDS` alone."""
  fields, result = FIELDS[section], {}
  for inner, key in events:
    if inner == "end_map":
      break
    event, value = next(events)
    if key == SEGMENTATION:
      result.pop(SEGMENTATION, None)  # Of a key that is there twice the last counts.
    if key in fields:
      result[key] = _value(event, value, events)
    elif section == "annotations" and key == SEGMENTATION:
      read = _extent if polygons else _holds_anything
      extent = read(event, value, events)
      if extent is not None:
        result[SEGMENTATION] = extent
    elif event not in _DEPTH:
      if section == "images" and event == "number" and key.lower() in _BOX_FIELDS:
        result[BOXES_INSIDE] = key
    elif section == "images":
      if _search(key, event, events)[0]:
        result[BOXES_INSIDE] = key
    else:
      _skip(event, events)
  return result


def _value(event: str, value: Any, events: Iterator[tuple[str, Any]], depth: int = 1) -> Any:
  """The value that begins with an event; raises RecursionError where it is too deep."""
  if depth > json_text.MAX_DEPTH:
    raise RecursionError
  if event == "start_map":
    result = {}
    for inner, key in events:
      if inner == "end_map":
        break
      result[key] = _value(*next(events), events, depth + 1)
    return result
  if event == "start_array":
    result = []
    for begin, begin_value in events:
      if begin == "end_array":
        break
      result.append(_value(begin, begin_value, events, depth + 1))
    return result
  return value


def _search(
  name: str, event: str, events: Iterator[tuple[str, Any]], stream: "_Stream | None" = None
) -> tuple[bool, bool]:
  """Passes over the list or object that begins with an event; one of any length, given the stream.

  Returns:
    Whether it may have boxes in it, and whether it means images by their ids.
  """
  depth, found, is_empty, means_images = _DEPTH[event], False, True, False
  for event, value in events:
    depth += _DEPTH.get(event, 0)
    if not depth:
      break
    if depth > json_text.MAX_DEPTH:
      raise RecursionError
    if stream is not None:
      stream.num_bytes = 0
    is_empty = False
    if event == "map_key":
      key = value.lower()
      found, means_images = found or key in _BOX_FIELDS, means_images or key in _IMAGE_FIELDS
  return found or (not is_empty and name.lower() in _BOX_FIELDS), means_images


def _holds_anything(event: str, value: Any, events: Iterator[tuple[str, Any]]) -> bool | None:
  """Passes over a value; True if there is anything in it, be it an empty list, else None."""
  if event in _DEPTH:
    return _skip(event, events) > 1 or None  # One event is the end.
  return bool(value) or None


def _extent(event: str, value: Any, events: Iterator[tuple[str, Any]]) -> list[float] | bool | None:
  """Left, top, right and bottom of a list of polygons; True of what is none, None of nothing."""
  value = _value(event, value, events)
  if not isinstance(value, list):
    return bool(value) or None
  rings = [value] if value and not isinstance(value[0], list) else value
  numbers = [number for ring in rings for number in (ring if isinstance(ring, list) else [ring])]
  if not numbers:
    return None
  if len(numbers) < 6 or len(numbers) % 2 or not all(map(json_text.is_number, numbers)):
    return True
  xs, ys = numbers[::2], numbers[1::2]
  return [min(xs), min(ys), max(xs), max(ys)]


def _skip(event: str, events: Iterator[tuple[str, Any]]) -> int:
  """Passes over the list or object that begins with an event; how many events that took."""
  depth, count = _DEPTH[event], 0
  for event, _ in events:
    count += 1
    depth += _DEPTH.get(event, 0)
    if not depth:
      break
    if depth > json_text.MAX_DEPTH:
      raise RecursionError
  return count


class _Stream:
  """A file that reports how far it was read and can quote malformed numbers.

  Attributes:
    num_bytes: that were read since somebody set it to 0, up to `_MAX_ENTRY_BYTES`.
  """

  def __init__(self, file: BinaryIO, read_bytes: Callable[[int], object], quote_odd_numbers: bool):
    self._file, self._read_bytes, self._quote = file, read_bytes, quote_odd_numbers
    self._rest = b""
    self.num_bytes = 0

  def read(self, size: int) -> bytes:
    data = self._read(size)
    if not self._quote or not size:
      return data
    at_end = not data
    data = self._rest + data
    # In front of a comma no number is cut in two.
    pieces, is_found = [data], data.rfind(b",") > 0
    while not at_end and not is_found:
      pieces.append(self._read(size))
      at_end, is_found = not pieces[-1], b"," in pieces[-1]
    data = b"".join(pieces)
    cut = len(data) if at_end else data.rfind(b",")
    self._rest = data[cut:]
    return _ODD_NUMBER.sub(rb'\1"\2"', data[:cut])

  def _read(self, size: int) -> bytes:
    data = self._file.read(size)
    self._read_bytes(len(data))
    self.num_bytes += len(data)
    if self.num_bytes > _MAX_ENTRY_BYTES:
      raise ijson.JSONError(f"a value of more than {_MAX_ENTRY_BYTES} bytes")
    return data


def _too_deep(path: pathlib.Path, last: tuple[str, int, Any] | None) -> ValueError:
  where = "at its beginning" if last is None else f"after {last[0]} entry {last[1]}"
  accepted = f"at most {json_text.MAX_DEPTH} levels"
  return _error(path, f"objects and lists in each other {where}", accepted)


def _unread(path: pathlib.Path, section: str, value: str) -> ValueError:
  accepted = "a list of this name: annotations"
  name = quoting.one_line(section)
  return ValueError(f"{path.name}: {name}: {value}, which are not read; accepted: {accepted}")


def _kind(event: str) -> str:
  return {"start_array": "a list", "start_map": "an object"}.get(event, f"a {event}")


def _error(path: pathlib.Path, value: str, accepted: str = _ACCEPTED) -> ValueError:
  return ValueError(f"{path.name}: {value}; accepted: {accepted}")
