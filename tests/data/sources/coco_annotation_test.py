"""Tests of checking entries of a COCO file."""

import pytest

from mtl_ssl_tf.data.sources import coco_annotation
from tests.data import coco_files

_CATEGORIES = {1: "dog", 3: "cat"}


def _object(**changes):
  entry = coco_files.annotation_entry(**changes)
  return coco_annotation.parse_object(entry, 4, _CATEGORIES, "train.json")


def _image(**changes) -> coco_annotation.CocoImage:
  return coco_annotation.parse_image(coco_files.image_entry(**changes), 2, "train.json")


class TestObject:
  def test_sound(self):
    annotation, found = _object(bbox=[2, 4.5, 10, 1], iscrowd=1)
    assert found == []
    assert annotation == coco_annotation.CocoObject(
      4, "cat", (4.5, 2, 5.5, 12), is_crowd=1, area=60.5, object_id=100
    )

  def test_what_may_be_missing(self):
    annotation, _ = _object(iscrowd=None, area=None)
    assert (annotation.is_crowd, annotation.area) == (0, None)

  @pytest.mark.parametrize(
    ("fields", "difficult", "truncated"),
    [
      ({}, 0, 0),
      ({"difficult": 1}, 1, 0),
      ({"truncated": True}, 0, 1),
      ({"ignore": 1}, 1, 0),
      ({"ignore": 0, "difficult": 1, "truncated": 1}, 1, 1),
      ({"ignore": 1, "iscrowd": 1}, 0, 0),
    ],
  )
  def test_flags_of_voc(self, fields, difficult, truncated):
    annotation, _ = _object(**fields)
    assert (annotation.difficult, annotation.truncated) == (difficult, truncated)

  def test_numbers_written_as_fractions(self):
    assert _object(annotation_id=5.0, category_id=1.0)[0].object_id == 5

  @pytest.mark.parametrize(
    ("changes", "message"),
    [
      (
        {"category_id": None},
        "(id 100) category_id: missing; accepted: the id of a category: 1, 3",
      ),
      ({"category_id": 2}, "category_id: 2; accepted: the id of a category: 1, 3"),
      ({"category_id": "3"}, "category_id: '3'; accepted: the id of a category: 1, 3"),
      ({"category_id": True}, "category_id: True; accepted"),
      ({"annotation_id": "a"}, "('cat', id 'a') id: 'a'; accepted: a whole number"),
      ({"annotation_id": 1.5}, "id: 1.5; accepted: a whole number"),
      ({"annotation_id": 2**63}, "id: 9223372036854775808; accepted: a whole number"),
      ({"iscrowd": 2}, "('cat', id 100) iscrowd: 2; accepted: 0 or 1"),
      ({"iscrowd": "0"}, "iscrowd: '0'; accepted: 0 or 1"),
      ({"difficult": 2}, "difficult: 2; accepted: 0 or 1"),
      ({"truncated": None, "ignore": "yes"}, "ignore: 'yes'; accepted: 0 or 1"),
      ({"area": "60"}, "area: '60'; accepted: a number of square pixels"),
      ({"area": -1}, "area: -1; accepted: a number of square pixels"),
      ({"area": float("nan")}, "area: nan; accepted: a number of square pixels"),
      ({"bbox": None}, "bbox: missing; accepted: [x, y, width, height]"),
      ({"bbox": [1, 2, 3]}, "bbox: [1, 2, 3]; accepted: [x, y, width, height]"),
      ({"bbox": "1 2 3 4"}, "bbox: '1 2 3 4'; accepted: [x, y, width, height]"),
      ({"bbox": {"x": 1}}, "bbox: {'x': 1}; accepted: [x, y, width, height]"),
      ({"bbox": [1, "2", 3, 4]}, "bbox/y: '2'; accepted: a finite number"),
      ({"bbox": [None, 2, 3, 4]}, "bbox/x: null; accepted: a finite number"),
      ({"bbox": [1, 2, float("inf"), 4]}, "bbox/width: inf; accepted: a finite number"),
      ({"bbox": [1, 2, "NaN", 4]}, "bbox/width: 'NaN'; accepted: a finite number"),
      ({"bbox": [1, 2, -3, 4]}, "bbox/width: -3; accepted: more than 0"),
      ({"bbox": [1, 2, 3, 0]}, "bbox/height: 0; accepted: more than 0"),
    ],
  )
  def test_faults(self, changes, message):
    annotation, found = _object(**changes)
    assert annotation is None
    assert [message in str(fault) for fault in found] == [True]
    assert str(found[0]).startswith("train.json: object 4 (")

  def test_no_fault_hides_behind_another(self):
    found = _object(category_id=9, iscrowd=3, area="x", bbox=[1, 2, 0, 0])[1]
    fields = ["category_id", "iscrowd", "area", "bbox/width", "bbox/height"]
    assert [fault.field for fault in found] == fields

  def test_long_values_are_cut(self):
    found = _object(bbox=list(range(1000)))[1]
    assert len(str(found[0])) < 200


class TestImage:
  def test_sound(self):
    assert _image(file_name="a/b.jpg") == coco_annotation.CocoImage("a/b.jpg", (20, 40), ())

  @pytest.mark.parametrize("changes", [{"width": None}, {"height": None}])
  def test_no_size(self, changes):
    assert _image(**changes) == coco_annotation.CocoImage("7.jpg", None, ())

  def test_of_an_address_the_name_alone(self):
    address = "http://images.cocodataset.org/train2017/00%2007.jpg"
    assert _image(file_name=address).file_name == "00 07.jpg"
    assert _image(file_name=None, coco_url=address).file_name == "00 07.jpg"

  @pytest.mark.parametrize(
    "name", ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "a\\b.jpg", "", 7, "a\0", "http://x/", "."]
  )
  def test_names_that_lead_elsewhere(self, name):
    image = _image(file_name=name)
    assert image.file_name is None
    assert str(image.faults[0]) == (
      f"train.json: image 2 file_name: {name!r}; accepted: a path inside the folder of images,"
      " with / between folders"
    )

  @pytest.mark.parametrize("value", ["40", 0, -1, 40.5, [40], True])
  def test_faults_of_the_size(self, value):
    image = _image(width=value)
    assert [str(fault) for fault in image.faults] == [
      f"train.json: image 2 width: {value!r}; accepted: a whole number of pixels"
    ]


@pytest.mark.parametrize(
  ("bbox", "box"),
  [
    ([2, 4, 10, 20], (4, 2, 24, 12)),
    ([2, 4, -1, 0], (4, 2, 4, 1)),
    ([2, 4, "10", 20], None),
    ([2, 4, float("inf"), 20], None),
    ([2, 4, 10], None),
    (None, None),
  ],
)
def test_stated_box(bbox, box):
  assert coco_annotation.stated_box({"bbox": bbox}) == box
