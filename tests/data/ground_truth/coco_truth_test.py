"""COCO annotation files: what is read, what is refused, and what pycocotools reads again."""

import contextlib
import copy
import dataclasses
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
  assert truth.source == str(tmp_path / "truth.json")
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
  # A crowd and a difficult object are both to be ignored.
  assert [dataset.anns[number]["ignore"] for number in (1, 2, 3)] == [0, 1, 1]
  assert dataset.imgs[9] == {"id": 9, "file_name": "nine.jpg", "height": 48, "width": 64}
  assert dataset.cats[90]["name"] == "dog"


def test_written_file_is_read_as_it_was(tmp_path):
  content = copy.deepcopy(FILE)
  content["images"][0]["annotated_classes"] = [90]
  content["images"][1] |= {"annotated_classes": ["dog", 7], "file_name": "b/a.jpg"}
  truth = read(tmp_path, content)
  coco_truth.write_coco(truth, tmp_path / "again.json")
  again = coco_truth.read_coco(tmp_path / "again.json")
  assert (again.class_names, again.category_ids) == (truth.class_names, truth.category_ids)
  assert [image.annotated_classes.tolist() for image in again.images] == [[2], [1, 2]]
  for found, expected in zip(again.images, truth.images, strict=True):
    of_found, of_expected = dataclasses.asdict(found), dataclasses.asdict(expected)
    np.testing.assert_equal(of_found, of_expected)


def test_written_file_with_other_ids(tmp_path):
  truth = read(tmp_path, FILE)
  coco_truth.write_coco(truth, tmp_path / "again.json", ["x", 5])
  content = json.loads((tmp_path / "again.json").read_text())
  assert [image["id"] for image in content["images"]] == ["x", 5]
  assert {row["image_id"] for row in content["annotations"]} == {5}


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
    (["categories", 1, "id"], 7, "category 2 id: 7 repeats category 1; accepted: each id and"),
    (["categories", 1, "name"], "cat", "category 2 name: 'cat' repeats category 1; accepted: each"),
    (["categories", 1, "name"], "", "category 2 name: ''; accepted: a class name"),
    (["images", 0, "id"], None, "image 1 id: missing; accepted: a number or a name"),
    (["images", 0, "id"], True, "image 1 id: True; accepted: a number or a name"),
    (["images", 1, "id"], "9", "image 2 id: '9' repeats image 1; accepted: each id once"),
    (["annotations", 0, "image_id"], 1, "object 1 (id 0) image_id: 1; accepted: the id of an"),
    (["annotations", 1, "category_id"], 8, "object 2 (id 1) category_id: 8; accepted: the id of"),
    (["annotations", 0, "bbox"], [1, 2, 3], "object 1 ('dog', id 0) bbox: [1, 2, 3]; accepted: [x"),
    (["annotations", 0, "bbox"], [1, 2, 3, float("nan")], "object 1 ('dog', id 0) bbox/height: 'N"),
    (["annotations", 0, "bbox"], None, "object 1 ('dog', id 0) bbox: missing; accepted: [x, y"),
    (["annotations", 0, "iscrowd"], 2, "object 1 ('dog', id 0) iscrowd: 2; accepted: 0 or 1"),
    (["images", 0, "boxes"], [[1, 2, 3, 4]], "image 1 boxes: holds boxes, which are not read"),
  ],
)
def test_fault(tmp_path, path, value, message):
  with pytest.raises(faults.FaultError) as error:
    read(tmp_path, changed(path, value))
  assert any(str(fault).startswith(f"truth.json: {message}") for fault in error.value.faults)


@pytest.mark.parametrize(
  ("path", "value"),
  [
    (["annotations", 0, "iscrowd"], "Unspecified"),
    (["annotations", 1, "area"], -1),
    (["annotations", 1, "area"], "4"),
    (["annotations", 1, "id"], 2),
    (["annotations", 0, "bbox"], [4.5, 6, -3.5, -4]),
    (["categories", 0, "name"], " cat "),
    (["images", 1, "phash"], 2**64),
  ],
)
def test_what_does_not_matter_to_the_converter_does_not_here(tmp_path, path, value):
  truth, expected = read(tmp_path, changed(path, value)), read(tmp_path, FILE)
  assert truth.class_names == expected.class_names
  for image, other in zip(truth.images, expected.images, strict=True):
    np.testing.assert_array_equal(image.boxes.xywh, other.boxes.xywh)
    np.testing.assert_array_equal(image.areas, other.areas)
    np.testing.assert_array_equal(image.is_crowd, other.is_crowd)


def test_faulty_objects_and_images_can_be_left_out(tmp_path, capsys):
  path = tmp_path / "truth.json"
  content = changed(["annotations", 0, "bbox"], None)
  content["images"][0]["annotated_classes"] = []
  path.write_text(json.dumps(content))
  (image,) = coco_truth.read_coco(path, on_error="skip").images
  assert image.image_id == "139" and len(image.classes) == 2
  logged = sorted(capsys.readouterr().err.splitlines())
  assert [line.split(":")[:3] for line in logged] == [
    ["left out", " truth.json", " image 1 annotated_classes"],
    ["left out", " truth.json", " object 1 ('dog', id 0) bbox"],
  ]


def test_without_a_sound_category_nothing_can_be_read(tmp_path):
  path = tmp_path / "truth.json"
  content = copy.deepcopy(FILE)
  for entry in content["categories"]:
    entry["name"] = ""
  path.write_text(json.dumps(content))
  with pytest.raises(faults.FaultError, match="category 1 name: ''; accepted: a class name"):
    coco_truth.read_coco(path, on_error="skip")


def test_what_looks_like_a_mistake_is_a_warning(tmp_path, capsys):
  content = changed(["annotations", 1, "id"], 2)
  content["images"][1]["file_name"] = "nine.jpg"
  read(tmp_path, content)
  logged = sorted(capsys.readouterr().err.splitlines())
  assert [line.partition("; accepted")[0][:44] for line in logged] == [
    "truth.json: annotations: id: repeated in 1 o",
    "warning: truth.json: images: file_name: 'nin",
  ]


def test_an_image_may_have_no_name(tmp_path):
  truth = read(tmp_path, changed(["images", 1, "file_name"], None))
  assert [image.file_name for image in truth.images] == ["nine.jpg", ""]
  assert len(truth.images[1].classes) == 3


def test_category_names_in_the_place_of_ids(tmp_path):
  content = copy.deepcopy(FILE)
  for entry, own_id in zip(content["categories"], "xy", strict=True):
    entry["id"] = own_id
  for entry in content["annotations"]:
    entry["category_id"] = "x"
  truth = read(tmp_path, content)
  assert (truth.class_names, truth.category_ids) == (("cat", "dog"), (1, 2))


@pytest.mark.parametrize("content", ["", "{", '{"a": [1,}', "nul", "[]"])
def test_no_coco_file(tmp_path, content):
  with pytest.raises(ValueError, match=r"truth\.json: .*; accepted: "):
    read(tmp_path, content)


def test_no_categories(tmp_path):
  with pytest.raises(ValueError, match=r"truth\.json: no sound category; accepted"):
    read(tmp_path, {"images": FILE["images"], "annotations": [], "categories": []})


def test_no_file(tmp_path):
  with pytest.raises(faults.FaultError, match=r"none.json: file: cannot be read"):
    coco_truth.read_coco(tmp_path / "none.json")
