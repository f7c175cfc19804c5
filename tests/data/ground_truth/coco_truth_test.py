"""COCO annotation files: what is read, what is refused, and what pycocotools reads again."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
from pycocotools import coco as pycoco

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.ground_truth import coco_truth

FILE = {
  "images": [
    {"id": 9, "file_name": "nine.jpg", "height": 48, "width": 64},
    {"id": 139, "file_name": "a.jpg"},
  ],
  "annotations": [
    {"id": 0, "image_id": 139, "category_id": 90, "bbox": [1, 2, 3.5, 4], "area": 5, "iscrowd": 0},
    {"id": 1, "image_id": 139, "category_id": 7, "bbox": [0, 0, 2, 2], "iscrowd": 1},
    {"id": 2, "image_id": 139, "category_id": 7, "bbox": [0, 0, 2, 0], "ignore": 1},
  ],
  "categories": [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}],
}


def read(tmp_path, content):
  path = tmp_path / "truth.json"
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return coco_truth.read_coco(path)


def test_read(tmp_path):
  truth = read(tmp_path, FILE)
  assert (truth.class_names, truth.category_ids) == (("cat", "dog"), (7, 90))
  empty, image = truth.images
  assert (empty.image_id, empty.file_name, empty.size) == ("9", "nine.jpg", (48, 64))
  assert len(empty.classes) == 0
  assert image.size is None
  np.testing.assert_array_equal(image.boxes.xywh, [[1, 2, 3.5, 4], [0, 0, 2, 2], [0, 0, 2, 0]])
  np.testing.assert_array_equal(image.classes, [2, 1, 1])
  np.testing.assert_array_equal(image.areas, [5, 4, 0])
  np.testing.assert_array_equal(image.is_crowd, [False, True, False])
  np.testing.assert_array_equal(image.difficult, [False, False, True])
  assert truth.coco_image_ids == (9, 139)


def test_flags_mean_what_the_converter_takes_them_for(tmp_path):
  content = copy.deepcopy(FILE)
  content["annotations"][0]["difficult"] = 1
  content["annotations"][1]["ignore"] = 1  # A crowd.
  np.testing.assert_array_equal(read(tmp_path, content).images[1].difficult, [True, False, True])


def test_image_ids_as_text_in_one_place(tmp_path):
  content = copy.deepcopy(FILE)
  content["annotations"][0]["image_id"] = "139"
  assert len(read(tmp_path, content).images[1].classes) == 3


def test_written_file_is_one_for_pycocotools(tmp_path):
  truth = read(tmp_path, FILE)
  coco_truth.write_coco(truth, tmp_path / "again.json")
  with contextlib.redirect_stdout(io.StringIO()):
    dataset = pycoco.COCO(tmp_path / "again.json")
  # From 1: a match with annotation 0 would count as none.
  assert sorted(dataset.anns) == [1, 2, 3]
  assert dataset.anns[1]["bbox"] == [1, 2, 3.5, 4]
  assert dataset.anns[1]["area"] == 5
  assert [dataset.anns[number]["iscrowd"] for number in (1, 2, 3)] == [0, 1, 0]
  assert dataset.imgs[9] == {"id": 9, "file_name": "nine.jpg", "height": 48, "width": 64}
  assert dataset.cats[90]["name"] == "dog"


def changed(path, value):
  """The sound file with one value set or, where the value is None, left out."""
  content = copy.deepcopy(FILE)
  part = content
  for key in path[:-1]:
    part = part[key]
  if value is None:
    del part[path[-1]]
  else:
    part[path[-1]] = value
  return content


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    (["images"], None, "images: missing; accepted: a list of objects"),
    (["annotations"], {}, "annotations: dict; accepted: a list of objects"),
    (["annotations"], [1], "annotations: an entry that is no object; accepted: a list of objects"),
    (["categories"], [], "categories: empty; accepted: a list of objects"),
    (["categories", 0, "id"], "7", "categories: entry 1: id: '7'; accepted: a whole number"),
    (["categories", 1, "id"], 7, "categories: entry 2: id: 7; accepted: each category once"),
    (["categories", 1, "name"], "cat", "categories: entry 2: name: 'cat'; accepted: each name"),
    (["categories", 1, "name"], "", "categories: entry 2: name: ''; accepted: a name"),
    (["images", 0, "id"], None, "images: entry 1: id: None; accepted: a number or a name"),
    (["images", 0, "id"], True, "images: entry 1: id: True; accepted: a number or a name"),
    (["images", 1, "id"], 9, "images: entry 2: id: 9; accepted: each image once"),
    (["images", 1, "id"], "9", "images: entry 2: id: '9'; accepted: each image once"),
    (
      ["annotations", 0, "image_id"],
      1,
      "annotations: entry 1: image_id: 1; accepted: the id of one of the images",
    ),
    (
      ["annotations", 1, "category_id"],
      8,
      "annotations: entry 2: category_id: 8; accepted: the id of one of the categories",
    ),
    (
      ["annotations", 0, "bbox"],
      [1, 2, -3, 4],
      "annotations: entry 1: bbox: [1, 2, -3, 4]; accepted: a width and height of at least 0",
    ),
    (
      ["annotations", 0, "bbox"],
      [1, 2, 3],
      "annotations: entry 1: bbox: [1, 2, 3]; accepted: four finite numbers",
    ),
    (
      ["annotations", 0, "bbox"],
      [1, 2, 3, float("nan")],
      "annotations: entry 1: bbox: [1, 2, 3, nan]; accepted: four finite numbers",
    ),
    (["annotations", 0, "bbox"], None, "annotations: entry 1: bbox: None; accepted: four finite"),
    (["annotations", 0, "iscrowd"], 2, "annotations: entry 1: iscrowd: 2; accepted: 0 or 1"),
    (["annotations", 0, "difficult"], 2, "annotations: entry 1: difficult: 2; accepted: 0 or 1"),
    (["annotations", 0, "ignore"], "x", "annotations: entry 1: ignore: 'x'; accepted: 0 or 1"),
    (["annotations", 0, "area"], -1, "annotations: entry 1: area: -1; accepted: a number of at"),
    (["annotations", 0, "area"], "5", "annotations: entry 1: area: '5'; accepted: a number of at"),
  ],
)
def test_fault(tmp_path, path, value, message):
  with pytest.raises(faults.FaultError) as error:
    read(tmp_path, changed(path, value))
  assert str(error.value).startswith(f"{tmp_path}/truth.json: {message}")
  assert len(error.value.faults) == 1


@pytest.mark.parametrize("content", ["", "{", '{"a": [1,}', "nul", "[" * 100_000])
def test_no_json(tmp_path, content):
  with pytest.raises(faults.FaultError, match=r"truth.json: file: no JSON \("):
    read(tmp_path, content)


def test_no_object(tmp_path):
  with pytest.raises(faults.FaultError, match="file: list; accepted: an object with images"):
    read(tmp_path, "[]")


def test_no_file(tmp_path):
  with pytest.raises(faults.FaultError, match=r"none.json: file: cannot be read"):
    coco_truth.read_coco(tmp_path / "none.json")


def test_twenty_faults_are_enough(tmp_path):
  content = {**FILE, "annotations": [{"image_id": 0}] * 30}
  with pytest.raises(faults.FaultError) as error:
    read(tmp_path, content)
  assert len(error.value.faults) == 20
