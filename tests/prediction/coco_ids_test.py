"""Tests of coco_ids.py."""

import json

import pytest

from mtl_ssl_tf.prediction import coco_ids

_IMAGES = (("a.jpg", 7), ("b/c.jpg", 30), ("train/d.jpg", 2), ("e.jpg", 9))


@pytest.fixture(name="write")
def _write(tmp_path):
  def write(content):
    path = tmp_path / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path

  return write


def _file(images=_IMAGES, categories=(("dog", 18), ("cat", 17))):
  return {
    "info": {"images": [1]},
    "images": [{"file_name": name, "id": number, "height": 1.5} for name, number in images],
    "annotations": [{"id": 1, "bbox": [0, 0, 1, 1]}],
    "categories": [{"id": number, "name": name} for name, number in categories],
  }


def _error(path, call, *arguments):
  with pytest.raises(ValueError) as caught:
    call(path, *arguments)
  prefix = f"--coco_annotations {str(path)!r}: "
  assert str(caught.value).startswith(prefix)
  return str(caught.value).removeprefix(prefix)


class TestImages:
  def test_by_whole_name_or_without_folders(self, write):
    names = ["b/c.jpg", "d.jpg", "x/e.jpg"]
    assert coco_ids.read_image_ids(write(_file()), names) == {
      "b/c.jpg": 30,
      "d.jpg": 2,
      "x/e.jpg": 9,
    }

  def test_the_whole_name_comes_first(self, write):
    path = write(_file([("x/a.jpg", 1), ("a.jpg", 2)]))
    assert coco_ids.read_image_ids(path, ["a.jpg"]) == {"a.jpg": 2}

  def test_ids_and_names_as_the_converter_reads_them(self, write):
    content = _file([("a\\b.jpg", "7"), ("c.jpg ", 8.0), ("d.jpg", "x")])
    content["images"][0]["phash"] = 2**64
    assert coco_ids.read_image_ids(write(content), ["a/b.jpg", "c.jpg", "d.jpg"]) == {
      "a/b.jpg": 7,
      "c.jpg": 8,
      "d.jpg": "x",
    }

  def test_missing(self, write):
    assert _error(write(_file()), coco_ids.read_image_ids, ["a.jpg", "f.jpg", "g.jpg"]) == (
      "images: no file_name for f.jpg, g.jpg (2 of 3); accepted: one entry for each image of"
      " --input"
    )

  @pytest.mark.parametrize(
    ("images", "names"),
    [
      ([("x/a.jpg", 1), ("y/a.jpg", 2)], ["a.jpg"]),
      ([("a.jpg", 1)], ["x/a.jpg", "y/a.jpg"]),
    ],
  )
  def test_unclear(self, write, images, names):
    message = _error(write(_file(images)), coco_ids.read_image_ids, names)
    assert message.startswith(f"images: more than one file_name for {', '.join(names)} (")

  def test_twice(self, write):
    path = write(_file([("a.jpg", 1), ("a.jpg", 2)]))
    assert _error(path, coco_ids.read_image_ids, ["a.jpg"]) == (
      "images: 'a.jpg' is there twice; accepted: each image once"
    )


class TestCategories:
  def test_by_name(self, write):
    path = write(_file())
    categories = coco_ids.read_categories(path)
    assert categories == {"dog": 18, "cat": 17}
    assert coco_ids.choose_categories(path, categories, ["cat", "dog"]) == [17, 18]
    assert coco_ids.choose_categories(path, categories, ["dog"]) == [18]

  def test_missing(self, write):
    message = _error("x.json", coco_ids.choose_categories, {"dog": 18}, ["cow", "dog"])
    assert message == "categories: no cow; there: dog; accepted: the detector's classes, by name"

  def test_twice(self, write):
    message = _error(write(_file(categories=[("a", 1), ("a", 2)])), coco_ids.read_categories)
    assert message == "categories: 'a' is there twice; accepted: each name once"


class TestFile:
  @pytest.mark.parametrize(
    ("content", "message"),
    [
      ("", "instances.json: the file is empty; accepted: a COCO file"),
      ('{"images": [', "instances.json: malformed or cut short at its beginning"),
      ("[]", "instances.json: the outermost value is no object but a list; accepted: a COCO file"),
      ({"images": []}, "images: nothing; accepted: a COCO annotation file"),
      ({"images": [3]}, "images 1: id: missing; accepted: a number or a name"),
      ({"images": [{"id": True}]}, "images 1: id: True; accepted: a number or a name"),
      ({"images": [{"id": 7, "file_name": 3}]}, "images 1: file_name: 3; accepted: text"),
      ({"images": [], "annotation": [{"bbox": []}]}, "instances.json: annotation: holds boxes"),
    ],
  )
  def test_faults(self, write, content, message):
    assert _error(write(content), coco_ids.read_image_ids, ["a"]).startswith(message)

  def test_no_file(self, tmp_path):
    message = _error(tmp_path / "none.json", coco_ids.read_categories)
    assert message == (
      "cannot be read (No such file or directory); accepted: a COCO annotation file"
    )


def test_own_ids():
  ids = coco_ids.own_ids(["a", "b"])
  assert ids.image_ids is None
  assert list(ids.category_ids) == [1, 2]
