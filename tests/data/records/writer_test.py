"""Tests of shards and manifest appearing together or not at all."""

import json
import os

import pytest
import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.records import writer as record_writer


def _example(source_id: str, names: tuple[str, ...] = ("cat",), height=20, width=40, difficult=0):
  return record_writer.make_example(
    encoded=b"bytes",
    image_format="jpeg",
    height=height,
    width=width,
    filename=f"{source_id}.jpg",
    source_id=source_id,
    boxes_orig=[(2, 4, 10, 20)] * len(names),
    class_ids=[1] * len(names),
    class_names=names,
    difficult=[difficult] * len(names),
    truncated=[0] * len(names),
  )


def _writer(folder, *, num_images=2, num_shards=2, split="train", classes=("cat", "dog")):
  return record_writer.SplitWriter(
    folder, split, classes, num_images=num_images, num_shards=num_shards
  )


def _write(folder, ids="ab", **options):
  with _writer(folder, num_images=len(ids), **options) as writer:
    for position, source_id in enumerate(ids):
      writer.write(_example(source_id), position)
    return writer.commit()


def _source_ids(path) -> str:
  """The images of one shard, in order."""
  records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
  examples = [tf.train.Example.FromString(record) for record in records]
  ids = [example.features.feature[schema.IMAGE_SOURCE_ID].bytes_list.value for example in examples]
  return "".join(value.decode() for (value,) in ids)


class TestExample:
  def test_boxes_are_fractions_and_nothing_is_subtracted(self):
    feature = _example("a").features.feature
    for key, value in (
      (schema.OBJECT_YMIN, 2 / 20),
      (schema.OBJECT_XMIN, 4 / 40),
      (schema.OBJECT_YMAX, 10 / 20),
      (schema.OBJECT_XMAX, 20 / 40),
      (schema.OBJECT_AREA, 8 * 16),
    ):
      assert feature[key].float_list.value == pytest.approx([value])
    assert feature[schema.OBJECT_IS_CROWD].int64_list.value == [0]
    assert feature[schema.OBJECT_TEXT].bytes_list.value == [b"cat"]

  def test_same_content_same_bytes(self, tmp_path):
    for folder in ("x", "y"):
      _write(tmp_path / folder)
    for name in os.listdir(tmp_path / "x"):
      assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()

  def test_file_names_that_are_no_text(self):
    feature = _example(os.fsdecode(b"\xff")).features.feature
    assert feature[schema.IMAGE_SOURCE_ID].bytes_list.value == [b"\xff"]


class TestDigest:
  def test_every_name_and_content_matters(self):
    cases = [
      [(b"a", "1"), (b"b", "2")],
      [(b"a", "2"), (b"b", "1")],
      [(b"a", "1")],
      [(b"a", "1"), (b"c", "2")],
      [(b"a", "12"), (b"b", "")],
    ]
    assert len({record_writer.sources_digest(case) for case in cases}) == 5


class TestCommit:
  def test_files(self, tmp_path):
    _write(tmp_path / "new" / "folder")
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == [
      "label_map.txt",
      "manifest_train.json",
      "pictures_train.tsv",
      "train-00000-of-00002.tfrecord",
      "train-00001-of-00002.tfrecord",
    ]
    assert (tmp_path / "new/folder/label_map.txt").read_text() == "cat\ndog\n"

  def test_shards_in_order_are_the_images_in_order(self, tmp_path):
    manifest = _write(tmp_path, "abcde", num_shards=3)
    assert [_source_ids(tmp_path / shard["file"]) for shard in manifest["shards"]] == [
      "ab",
      "cd",
      "e",
    ]
    assert [shard["num_images"] for shard in manifest["shards"]] == [2, 2, 1]

  def test_no_more_shards_than_images(self, tmp_path):
    assert [shard["file"] for shard in _write(tmp_path, "a", num_shards=4)["shards"]] == [
      "train-00000-of-00001.tfrecord"
    ]

  def test_a_shard_whose_images_were_left_out_is_empty(self, tmp_path):
    with _writer(tmp_path, num_images=3, num_shards=3) as writer:
      writer.write(_example("b"), 1)
      manifest = writer.commit()
    assert [_source_ids(tmp_path / shard["file"]) for shard in manifest["shards"]] == ["", "b", ""]

  def test_manifest(self, tmp_path):
    with _writer(tmp_path, num_images=4, num_shards=1) as writer:
      writer.write(_example("a", ("cat", "cat", "cow")), 0)
      writer.write(_example("b", ()), 1)
      writer.write(_example("c", ("cat",), height=30, difficult=1), 2)
      writer.write(_example("d", ("cat",), height=10, width=50), 3)
      manifest = writer.commit(remark="ä")
    assert manifest == {
      "split": "train",
      "num_images": 4,
      "num_images_without_boxes": 1,
      "num_boxes": 5,
      "num_difficult_boxes": 1,
      "num_crowd_boxes": 0,
      "max_boxes_per_image": 3,
      "boxes_per_class": {"cat": 4, "dog": 0},
      "image_sizes": {
        "num_distinct": 3,
        "min_height": 10,
        "max_height": 30,
        "min_width": 40,
        "max_width": 50,
      },
      "classes": ["cat", "dog"],
      "shards": [{"file": "train-00000-of-00001.tfrecord", "num_images": 4}],
      "pictures": "pictures_train.tsv",
      "remark": "ä",
    }
    assert json.loads((tmp_path / "manifest_train.json").read_text()) == manifest

  def test_without_commit_nothing_is_left(self, tmp_path):
    with pytest.raises(KeyboardInterrupt), _writer(tmp_path / "new" / "folder") as writer:
      writer.write(_example("a"), 0)
      raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []

  def test_without_records_nothing_is_written(self, tmp_path):
    with (
      pytest.raises(ValueError, match="train: no image is left to write"),
      _writer(tmp_path, num_images=0) as writer,
    ):
      writer.commit()
    assert os.listdir(tmp_path) == []

  def test_written_again_with_another_number_of_shards(self, tmp_path):
    _write(tmp_path, "xyz", num_shards=3)
    _write(tmp_path, "v", split="val")
    kept = tmp_path / "train-of-thought.txt"
    kept.touch()
    _write(tmp_path, "ab", num_shards=2)
    assert sorted(path.name for path in tmp_path.glob("*.tfrecord")) == [
      "train-00000-of-00002.tfrecord",
      "train-00001-of-00002.tfrecord",
      "val-00000-of-00001.tfrecord",
    ]
    assert _source_ids(tmp_path / "train-00000-of-00002.tfrecord") == "a"
    assert kept.exists()

  def test_killed_while_writing_and_started_again(self, tmp_path):
    _write(tmp_path, "x", num_shards=1)
    killed = _writer(tmp_path, num_images=1)
    killed.write(_example("y"), 0)
    assert _source_ids(tmp_path / "train-00000-of-00001.tfrecord") == "x"
    assert record_paths.match_files(str(tmp_path)) == [
      str(tmp_path / "train-00000-of-00001.tfrecord")
    ]
    with pytest.raises(ValueError, match="another process is writing split train there; accepted"):
      _write(tmp_path, "z", num_shards=1)
    del killed  # With it goes the lock, as with a process that is killed.
    _write(tmp_path, "z", num_shards=1)
    assert _source_ids(tmp_path / "train-00000-of-00001.tfrecord") == "z"
    assert not (tmp_path / ".incomplete_train").exists()

  def test_killed_between_two_files_there_is_no_manifest(self, tmp_path, monkeypatch):
    _write(tmp_path, "xy")
    replace = os.replace

    def killed_at_the_second(source, target):
      if str(target).endswith("train-00001-of-00002.tfrecord"):
        raise KeyboardInterrupt
      replace(source, target)

    with monkeypatch.context() as patched:
      patched.setattr(os, "replace", killed_at_the_second)
      with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, "ab")
    assert not (tmp_path / "manifest_train.json").exists()
    _write(tmp_path, "c", num_shards=1)
    shards = sorted(path.name for path in tmp_path.glob("train-*"))
    assert shards == ["train-00000-of-00001.tfrecord"]

  @pytest.mark.parametrize(
    "name", ["train-00000-of-00007.tfrecord", "manifest_train.json", "pictures_train.tsv"]
  )
  @pytest.mark.parametrize("is_first", [False, True])
  def test_files_of_others_stay(self, tmp_path, name, is_first):
    if not is_first:
      _write(tmp_path)
      if name != "train-00000-of-00007.tfrecord":
        (tmp_path / "manifest_train.json").unlink()
        for path in tmp_path.glob("train-*"):
          path.unlink()
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"{name} is none of a conversion, which would delete it;"):
      _write(tmp_path, "ab")
    assert (tmp_path / name).read_text() == "mine"
    _write(tmp_path, split="val")

  def test_label_map_of_other_classes_is_not_overwritten(self, tmp_path):
    _write(tmp_path)
    for classes in (("dog", "cat"), ("cat",), ("cat", "dog", "cow")):
      with pytest.raises(ValueError, match=r"label_map.txt: holds other classes than .*; accepted"):
        _writer(tmp_path, split="val", classes=classes)
    _write(tmp_path, split="val")
    assert (tmp_path / "label_map.txt").read_text() == "cat\ndog\n"

  def test_a_folder_that_cannot_be_made(self, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
      _writer(tmp_path / "file")
