"""COCO files, as the converter lists their images, and what `json.loads` reads in them."""

import json
import math
import pathlib
import random
import re
import sys
from typing import Any

from mtl_ssl_tf.data.records import examples
from mtl_ssl_tf.data.sources import coco_source
from tests.data import coco_files
from tests.fuzz import mutations, odd_values, outcomes
from tests.fuzz.kinds import base, records

_FILE = "train.json"
_MAX_LEVELS = 10_000  # More than any case has.
_FIELDS = (
  *("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "file_name"),
  *("width", "height", "name", "supercategory", "difficult", "truncated", "ignore", "coco_url"),
)


class Cases(base.Kind):
  """See above."""

  name = "json"
  about = "COCO annotations"

  def __init__(self, prepared, scratch):
    super().__init__(prepared, scratch)
    images = [coco_files.image_entry(), coco_files.image_entry(8)]
    self._contents = [
      {"images": images, "annotations": annotations, "categories": list(coco_files.CATEGORIES)}
      for annotations in (
        [coco_files.annotation_entry(), coco_files.annotation_entry(101, image_id=8)],
        [
          coco_files.annotation_entry(bbox=None),
          coco_files.annotation_entry(5, category_id=1, iscrowd=1, bbox=[12.5, 8, -3, 2.25]),
          coco_files.annotation_entry(6, category_id=90, difficult=1, ignore=1, area=None),
        ],
        [coco_files.annotation_entry(None, bbox=[]), coco_files.annotation_entry(None)],
      )
    ]
    del self._contents[2]["annotations"][0]["segmentation"]
    coco_files.write(scratch, b"", ("7.jpg", "8.jpg"))
    self._seeds = [json.dumps(content).encode() for content in self._contents]
    self._seeds.append(json.dumps(self._contents[1], indent=2, ensure_ascii=False).encode())

  def seeds(self) -> list[base.Files]:
    return [{_FILE: content} for content in self._seeds]

  def make(self, rng: random.Random) -> base.Files:
    if rng.random() < 0.25:
      words = [text.encode() for text in (*odd_values.TOKENS, *map(json.dumps, _FIELDS), *"[]{},:")]
      return {_FILE: mutations.mutate(rng, self._seeds, words)}
    value = odd_values.as_members(rng.choice(self._contents))
    for _ in range(rng.randint(1, 4)):
      value = odd_values.mutate(rng, value)
    return {_FILE: odd_values.encode(rng, odd_values.dumps(value, rng))}

  def check(self, files: base.Files) -> bool:
    self.write(files)
    source = coco_source.open_split(self.scratch / _FILE, self.scratch / "images", "train")
    plain = _Plain(files[_FILE])
    outcomes.check_equal(len(source), len(plain.images), "number of images")
    found = [*source.faults, *(remark.fault for remark in source.remarks)]
    seen, accepted = set(), 0
    for position in range(len(source)):
      source.name(position)
      source.class_names(position)
      source.signature(position)
      source.stated_boxes(position)
      image = source.read_image(position)
      found += image.faults
      seen |= {fault.object_number for fault in image.faults}
      self._check_image(image, plain.images[position])
      converted = examples.convert(source, position)
      if converted.example is not None:
        records.check_sound(converted.example, source.classes)
      for item in image.objects:
        plain.check_object(item, image.source_id)
        seen.add(item.number)
        accepted += 1
    for fault in found:
      outcomes.check_message(str(fault))
    seen |= {fault.object_number for fault in source.faults}
    marks = {n for n, entry in enumerate(plain.annotations, 1) if _is_empty_mark(entry)}
    missing = set(range(1, len(plain.annotations) + 1)) - seen - marks
    outcomes.check(not missing, f"annotations that are neither read nor at fault: {missing}")
    return accepted > 0

  def _check_image(self, image, entry: Any) -> None:
    if image.image_file is not None:
      path = pathlib.Path(self.scratch / "images" / image.image_file).resolve()
      outcomes.check(path.is_relative_to(self.scratch.resolve() / "images"), f"image {path}")
      name = entry.get("file_name", entry.get("coco_url"))
      ours, plain = (re.split(r"[\\/]", text)[-1].strip() for text in (image.image_file, name))
      outcomes.check(ours in plain or "%" in plain, f"image {ours!r} of {plain!r}")
    if image.size is not None:
      plain = tuple(int(_id(entry[side])) for side in ("height", "width"))
      outcomes.check_equal(image.size, plain, "size")


class _Plain:
  """The whole file in memory.

  Attributes:
    images, annotations: the lists.
  """

  def __init__(self, content: bytes):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_MAX_LEVELS)
    try:
      # The package's parser takes these for blanks; in texts neither takes them.
      blanks = bytes.maketrans(b"\v\f", b"  ")
      root = json.loads(content.translate(blanks).decode("utf-8-sig"))
    except ValueError as error:
      raise outcomes.DisagreementError(f"read, though json.loads refuses it: {error}") from error
    finally:
      sys.setrecursionlimit(limit)
    outcomes.check(isinstance(root, dict), "the file is no object")
    self.images = root.get("images", [])
    self.annotations = root.get("annotations", [])
    self._categories = root.get("categories", [])

  def check_object(self, item, source_id: str) -> None:
    """Compares an object of the package with its entry."""
    entry = self.annotations[item.number - 1]
    outcomes.check_equal(source_id, _id(entry["image_id"]), "image of the annotation")
    names = [
      _name(category["name"])
      for category in self._categories
      if isinstance(category, dict)
      and isinstance(category.get("name"), str | int | float)
      and _id(category.get("id")) == _id(entry["category_id"])
    ]
    outcomes.check(item.name in names, f"class {item.name!r}, of the file {names}")
    outcomes.check_equal(item.box, _box(entry), "box")
    outcomes.check_equal(item.is_crowd, _flag(entry.get("iscrowd")), "crowd")
    difficult = _flag(entry.get("difficult")) or (
      _flag(entry.get("ignore")) and not _flag(entry.get("iscrowd"))
    )
    outcomes.check_equal(item.difficult, int(difficult), "difficult")
    if item.area is not None:
      outcomes.check_equal(item.area, float(entry["area"]), "area")


def _is_empty_mark(entry: Any) -> bool:
  if not isinstance(entry, dict) or entry.get("bbox") != []:
    return False
  polygons = entry.get("segmentation")
  return not any(ring != [] for ring in polygons) if isinstance(polygons, list) else not polygons


def _box(entry: dict[str, Any]) -> tuple[float, ...]:
  """ymin, xmin, ymax, xmax: of `bbox`, or where that says nothing of the polygons."""
  bbox = entry.get("bbox")
  says = isinstance(bbox, list) and bbox and any(side not in (0, None, -1) for side in bbox)
  if says:
    x, y, width, height = map(float, bbox)
    sides = (y, x, y + height, x + width)
  else:
    numbers = _numbers(entry["segmentation"])
    sides = (min(numbers[1::2]), min(numbers[::2]), max(numbers[1::2]), max(numbers[::2]))
    # The package goes by way of width and height.
    sides = (*sides[:2], sides[0] + (sides[2] - sides[0]), sides[1] + (sides[3] - sides[1]))
  outcomes.check(all(map(math.isfinite, sides)), f"box {sides}")
  ymin, xmin, ymax, xmax = sides
  return (min(ymin, ymax), min(xmin, xmax), max(ymin, ymax), max(xmin, xmax))


def _numbers(value: Any) -> list[float]:
  if not isinstance(value, list):
    return [float(value)]
  return [number for inner in value for number in _numbers(inner)]


def _id(value: Any) -> str | None:
  """Ids are compared as text, be they 7, 7.0 or "7"."""
  if isinstance(value, str):
    return value.strip()
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return str(int(value)) if isinstance(value, int | float) and value == int(value) else None


def _flag(value: Any) -> int:
  """1 where a value means yes; what is no flag is at fault and does not come here."""
  if isinstance(value, str):
    value = value.strip().lower()
    if value in ("true", "yes"):
      return 1
    return int(value.replace(".", "", 1).replace("e", "", 1).isalnum() and _is_one(value))
  return int(value in (True, 1))


def _name(value: Any) -> str:
  """The text; numbers that JSON's readers differ about count as it."""
  if isinstance(value, float):
    return str(value).replace("nan", "NaN").replace("inf", "Infinity")
  return str(value).strip()


def _is_one(text: str) -> bool:
  try:
    return float(text) == 1.0
  except ValueError:
    return False
