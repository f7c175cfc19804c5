"""What a detection run checks before it is built; the whole of it is tried in `driver_test.py`."""

import json

import pytest

from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.data.records import pictures
from mtl_ssl_tf.tasks import detection_settings
from tests.data import picture_splits


@pytest.mark.parametrize(
  ("norm_type", "init", "warns"),
  [("frozen", "", True), ("frozen", "imagenet", False), ("batch", "", False)],
)
def test_frozen_statistics_without_start_weights(norm_type, init, warns, capsys):
  task = detector.MtlDetection()
  task.backbone.norm.type, task.init_checkpoint = norm_type, init
  detection_settings.check_start(task)
  told = capsys.readouterr().err
  assert told.startswith("warning: task.backbone.norm.type is 'frozen' and there are no") == warns


@pytest.mark.parametrize(
  ("backbone", "weights", "layout"),
  [
    ("resnet_101", "imagenet", "keras"),
    ("resnet_50", "imagenet", "keras"),
    ("resnet_101", "resnet_v1_101.ckpt", "slim"),
    ("mobilenet_v1", "imagenet", "slim"),
    ("resnet_18", "imagenet", "slim"),
    ("resnet_18", "resnet18.pth", "torchvision"),
    ("resnet_50", "resnet50.pt", "torchvision"),
    ("mobilenet_v1", "mobilenet.pth", "slim"),
  ],
)
def test_weights_of_resnet_bring_their_layout(backbone, weights, layout):
  task = detector.MtlDetection()
  task.backbone.type = backbone
  detection_settings.start_from(task, weights)
  assert (task.init_checkpoint, task.backbone.layout) == (weights, layout)


class TestBoxesOfTheRecords:
  def _check(self, folder, name, **boxes):
    (folder / "label_map.txt").write_text("cat\ndog\n")
    (folder / "val-0.tfrecord").touch()
    content = {
      "shards": [{"file": "val-0.tfrecord"}],
      "num_images": 7,
      "num_images_without_boxes": 3,
      "boxes_per_class": {"cat": 0, "dog": 0} | boxes,
    }
    (folder / "manifest_val.json").write_text(json.dumps(content))
    task = detector.MtlDetection()
    task.label_map = str(folder / "label_map.txt")
    getattr(task, name).input_path = str(folder / "val-*.tfrecord")
    detection_settings.check_data(task, name)

  @pytest.mark.parametrize("name", ["train_data", "validation_data"])
  def test_what_lacks_boxes_is_told_by_count(self, tmp_path, capsys, name):
    self._check(tmp_path, name, cat=5)
    assert capsys.readouterr().err.splitlines() == [
      f"warning: task.{name}.input_path: images without a box: 3 of 7",
      f"warning: task.{name}.input_path: classes without a box: 1 of 2: dog",
    ]

  def test_training_without_a_box_is_told(self, tmp_path, capsys):
    self._check(tmp_path, "train_data")
    told = capsys.readouterr().err
    assert told == "warning: task.train_data.input_path: no box in 7 images\n"

  def test_validation_without_a_box_is_refused(self, tmp_path):
    with pytest.raises(
      ValueError, match=r"task.validation_data.input_path: no box in 7 images; acc"
    ):
      self._check(tmp_path, "validation_data")


class TestPicturesOfBothSplits:
  def _check(self, tmp_path, capsys, name="validation_data", **paths) -> str:
    task = detector.MtlDetection()
    task.label_map = str(tmp_path / "label_map.txt")
    task.train_data.input_path = str(tmp_path / "train-*")
    task.validation_data.input_path = str(tmp_path / "val-*")
    for field, path in paths.items():
      getattr(task, field).input_path = path
    capsys.readouterr()
    detection_settings.check_data(task, name)
    return capsys.readouterr().err

  @pytest.fixture(autouse=True)
  def _splits(self, tmp_path):
    picture_splits.write(tmp_path, "train", {"a": b"1", "b": b"2"})
    picture_splits.write(tmp_path, "val", {"c": b"2", "d": b"3"})

  def test_they_are_told(self, tmp_path, capsys):
    assert self._check(tmp_path, capsys) == (
      "warning: task.validation_data.input_path: pictures that are in task.train_data too, by"
      " content: 1: 'c' ('b' there); accepted: each picture in one of them, or figures are too"
      " good\n"
    )

  def test_once(self, tmp_path, capsys):
    assert self._check(tmp_path, capsys, "train_data") == ""

  def test_an_evaluation_needs_no_training_data(self, tmp_path, capsys):
    assert self._check(tmp_path, capsys, train_data="/nowhere/train-*") == ""

  def test_nothing_shared(self, tmp_path, capsys):
    picture_splits.write(tmp_path, "val", {"c": b"5"})
    assert self._check(tmp_path, capsys) == ""

  def test_unknown(self, tmp_path, capsys, monkeypatch):
    (tmp_path / "pictures_train.tsv").unlink()
    monkeypatch.setattr(pictures, "MAX_READ_BYTES", 10)
    assert self._check(tmp_path, capsys) == (
      "task.validation_data.input_path: pictures are not compared with task.train_data, as a split"
      " has no list of them; mtl-ssl validate --records TRAIN --records VALIDATION compares them\n"
    )
