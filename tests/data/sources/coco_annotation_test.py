"""Tests of checking entries of a COCO file."""

import pytest

from mtl_ssl_tf.data.sources import coco_annotation
from tests.data import coco_files

_CATEGORIES = {"1": "dog", "3": "cat"}


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

  @pytest.mark.parametrize(
    ("own_id", "object_id"), [(5, 5), (5.0, 5), ("5", 5), (None, 4), ("a", 4), (1.5, 4), (2**63, 4)]
  )
  def test_ids(self, own_id, object_id):
    assert _object(annotation_id=own_id, category_id=1.0)[0].object_id == object_id

  @pytest.mark.parametrize("value", ["null", "Unspecified", "", -1, "-1", "None"])
  @pytest.mark.parametrize("field", ["iscrowd", "difficult", "truncated", "ignore", "area"])
  def test_what_is_not_told_is_not_wrong(self, field, value):
    annotation, found = _object(**{field: value})
    assert found == []
    assert (annotation.is_crowd, annotation.difficult, annotation.truncated) == (0, 0, 0)

  @pytest.mark.parametrize("area", ["60", -5, float("nan"), [1], 1e39])
  def test_an_area_that_is_none_costs_no_box(self, area):
    assert _object(area=area)[0].area is None

  @pytest.mark.parametrize(("value", "flag"), [(0.05, 1), ("0.3", 1), (0.0, 0), ("much", 0)])
  def test_truncated_may_be_a_share(self, value, flag):
    assert _object(truncated=value)[0].truncated == flag

  @pytest.mark.parametrize(("value", "flag"), [("True", 1), (False, 0), ("1", 1), (1.0, 1)])
  def test_words_and_numbers_for_flags(self, value, flag):
    assert _object(iscrowd=value)[0].is_crowd == flag

  def test_corners_from_the_other_side(self):
    notes = []
    entry = coco_files.annotation_entry(bbox=[12, 14, -10, -9])
    annotation, _ = coco_annotation.parse_object(entry, 1, _CATEGORIES, "train.json", notes)
    assert annotation.box == (5, 2, 14, 12)
    assert notes == ["corners_swapped"]

  @pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0], [None] * 4])
  def test_a_polygon_gives_the_box(self, bbox):
    notes = []
    entry = coco_files.annotation_entry(bbox=bbox, segmentation=[1, 4, 12, 14.5])
    annotation, _ = coco_annotation.parse_object(entry, 1, _CATEGORIES, "train.json", notes)
    assert annotation.box == (4, 1, 14.5, 12)
    assert notes == ["box_of_polygon"]
    assert coco_annotation.stated_box(entry) == (4, 1, 14.5, 12)

  def test_an_empty_box_says_there_is_no_object(self):
    assert _object(bbox=[], segmentation=[], category_id=0) == (None, [])

  @pytest.mark.parametrize(
    ("changes", "message"),
    [
      (
        {"category_id": None},
        "(id 100) category_id: missing; accepted: the id of a category: 1, 3",
      ),
      ({"category_id": 2}, "category_id: 2; accepted: the id of a category: 1, 3"),
      ({"category_id": "03"}, "category_id: '03'; accepted: the id of a category: 1, 3"),
      ({"category_id": True}, "category_id: True; accepted"),
      ({"iscrowd": 2}, "('cat', id 100) iscrowd: 2; accepted: 0 or 1"),
      ({"iscrowd": "some"}, "iscrowd: 'some'; accepted: 0 or 1"),
      ({"difficult": 2}, "difficult: 2; accepted: 0 or 1"),
      ({"truncated": None, "ignore": 0.5}, "ignore: 0.5; accepted: 0 or 1"),
      ({"bbox": None, "segmentation": None}, "bbox: missing; accepted: [x, y, width, height]"),
      ({"bbox": [], "segmentation": True}, "bbox: []; accepted: [x, y, width, height]"),
      ({"bbox": [1, 2, 3]}, "bbox: [1, 2, 3]; accepted: [x, y, width, height]"),
      ({"bbox": "1 2 3 4"}, "bbox: '1 2 3 4'; accepted: [x, y, width, height]"),
      ({"bbox": {"x": 1}}, "bbox: {'x': 1}; accepted: [x, y, width, height]"),
      ({"bbox": [1, "2", 3, 4]}, "bbox/y: '2'; accepted: a finite number"),
      ({"bbox": [None, 2, 3, 4]}, "bbox/x: null; accepted: a finite number"),
      ({"bbox": [1, 2, float("inf"), 4]}, "bbox/width: inf; accepted: a finite number"),
      ({"bbox": [1, 2, "NaN", 4]}, "bbox/width: 'NaN'; accepted: a finite number"),
      ({"bbox": [1, 2, 3, 0]}, "bbox/height: 0; accepted: more than 0"),
    ],
  )
  def test_faults(self, changes, message):
    annotation, found = _object(**changes)
    assert annotation is None
    assert [message in str(fault) for fault in found] == [True]
    assert str(found[0]).startswith("train.json: object 4 (")

  def test_no_fault_hides_behind_another(self):
    found = _object(category_id=9, iscrowd=3, ignore=7, bbox=[1, 2, 0, 0])[1]
    fields = ["category_id", "iscrowd", "ignore", "bbox/width", "bbox/height"]
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
    ("name", "path"),
    [
      ("../a.jpg", "../a.jpg"),
      ("a\\b.jpg ", "a/b.jpg"),
      ("C:\\a\\b.jpg", "C:/a/b.jpg"),
      ("/a", "/a"),
    ],
  )
  def test_paths_of_other_machines(self, name, path):
    assert _image(file_name=name) == coco_annotation.CocoImage(path, (20, 40), ())

  @pytest.mark.parametrize("name", ["", 7, "a\0", "http://x/", ".", "..", "a/.."])
  def test_names_of_no_file(self, name):
    image = _image(file_name=name)
    assert image.file_name is None
    assert str(image.faults[0]) == (
      f"train.json: image 2 file_name: {name!r}; accepted: the path of an image"
    )

  def test_boxes_inside_are_a_fault(self):
    image = _image(boxes_inside="objects")
    assert [str(fault) for fault in image.faults] == [
      "train.json: image 2 objects: holds boxes, which are not read;"
      " accepted: entries of the list annotations"
    ]

  @pytest.mark.parametrize("value", [0, -1, "Unspecified", ""])
  def test_a_size_that_is_not_told(self, value):
    assert _image(width=value) == coco_annotation.CocoImage("7.jpg", None, ())

  @pytest.mark.parametrize("value", [40.5, [40], True, "40 px", -7])
  def test_a_size_that_is_none_is_noted(self, value):
    image = coco_annotation.CocoImage("7.jpg", None, (), ("size_unreadable",))
    assert _image(width=value) == image

  def test_a_size_as_text(self):
    assert _image(width="40").size == (20, 40)


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
