"""Tests of reading labelme's JSON files as COCO files."""

import json
import pathlib
from typing import Any

import pytest

from mtl_ssl_tf.data.sources import labelme_json


def _shape(
  kind: str | None, *points: tuple[float, float], label: Any = "cat", **fields: Any
) -> dict:
  shape = {"label": label, "points": [list(point) for point in points], "shape_type": kind}
  return shape | {"group_id": None, "flags": {}} | fields


_RECTANGLE = _shape("rectangle", (30, 15), (10, 5))


def _write(root: pathlib.Path, file: str, *shapes: Any, image: str | None = "", **fields: Any):
  """A file, with the picture of its name unless another or None is given."""
  path = root / file
  path.parent.mkdir(parents=True, exist_ok=True)
  own = path.with_suffix(".jpg").name
  content = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": own}
  content |= {"imageData": "/9j/4AAQ", "imageHeight": 20, "imageWidth": 40}
  path.write_text(json.dumps(content | fields))
  if image is not None:
    picture = path.with_name(image or own)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.touch()


def _boxes(root: pathlib.Path, *shapes: Any) -> list[list[float]]:
  _write(root, "a.json", *shapes)
  contents, report = labelme_json.convert(root)
  assert report["faults"] == []
  return [entry["bbox"] for entry in contents["default"]["annotations"]]


def _fault(root: pathlib.Path, *shapes: Any, **fields: Any) -> str:
  _write(root, "a.json", *shapes, **fields)
  contents, report = labelme_json.convert(root)
  assert contents == {}
  (fault,) = report["faults"]
  return fault


def test_content(tmp_path):
  _write(tmp_path, "a.json", _RECTANGLE, _shape("rectangle", (0, 0), (4, 2), label=" dog "))
  _write(tmp_path, "sub/b.json")
  contents, report = labelme_json.convert(tmp_path)
  assert contents == {
    "default": {
      "images": [
        {"file_name": "a.jpg", "height": 20, "width": 40, "id": 1},
        {"file_name": "sub/b.jpg", "height": 20, "width": 40, "id": 2},
      ],
      "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 10]},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [0, 0, 4, 2]},
      ],
      "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
  }
  assert report == {"splits": {"default": 2}, "lost": [], "faults": []}


@pytest.mark.parametrize("kind", ["polygon", "oriented_rectangle"])
def test_three_points_are_an_outline(tmp_path, kind):
  assert _boxes(tmp_path, _shape(kind, (8, 3), (12, 9), (4, 5))) == [[4, 3, 8, 6]]


@pytest.mark.parametrize("kind", ["polygon", "oriented_rectangle", None])
def test_the_box_around_an_outline(tmp_path, kind):
  assert _boxes(tmp_path, _shape(kind, (8, 3), (12, 9), (4, 5), (7, 1))) == [[4, 1, 8, 8]]


def test_a_mask_has_its_corners(tmp_path):
  assert _boxes(tmp_path, _shape("mask", (8, 3), (12, 9), mask="iVBORw0")) == [[8, 3, 4, 6]]


def test_a_circle_has_its_centre_and_a_point(tmp_path):
  assert _boxes(tmp_path, _shape("circle", (20, 10), (23, 14))) == [[15, 5, 10, 10]]


def test_outlines_of_one_class_and_group_are_one_object(tmp_path):
  left, right = (1, 1), (3, 1)
  shapes = [
    _shape("polygon", *points, group_id=group, label=label)
    for points, group, label in (
      ((left, right, (2, 4)), 7, "cat"),
      (((9, 2), (12, 2), (10, 8)), 7, "cat"),
      (((9, 2), (12, 2), (10, 8)), 7, "dog"),
      (((9, 2), (12, 2), (10, 8)), 8, "cat"),
      (((9, 2), (12, 2), (10, 8)), None, "cat"),
      (((0, 0), (1, 0), (1, 1)), None, "cat"),
    )
  ] + [_shape("rectangle", (0, 0), (2, 2), group_id=7)]
  assert _boxes(tmp_path, *shapes) == [
    [1, 1, 11, 7],
    [9, 2, 3, 6],
    [9, 2, 3, 6],
    [9, 2, 3, 6],
    [0, 0, 1, 1],
    [0, 0, 2, 2],
  ]
  assert labelme_json.convert(tmp_path)[1]["lost"] == [
    "outlines of one class and group, taken for one object: 1",
    "outlines, of which the box is kept, polygon: 6",
  ]


def test_flags(tmp_path):
  flags = {"Difficult": True, "truncated": False, "is_crowd": True, "blurred": True}
  _write(tmp_path, "a.json", _RECTANGLE | {"flags": flags}, flags={"night": True, "rain": False})
  contents, report = labelme_json.convert(tmp_path)
  (annotation,) = contents["default"]["annotations"]
  assert (annotation["difficult"], annotation["iscrowd"]) == (1, 1)
  assert "truncated" not in annotation
  assert report["lost"] == ["attribute blurred: 1", "flags of images: 1"]


def test_an_object_has_the_flags_of_all_its_outlines(tmp_path):
  points = (1, 1), (3, 1), (2, 4)
  shapes = [
    _shape("polygon", *points, group_id=7, flags=dict.fromkeys(names, True))
    for names in (["truncated"], [], ["difficult", "blurred"])
  ]
  _write(tmp_path, "a.json", *shapes, _shape("polygon", *points, group_id=8))
  contents, report = labelme_json.convert(tmp_path)
  fields = ("truncated", "difficult", "iscrowd")
  found = [[entry.get(name) for name in fields] for entry in contents["default"]["annotations"]]
  assert found == [[1, 1, None], [None] * 3]
  assert "attribute blurred: 1" in report["lost"]


@pytest.mark.parametrize("kind", ["point", "points", "line", "linestrip"])
def test_lines_have_no_box(tmp_path, kind):
  assert _boxes(tmp_path, _shape(kind, (1, 2), (3, 4)), _RECTANGLE) == [[10, 5, 20, 10]]
  assert labelme_json.convert(tmp_path)[1]["lost"] == [f"annotations without a box, {kind}: 1"]


class TestSplits:
  def test_folders_of_such_names(self, tmp_path):
    _write(tmp_path, "train/a.json", _RECTANGLE)
    _write(tmp_path, "val/b.json", _RECTANGLE | {"label": "dog"})
    contents, report = labelme_json.convert(tmp_path)
    assert report["splits"] == {"train": 1, "val": 1}
    assert contents["val"]["images"][0]["file_name"] == "val/b.jpg"
    assert [len(content["categories"]) for content in contents.values()] == [2, 2]

  def test_one_file_elsewhere(self, tmp_path):
    _write(tmp_path, "train/a.json", _RECTANGLE)
    _write(tmp_path, "more/b.json", _RECTANGLE)
    assert labelme_json.convert(tmp_path)[1]["splits"] == {"default": 2}

  @pytest.mark.parametrize("name", ["train", "val", "valid", "validation", "test"])
  def test_each_of_such_names(self, tmp_path, name):
    _write(tmp_path, f"{name}/a.json", _RECTANGLE)
    assert labelme_json.convert(tmp_path)[1]["splits"] == {name: 1}

  def test_hidden_files_are_none(self, tmp_path):
    _write(tmp_path, "a.json", _RECTANGLE)
    (tmp_path / "._a.json").write_bytes(b"\0")
    (tmp_path / "._a.jpg").touch()
    _, report = labelme_json.convert(tmp_path)
    assert report == {"splits": {"default": 1}, "lost": [], "faults": []}


class TestNames:
  def _name(self, root, stated: str, *images: str, file: str = "a.json") -> str:
    for image in images:
      (root / image).parent.mkdir(parents=True, exist_ok=True)
      (root / image).touch()
    _write(root, file, _RECTANGLE, image=None, imagePath=stated)
    contents, report = labelme_json.convert(root)
    assert report["faults"] == []
    return contents["default"]["images"][0]["file_name"]

  @pytest.mark.parametrize(
    ("stated", "images", "name"),
    [
      ("..\\images\\a.jpg", ["images/a.jpg"], "images/a.jpg"),
      ("a.jpg", ["json/a.jpg"], "json/a.jpg"),
      ("old name.jpg", ["json/a.png"], "json/a.png"),
      ("a.jpg", ["json/a.png", "json/a.jpg"], "json/a.jpg"),
      ("../../../elsewhere/a.jpg", ["images/a.jpg"], "../../../elsewhere/a.jpg"),
      ("/home/me/a.jpg", ["images/a.jpg"], "/home/me/a.jpg"),
    ],
  )
  def test_found_or_left_to_the_converter(self, tmp_path, stated, images, name):
    assert self._name(tmp_path, stated, *images, file="json/a.json") == name

  def test_another_picture_that_exists(self, tmp_path):
    (tmp_path / "b.jpg").touch()
    assert _fault(tmp_path, _RECTANGLE, imagePath="b.jpg") == (
      "a.json: imagePath: 'b.jpg' is another picture, which exists; accepted: the name of a.jpg"
    )

  def test_images_without_a_file(self, tmp_path):
    _write(tmp_path, "a.json", _RECTANGLE)
    (tmp_path / "b.jpg").touch()
    lost = labelme_json.convert(tmp_path)[1]["lost"]
    assert lost == ["images that the annotations do not list: 1, b.jpg"]
    for name in "cdefg":
      (tmp_path / f"{name}.jpg").touch()
    lost = labelme_json.convert(tmp_path)[1]["lost"]
    assert lost == [
      "images that the annotations do not list: 6, b.jpg, c.jpg, d.jpg, e.jpg, f.jpg …"
    ]


class TestFaults:
  @pytest.mark.parametrize(
    ("shape", "message"),
    [
      ("cat", "shape 2: 'cat'; accepted: an object"),
      (_shape("rectangle", (1, 1), (2, 2), label=" "), "shape 2: label: ' '; accepted: a name"),
      (_shape("rectangle", (1, 1), (2, 2), label=7), "shape 2: label: 7; accepted: a name"),
      (
        _shape("cube", (1, 1), (2, 2)),
        "shape 2: shape_type: 'cube'; accepted: polygon, orient",
      ),
      (
        _shape("rectangle", (1, 1)),
        "shape 2 ('cat'): points: [[1, 1]]; accepted: a list of 2",
      ),
      (_shape("polygon", (1, 1), (2, 2)), "accepted: a list of 3 or more points, two finite numbe"),
      (_shape("oriented_rectangle", (1, 1), (2, 2)), "accepted: a list of 3 or more points"),
      (_shape("circle", (1, 1)), "accepted: a list of 2 or more points"),
      (_shape("mask", (1, 1)), "accepted: a list of 2 or more points"),
      (
        _shape("polygon", (1, 1), (2, 2), (3,)),
        "shape 2 ('cat'): points: [[1, 1], [2, 2], [3]]",
      ),
      (_shape("rectangle", (1, 1)) | {"points": None}, "shape 2 ('cat'): points: null; accepted"),
      (_shape("rectangle", (1, "x"), (2, 2)), "shape 2 ('cat'): points: [[1, 'x'], [2, 2]]; acce"),
    ],
  )
  def test_shapes(self, tmp_path, shape, message):
    fault = _fault(tmp_path, _RECTANGLE, shape)
    assert fault.startswith("a.json: shape 2")
    assert message in fault

  @pytest.mark.parametrize(
    ("fields", "message"),
    [
      ({"shapes": None}, "a.json: shapes: null; accepted: a list"),
      ({"imagePath": None}, "a.json: imagePath: null; accepted: a path"),
    ],
  )
  def test_fields(self, tmp_path, fields, message):
    assert _fault(tmp_path, **fields) == message

  def test_malformed(self, tmp_path):
    (tmp_path / "a.json").write_text('{"shapes": [')
    assert labelme_json.convert(tmp_path)[1]["faults"][0].startswith(
      "a.json: Expecting value: line"
    )

  def test_the_other_files_are_read(self, tmp_path):
    _write(tmp_path, "a.json", "cat")
    _write(tmp_path, "b.json", _RECTANGLE)
    contents, report = labelme_json.convert(tmp_path)
    assert len(report["faults"]) == len(contents["default"]["images"]) == 1

  def test_json_of_another_program(self, tmp_path):
    _write(tmp_path, "a.json", _RECTANGLE)
    (tmp_path / "b.json").write_text('{"images": []}')
    (tmp_path / "c.json").write_text("[]")
    lost = labelme_json.convert(tmp_path)[1]["lost"]
    assert lost == ["JSON files that are not labelme's: 2, b.json, c.json"]


class TestIsThere:
  @pytest.mark.parametrize(("file", "expected"), [("a/b.JSON", True), ("b.xml", False)])
  def test_json_or_not(self, tmp_path, file, expected):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert labelme_json.is_there(tmp_path) == expected

  def test_both(self, tmp_path):
    (tmp_path / "a.json").touch()
    (tmp_path / "a.xml").touch()
    with pytest.raises(ValueError, match=r"holds a.json and a.xml; accepted: either JSON files of"):
      labelme_json.is_there(tmp_path)
