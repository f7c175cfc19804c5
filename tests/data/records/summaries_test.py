"""Tests of counting records and of what was left out."""

import json

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.records import summaries
from mtl_ssl_tf.data.records import writer as record_writer

_FAULT = faults.Fault("a.xml", "name", "'cow'", "a class", 2, "'cow'")


def _converted(
  names=("cat",), found=(), notes=(), height=20, is_crowd=0, **others
) -> summaries.Converted:
  example = record_writer.make_example(
    encoded=b"bytes",
    image_format="jpeg",
    height=height,
    width=40,
    filename="a.jpg",
    source_id="a",
    boxes_orig=[(2, 4, 10, 20)] * len(names),
    class_ids=[1] * len(names),
    class_names=names,
    difficult=[1] * len(names),
    truncated=[0] * len(names),
    is_crowd=[is_crowd] * len(names),
    **others,
  )
  return summaries.Converted(example, tuple(found), tuple(notes), {})


def _summary(*images: tuple[summaries.Converted, str]) -> summaries.Summary:
  summary = summaries.Summary()
  for converted, name in images:
    summary.add_converted(converted, name)
  return summary


_LEFT_OUT = summaries.Converted(None, (_FAULT, faults.Fault("b.jpg", "image", "x", "y")), (), {})
_IMAGES = (
  (_converted(("cat", "dog"), found=[_FAULT, _FAULT], notes=["size_missing"]), "a"),
  (_LEFT_OUT, "b"),
  (_converted((), height=30, notes=["size_missing", "boxes_clipped"]), "c"),
  (_converted(("cat",) * 3, is_crowd=1), "d\udcff"),
)


def _told(summary: summaries.Summary) -> dict:
  return summary.about_records(["cat", "cow", "dog"]) | summary.about_sources()


def test_counts():
  told = _told(_summary(*_IMAGES))
  assert len(told["skipped"].pop("faults")) == 4
  assert told == {
    "num_images": 3,
    "num_images_without_boxes": 1,
    "num_boxes": 5,
    "num_difficult_boxes": 5,
    "num_crowd_boxes": 3,
    "max_boxes_per_image": 3,
    "boxes_per_class": {"cat": 4, "cow": 0, "dog": 1},
    "image_sizes": {
      "num_distinct": 2,
      "min_height": 20,
      "max_height": 30,
      "min_width": 40,
      "max_width": 40,
    },
    # Two faults of one object, and an image whose objects are not counted as well.
    "skipped": {"num_images": 1, "num_objects": 1},
    "notes": {
      "size_missing": {"num_images": 2, "first_images": ["a", "c"]},
      "boxes_clipped": {"num_images": 1, "first_images": ["c"]},
    },
  }


def test_sums_of_parts_and_copies_tell_the_same():
  whole = _summary(*_IMAGES)
  total = summaries.Summary()
  for part in (_summary(*_IMAGES[:2]), _summary(), _summary(*_IMAGES[2:])):
    copy = summaries.Summary.from_json(json.loads(json.dumps(part.to_json())))
    total.add(copy)
  assert _told(total) == _told(whole)
  assert (total.num_images, total.num_images_left_out) == (3, 1)


def test_first_images_are_twenty_at_most():
  images = [(_converted(notes=["size_missing"]), str(number)) for number in range(15)]
  total = _summary(*images)
  total.add(_summary(*images))
  note = total.about_sources()["notes"]["size_missing"]
  assert note["num_images"] == 30
  assert note["first_images"] == [str(number) for number in [*range(15), *range(5)]]


def test_images_that_state_their_annotated_classes_are_those_of_all_parts():
  partly = _converted(annotated_classes={1: "cat"}), "a"
  total = summaries.Summary()
  for part in ((partly, partly), (partly, *_IMAGES)):
    total.add(_summary(*part))
  assert total.about_records(["cat"])[summaries.PARTLY_ANNOTATED] == 3
