"""Tests of which parts of a record must be sound for training and evaluation."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import contents
from mtl_ssl_tf.data.records import writer as record_writer
from tests.data import voc_files

# Of these nothing is computed.
_FOR_PEOPLE = {
  schema.IMAGE_FORMAT,
  schema.IMAGE_FILENAME,
  schema.IMAGE_SHA256,
  schema.OBJECT_TEXT,
  schema.OBJECT_TRUNCATED,
  schema.OBJECT_ID,
  schema.ANNOTATED_CLASSES_TEXT,
}


def _example() -> tf.train.Example:
  """A record with every list, of two objects, two regions and two annotated classes."""
  boxes = [(2, 4, 10, 20), (0, 0, 20, 40)]
  return record_writer.make_example(
    encoded=b"encoded",
    image_format="png",
    height=20,
    width=40,
    filename="a.png",
    source_id="a",
    boxes_orig=boxes,
    class_ids=[1, 2],
    class_names=["cat", "dog"],
    difficult=[0, 1],
    truncated=[0, 0],
    ignored_boxes_orig=boxes,
    annotated_classes={1: "cat", 2: "dog"},
  )


_FIELDS = sorted(_example().features.feature)


def _problems(example: tf.train.Example, num_classes: int | None = 2) -> list[tuple[str, str]]:
  values, found = contents.read(example.SerializeToString())
  return [
    (problem.kind, problem.where) for problem in contents.problems(values, found, num_classes)
  ]


def test_a_sound_record():
  assert len(_FIELDS) == 24
  assert _problems(_example()) == []


@pytest.mark.parametrize("field", _FIELDS)
def test_a_list_of_another_type(field):
  example = _example()
  feature = example.features.feature[field]
  if feature.WhichOneof("kind") == "bytes_list":
    feature.int64_list.value[:] = [1, 1]
  else:
    feature.bytes_list.value[:] = [b"1", b"1"]
  found = _problems(example)[:1]  # What cannot be read may be missing besides.
  assert found == ([] if field in _FOR_PEOPLE else [("wrong_type", field)])


@pytest.mark.parametrize(
  "field",
  [schema.IMAGE_ENCODED, schema.IMAGE_SOURCE_ID, schema.IMAGE_HEIGHT, schema.IMAGE_WIDTH],
)
def test_one_value_of_an_image(field):
  example = _example()
  feature = example.features.feature[field]
  values = getattr(feature, feature.WhichOneof("kind")).value
  values.extend(list(values))
  assert _problems(example) == [("several_values", field)]
  del example.features.feature[field]
  is_needed = field in (schema.IMAGE_ENCODED, schema.IMAGE_SOURCE_ID)
  # The image tells its size.
  assert _problems(example) == ([("missing_field", field)] if is_needed else [])


@pytest.mark.parametrize("field", [name for name in _FIELDS if "object" in name or "ign" in name])
def test_lists_of_another_length(field):
  example = _example()
  feature = example.features.feature[field]
  del getattr(feature, feature.WhichOneof("kind")).value[1:]
  found = _problems(example)
  if field in (schema.OBJECT_LABEL, schema.IGNORED_YMIN):  # The others are as many as these.
    assert {kind for kind, _ in found} == {"lengths_differ"} and len(found) >= 3
  else:
    assert found == ([] if field in _FOR_PEOPLE else [("lengths_differ", field)])


def test_classes():
  example = _example()
  example.features.feature[schema.OBJECT_LABEL].int64_list.value[:] = [0, 3]
  example.features.feature[schema.ANNOTATED_CLASSES].int64_list.value[:] = [0, 3]
  labels = [("label", f"object {number} {schema.OBJECT_LABEL}") for number in (1, 2)]
  annotated = ("annotated_class", schema.ANNOTATED_CLASSES)
  assert _problems(example) == [*labels, annotated, annotated]
  # Without a label map any class from 1 on is one.
  assert _problems(example, None) == [labels[0], annotated]


@pytest.mark.parametrize("field", [*contents.BOX, schema.OBJECT_AREA, *schema.IGNORED_BOX])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(field, value):
  example = _example()
  example.features.feature[field].float_list.value[1] = value
  assert _problems(example) == [("not_finite", f"object 2 {field}")]


@pytest.mark.parametrize(
  ("image_format", "size"),
  [("JPEG", (20, 40)), ("PNG", (20, 40)), ("GIF", (20, 40)), ("BMP", (20, 40)), ("TIFF", None)],
)
def test_the_size_of_an_image_in_its_header(image_format, size):
  encoded = voc_files.image_bytes(voc_files.picture(20, 40), image_format)
  assert contents.image_size(encoded) == size
  assert contents.image_size(encoded[:9]) is None


def test_a_size_that_is_stated_otherwise():
  values, _ = contents.read(_example().SerializeToString())
  assert list(contents.size_problems(values, (20, 40))) == []
  found = [(p.field, p.value, p.accepted) for p in contents.size_problems(values, (40, 20))]
  assert found == [
    (schema.IMAGE_HEIGHT, "20", "40, as the image has it"),
    (schema.IMAGE_WIDTH, "40", "20, as the image has it"),
  ]
