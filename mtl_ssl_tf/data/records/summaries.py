"""Summary of a shard, and of a split: counts of its records and of what was left out."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import tensorflow as tf

from mtl_ssl_tf.data import faults, schema
from mtl_ssl_tf.data.sources import split_source
from mtl_ssl_tf.reading import json_text

# Entry of a manifest: images that state their annotated classes; absent where none does.
PARTLY_ANNOTATED = "num_images_with_annotated_classes"
_MAX_NAMED = 20
_FAULT_TYPES = {
  "file": str,
  "field": str,
  "value": str,
  "accepted": str,
  "object_number": (int, None),
  "object_name": (str, None),
}
_TYPES = {
  "num_images": int,
  "num_boxes": int,
  "num_images_left_out": int,
  "num_objects_left_out": int,
  "faults": [_FAULT_TYPES],
  "_num_without_boxes": int,
  "_num_difficult": int,
  "_num_crowds": int,
  "_num_partly": int,
  "_max_boxes": int,
  "_sizes": [[int]],
  "_boxes_per_class": {str: int},
  "_noted": {str: int},
  "_first_noted": {str: [str]},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Converted:
  """Result of converting one image of a split.

  Attributes:
    example: the record; None where the image has to be left out.
    faults: all of the image, its annotation and its objects.
    notes: keys of `split_source.NOTES`.
    hashes: SHA-256 of the files read, by path.
  """

  example: tf.train.Example | None
  faults: tuple[faults.Fault, ...]
  notes: tuple[str, ...]
  hashes: Mapping[str, str]


class Summary:
  """Counts of records and of what is remarkable about their sources; its size is bounded.

  Only the faults are kept one by one, as each of them has to be reported.

  Attributes:
    num_images: records.
    num_boxes: their boxes.
    faults: of the sources, in order.
    num_images_left_out: sources without a record.
    num_objects_left_out: objects that records lack.
  """

  def __init__(self):
    self.num_images = 0
    self.num_boxes = 0
    self.num_images_left_out = 0
    self.num_objects_left_out = 0
    self.faults: list[faults.Fault] = []
    self._num_without_boxes = 0
    self._num_difficult = 0
    self._num_crowds = 0
    self._num_partly = 0
    self._max_boxes = 0
    self._sizes = collections.Counter()
    self._boxes_per_class = collections.Counter()
    self._noted = collections.Counter()
    self._first_noted = collections.defaultdict(list)

  def add_converted(self, converted: Converted, name: str) -> None:
    """Counts an image, whether it became a record or not; `name` is what the split calls it."""
    self.faults.extend(converted.faults)
    if converted.example is None:
      self.num_images_left_out += 1
    else:
      self.num_objects_left_out += num_objects(converted.faults)
      self.add_example(converted.example)
    for note in converted.notes:
      self._note(note, 1, [name])

  def add_example(self, example: tf.train.Example) -> None:
    """Counts a record."""
    feature = example.features.feature
    height, width = (
      feature[key].int64_list.value[0] for key in (schema.IMAGE_HEIGHT, schema.IMAGE_WIDTH)
    )
    names = [name.decode() for name in feature[schema.OBJECT_TEXT].bytes_list.value]
    self.num_images += 1
    self._num_without_boxes += not names
    self.num_boxes += len(names)
    self._num_difficult += sum(feature[schema.OBJECT_DIFFICULT].int64_list.value)
    self._num_crowds += sum(feature[schema.OBJECT_IS_CROWD].int64_list.value)
    self._num_partly += schema.ANNOTATED_CLASSES in feature
    self._max_boxes = max(self._max_boxes, len(names))
    self._sizes[height, width] += 1
    self._boxes_per_class.update(names)

  def add(self, other: Self) -> None:
    """Adds what another one, of images that come after these, has counted."""
    self.num_images += other.num_images
    self.num_images_left_out += other.num_images_left_out
    self.num_objects_left_out += other.num_objects_left_out
    self.faults.extend(other.faults)
    self._num_without_boxes += other._num_without_boxes
    self.num_boxes += other.num_boxes
    self._num_difficult += other._num_difficult
    self._num_crowds += other._num_crowds
    self._num_partly += other._num_partly
    self._max_boxes = max(self._max_boxes, other._max_boxes)
    self._sizes.update(other._sizes)
    self._boxes_per_class.update(other._boxes_per_class)
    for note, count in other._noted.items():
      self._note(note, count, other._first_noted[note])

  def about_records(self, classes: Sequence[str]) -> dict[str, Any]:
    """The manifest's counts; there must be records."""
    heights, widths = zip(*self._sizes, strict=True)
    partly = {PARTLY_ANNOTATED: self._num_partly} if self._num_partly else {}
    return {
      "num_images": self.num_images,
      "num_images_without_boxes": self._num_without_boxes,
      "num_boxes": self.num_boxes,
      "num_difficult_boxes": self._num_difficult,
      "num_crowd_boxes": self._num_crowds,
      **partly,
      "max_boxes_per_image": self._max_boxes,
      "boxes_per_class": {name: self._boxes_per_class[name] for name in classes},
      "image_sizes": {
        "num_distinct": len(self._sizes),
        "min_height": min(heights),
        "max_height": max(heights),
        "min_width": min(widths),
        "max_width": max(widths),
      },
    }

  def about_sources(self) -> dict[str, Any]:
    """The manifest's list of what was left out and of what is remarkable."""
    return {
      "skipped": {
        "num_images": self.num_images_left_out,
        "num_objects": self.num_objects_left_out,
        "faults": [dataclasses.asdict(fault) for fault in self.faults],
      },
      "notes": {
        note: {"num_images": self._noted[note], "first_images": self._first_noted[note]}
        for note in split_source.NOTES
        if note in self._noted
      },
    }

  def to_json(self) -> dict[str, Any]:
    """Returns the summary as JSON-compatible values."""
    values = dict(vars(self))
    values["faults"] = [dataclasses.asdict(fault) for fault in self.faults]
    values["_sizes"] = [[*size, count] for size, count in self._sizes.items()]
    return values

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> Self:
    """Returns the summary that `to_json` wrote.

    Raises:
      ValueError: the values are not of its kind.
    """
    summary = cls()
    json_text.check(values, _TYPES, "summary")
    if values.keys() != vars(summary).keys() or any(len(row) != 3 for row in values["_sizes"]):
      raise ValueError("summary: not of this version; accepted: one of this version")
    for name, value in values.items():
      if isinstance(getattr(summary, name), collections.Counter) and name != "_sizes":
        getattr(summary, name).update(value)
      elif name not in ("faults", "_sizes", "_first_noted"):
        setattr(summary, name, value)
    summary.faults = [faults.Fault(**fault) for fault in values["faults"]]
    summary._sizes.update({(height, width): n for height, width, n in values["_sizes"]})
    summary._first_noted.update(values["_first_noted"])
    return summary

  def _note(self, note: str, count: int, names: Iterable[str]) -> None:
    self._noted[note] += count
    first = self._first_noted[note]
    first.extend(list(names)[: _MAX_NAMED - len(first)])


def num_objects(found: Iterable[faults.Fault]) -> int:
  """The number of objects that these faults are of, within one file."""
  return len({fault.object_number for fault in found if fault.object_number is not None})
