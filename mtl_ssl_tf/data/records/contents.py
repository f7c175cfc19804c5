"""Checks of what a record holds, the same for training, evaluation and validation.

They are about the form: the lists that are needed, of the right type and of equal lengths, classes
that count from 1, and coordinates that are numbers. Whether boxes and images are good ones is for
`inspection/record_checks.py`.
"""

import dataclasses
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message, unknown_fields
from PIL import Image

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import features

BOX = (schema.OBJECT_YMIN, schema.OBJECT_XMIN, schema.OBJECT_YMAX, schema.OBJECT_XMAX)
FLAGS = (schema.OBJECT_DIFFICULT, schema.OBJECT_TRUNCATED, schema.OBJECT_IS_CROWD)
SIZE = (schema.IMAGE_HEIGHT, schema.IMAGE_WIDTH)
NEEDED = (schema.IMAGE_ENCODED, schema.IMAGE_SOURCE_ID)
_SINGLE = (*NEEDED, *SIZE)
# Those that batches and figures are made of; the others are for people.
USED = frozenset(
  {
    *_SINGLE,
    *BOX,
    *schema.IGNORED_BOX,
    schema.OBJECT_LABEL,
    schema.OBJECT_DIFFICULT,
    schema.OBJECT_IS_CROWD,
    schema.OBJECT_AREA,
    schema.ANNOTATED_CLASSES,
  }
)
# Key -> the list of a feature that holds it.
_LISTS = {
  "bytes_list": (
    schema.IMAGE_ENCODED,
    schema.IMAGE_FORMAT,
    schema.IMAGE_FILENAME,
    schema.IMAGE_SOURCE_ID,
    schema.IMAGE_SHA256,
    schema.OBJECT_TEXT,
    schema.ANNOTATED_CLASSES_TEXT,
  ),
  "int64_list": (
    *SIZE,
    schema.OBJECT_LABEL,
    schema.OBJECT_ID,
    *FLAGS,
    schema.ERASED_LABEL,
    schema.ANNOTATED_CLASSES,
  ),
  "float_list": (*BOX, schema.OBJECT_AREA, *schema.IGNORED_BOX, *schema.ERASED_BOX),
}
_IN_WORDS = {"bytes_list": "bytes", "int64_list": "whole numbers", "float_list": "numbers"}
# Formats that TensorFlow decodes.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP")
Values = Mapping[str, Sequence[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
  """Something in a record that is not as it should be.

  Attributes:
    kind: one word for all problems of its like.
    field: name of the feature.
    value: what was found.
    accepted: what would have been right.
    row: place of the object in the lists, from 0; None of what is about no single one.
  """

  kind: str
  field: str
  value: str
  accepted: str
  row: int | None = None

  @property
  def where(self) -> str:
    """The field, and of which object."""
    return self.field if self.row is None else f"object {self.row + 1} {self.field}"


def read(content: bytes) -> tuple[Values, list[Problem]]:
  """The lists of a record by their names, empty where there is none, and what is wrong with them.

  A size that is missing is among the problems, though readers take the image's then.

  Args:
    content: a serialized tf.Example.
  """
  try:
    feature = tf.train.Example.FromString(content).features.feature
  except message.DecodeError:
    feature = {}
  values: dict[str, list[Any]] = {}
  if not feature or not features.is_plain(memoryview(content)):
    value = f"{len(content)} bytes that are none" if content else "an empty record"
    accepted = "a serialized tf.Example of an image"
    return values, [Problem("not_an_example", "tf.Example", value, accepted)]
  found = []
  for kind, keys in _LISTS.items():
    for key in keys:
      actual = feature[key].WhichOneof("kind") if key in feature else None
      if actual not in (None, kind):
        value, accepted = f"a list of {_IN_WORDS[actual]}", f"a list of {_IN_WORDS[kind]}"
        found.append(Problem("wrong_type", key, value, accepted))
      listed = getattr(feature[key], kind) if actual == kind else None
      values[key] = [] if listed is None else list(listed.value)
      if listed is not None and len(unknown_fields.UnknownFieldSet(listed)):
        value, accepted = "fields that are no values", f"a list of {_IN_WORDS[kind]}"
        found.append(Problem("wrong_type", key, value, accepted))
  for key in _SINGLE:
    if len(values[key]) > 1:
      found.append(Problem("several_values", key, f"{len(values[key])} values", "one value"))
    elif not values[key] or values[key] == [b""]:
      found.append(Problem("missing_field", key, "missing or empty", "one value"))
  return values, found


def length_problems(values: Values) -> Iterator[Problem]:
  """Yields the lists of objects, regions to be ignored or erased objects of another length."""
  groups = (
    (schema.OBJECT_LABEL, BOX, (schema.OBJECT_TEXT, *FLAGS, schema.OBJECT_AREA, schema.OBJECT_ID)),
    (schema.IGNORED_BOX[0], schema.IGNORED_BOX[1:], ()),
    (schema.ERASED_LABEL, schema.ERASED_BOX, ()),
    (schema.ANNOTATED_CLASSES, (), (schema.ANNOTATED_CLASSES_TEXT,)),
  )
  for first, needed, others in groups:
    number = len(values[first])
    for key in (*needed, *others):
      if len(values[key]) not in ((number,) if key in needed else (0, number)):
        accepted = f"{number}, as many as {first}" + ("" if key in needed else ", or none")
        yield Problem("lengths_differ", key, f"{len(values[key])} values", accepted)


def label_problems(values: Values, num_classes: int | None) -> Iterator[Problem]:
  """Yields the objects of no class; `num_classes` is None where no label map says them."""
  for row, label in enumerate(values[schema.OBJECT_LABEL]):
    if not _is_class(label, num_classes):
      yield Problem("label", schema.OBJECT_LABEL, str(label), _classes(num_classes), row)


def annotated_class_problems(values: Values, num_classes: int | None) -> Iterator[Problem]:
  """Yields the annotated classes that are none; `num_classes` as of `label_problems`."""
  for label in values[schema.ANNOTATED_CLASSES]:
    if not _is_class(label, num_classes):
      accepted = _classes(num_classes)
      yield Problem("annotated_class", schema.ANNOTATED_CLASSES, str(label), accepted)


def _is_class(label: int, num_classes: int | None) -> bool:
  return label >= 1 and (num_classes is None or label <= num_classes)


def _classes(num_classes: int | None) -> str:
  """The classes that are accepted."""
  if num_classes is None:
    return "classes count from 1"
  return f"1 … {num_classes}, the lines of the label map"


def size_problems(values: Values, size: Sequence[int]) -> Iterator[Problem]:
  """Yields height and width where the record states others than those of its image."""
  for key, actual in zip(SIZE, size, strict=True):
    stated = values[key][:1]
    if stated and stated[0] != actual:
      accepted = f"{actual}, as the image has it"
      yield Problem("size_differs", key, str(stated[0]), accepted)


def image_size(encoded: bytes) -> tuple[int, int] | None:
  """Height and width in an image's header; None where there is none that can be read."""
  try:
    with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
      return image.height, image.width
  except Exception:  # A reader of damaged bytes may raise nearly anything.
    return None


def problems(
  values: Values, found: Sequence[Problem], num_classes: int | None, keys: Collection[str] = USED
) -> Iterator[Problem]:
  """Yields all that stands in the way of batches or figures, in the order of the checks.

  Args:
    values, found: what `read` returns.
    num_classes: None where no label map says them.
    keys: others do not matter.
  """
  structural = [
    problem
    for problem in found
    if problem.kind == "not_an_example"
    or (problem.field in keys and (problem.kind != "missing_field" or problem.field in NEEDED))
  ]
  yield from structural
  if structural:
    return
  lengths = [problem for problem in length_problems(values) if problem.field in keys]
  yield from lengths
  yield from label_problems(values, num_classes)
  yield from annotated_class_problems(values, num_classes)
  for key in () if lengths else (*BOX, schema.OBJECT_AREA, *schema.IGNORED_BOX):
    for row in np.flatnonzero(~np.isfinite(np.array(values[key], np.float64))):
      yield Problem("not_finite", key, str(values[key][row]), "a finite number", int(row))
