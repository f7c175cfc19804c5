"""Ids of results: which file tells what they stand for, and how its names are understood."""

import dataclasses
import json

import pytest

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.ground_truth import detection_files
from tests.data.ground_truth import detection_files_test

KNOWN = detection_files_test.TestIds.KNOWN
ROW = {**detection_files_test.ROW, "image_id": 1, "category_id": 1}


def known(*names, **others):
  images = [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]
  return {**KNOWN, "images": images, **others}


def read(tmp_path, rows, truth=None, **files):
  """Detections of rows in photo 12 and photo 7, with files beside them."""
  (tmp_path / "r.json").write_text(json.dumps(rows))
  for name, content in files.items():
    (tmp_path / f"{name}.json").write_text(json.dumps(content))
  truth = truth or detection_files_test.make_truth("12", "7")
  found = detection_files.read_predictions(str(tmp_path / "r.json"), truth)
  return [len(image.classes) for image in found]


def test_the_file_of_these_results_goes_before_that_of_the_folder(tmp_path):
  own, of_folder = known("photo 12.jpg"), known("photo 7.jpg")
  assert read(tmp_path, [ROW], r_ids=own, coco_ground_truth=of_folder) == [1, 0]


@pytest.mark.parametrize(
  "name", ["deep\\photo 7.jpg", "./photo 7.jpg", "C:\\deep\\photo 7.png", "photo 7"]
)
def test_spellings_of_a_path(tmp_path, name):
  assert read(tmp_path, [ROW], r_ids=known(name)) == [0, 1]


@pytest.mark.parametrize("name", ["./photo 7.jpg", ".\\photo 7.jpg"])
def test_another_spelling_of_the_whole_path_counts_more_than_a_last_name(tmp_path, name):
  assert read(tmp_path, [ROW], r_ids=known(name, "deep/photo 7.jpg")) == [0, 1]


def test_another_spelling_of_a_path_whose_last_name_two_images_share(tmp_path):
  truth = detection_files_test.make_truth("1", "2")
  images = [
    dataclasses.replace(image, file_name=f"{folder}/photo 12.jpg")
    for image, folder in zip(truth.images, "ab", strict=True)
  ]
  truth = dataclasses.replace(truth, images=tuple(images))
  for name in ("b/photo 12.jpg", "./b/photo 12.jpg", "b\\photo 12.jpg"):
    assert read(tmp_path, [ROW], truth, r_ids=known(name)) == [0, 1]


def test_an_image_without_a_name_is_unknown(tmp_path):
  ids = known("photo 7.jpg")
  ids["images"].append({"id": 2})
  assert read(tmp_path, [ROW], r_ids=ids) == [0, 1]
  with pytest.raises(faults.FaultError, match=r"r.json: entry 2: file_name: None; accepted: an"):
    read(tmp_path, [ROW, {**ROW, "image_id": 2}], r_ids=ids)


@pytest.mark.parametrize(
  ("entry", "message"),
  [
    ({"id": True, "name": "cat"}, "id: True; accepted: a whole number"),
    ({"id": "3", "name": "cat"}, "id: '3'; accepted: a whole number"),
    ({"id": 2, "name": "cat"}, "id: 2; accepted: each category once"),
    ({"id": 3, "name": ""}, "name: ''; accepted: a name"),
    ({"id": 3}, "name: None; accepted: a name"),
    ({"id": 3, "name": "owl"}, "name: 'owl'; accepted: each name once"),
  ],
)
def test_categories_at_fault(tmp_path, entry, message):
  ids = known("photo 7.jpg", categories=[*KNOWN["categories"], entry])
  with pytest.raises(faults.FaultError) as error:
    read(tmp_path, [ROW], r_ids=ids)
  assert str(error.value) == f"{tmp_path}/r.json: categories: entry 3: {message}"


def test_numbers_in_the_names_of_files_must_be_the_ids(tmp_path):
  truth = detection_files_test.make_truth("139", "285")
  for numbers, are_ids in (((139, 285), True), ((139, 286), False)):
    images = [
      dataclasses.replace(image, file_name=f"{number:012d}.jpg")
      for image, number in zip(truth.images, numbers, strict=True)
    ]
    named = dataclasses.replace(truth, images=tuple(images))
    rows = [{**detection_files_test.ROW, "image_id": 285}]
    if are_ids:
      assert read(tmp_path, rows, named) == [0, 1]
    else:
      with pytest.raises(ValueError, match="nothing says which images they stand for"):
        read(tmp_path, rows, named)
