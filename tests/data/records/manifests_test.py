"""Tests of what manifests say of boxes, without reading a record."""

import json

import pytest

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.data.records import manifests

_CLASSES = ["cat", "dog", "cow"]


def _write(folder, split="train", num_shards=2, num_images=5, without=0, **boxes):
  shards = [f"{split}-{number}.tfrecord" for number in range(num_shards)]
  content = {
    "shards": [{"file": file} for file in shards],
    "num_images": num_images,
    "num_images_without_boxes": without,
    "boxes_per_class": dict.fromkeys(_CLASSES, 0) | boxes,
  }
  (folder / f"manifest_{split}.json").write_text(json.dumps(content))
  return [str(folder / file) for file in shards]


def test_nothing_to_tell(tmp_path):
  files = _write(tmp_path, cat=3, dog=1, cow=1)
  assert manifests.boxes_missing(files, _CLASSES) == (False, [])


def test_no_box_at_all(tmp_path):
  files = _write(tmp_path, without=5)
  assert manifests.boxes_missing(files, _CLASSES) == (True, ["no box in 5 images"])


def test_images_and_classes_without_one_by_count(tmp_path):
  files = _write(tmp_path, without=2, dog=4) + _write(tmp_path, "val", without=1, dog=1, cat=0)
  assert manifests.boxes_missing(files, _CLASSES) == (
    False,
    ["images without a box: 3 of 10", "classes without a box: 2 of 3: cat, cow"],
  )


@pytest.mark.parametrize("part", [slice(1), slice(3)])
def test_of_other_files_nothing_is_known(tmp_path, part):
  files = [*_write(tmp_path), str(tmp_path / "of no manifest.tfrecord")]
  assert manifests.boxes_missing(files[part], _CLASSES) == (False, [])


@pytest.mark.parametrize("name", ["../a.tfrecord", "a\0", "\ud800", "\udc93", "a\nb"])
@pytest.mark.parametrize("field", ["shards", "pictures"])
def test_no_name_of_a_file(tmp_path, field, name):
  content = {"shards": [{"file": "a.tfrecord"}], "pictures": "pictures_train.tsv"}
  content[field] = [{"file": name}] if field == "shards" else name
  path = tmp_path / "manifest_train.json"
  path.write_text(json.dumps(content))
  with pytest.raises(faults.FaultError, match="as the name of a file; accepted: a name without"):
    manifests.load(path)


def test_of_unreadable_manifests_the_files_own_alone_is_a_fault(tmp_path):
  files = [str(tmp_path / "train-00000-of-00001.tfrecord")]
  (tmp_path / "manifest_val.json").write_text("mine")
  assert list(manifests.read(files)) == []
  (tmp_path / "manifest_train.json").write_text("mine")
  with pytest.raises(faults.FaultError, match=r"manifest_train\.json: manifest: no JSON"):
    list(manifests.read(files))
