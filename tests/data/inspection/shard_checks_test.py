"""Tests of shards against one another and against the manifest."""

import json

import pytest

from mtl_ssl_tf.data.inspection import checks, shard_checks


def _messages(found) -> list[str]:
  return [
    f"{'' if finding.level == checks.FAULT else '(warning) '}{finding.kind}: {finding}"
    for finding in found
  ]


def _touch(folder, *names) -> list[str]:
  for name in names:
    (folder / name).touch()
  return [str(folder / name) for name in names]


def _shards(number, *indices, split="train") -> list[str]:
  return [f"{split}-{index:05d}-of-{number:05d}.tfrecord" for index in indices]


def _manifest(folder, content=None, split="train", **shards) -> None:
  """A manifest of `content`, or of cat and dog and numbers of images by index, s0, s1, …"""
  if content is None:
    listed = [
      {"file": f"{split}-0000{key[1]}-of-00002.tfrecord", "num_images": number}
      for key, number in shards.items()
    ]
    content = json.dumps({"classes": ["cat", "dog"], "shards": listed}).encode()
  (folder / f"manifest_{split}.json").write_bytes(content)


class TestShards:
  def test_all_there(self, tmp_path):
    files = _touch(tmp_path, *_shards(3, 0, 1, 2), *_shards(1, 0, split="val"), "other.tfrecord")
    assert shard_checks.check_shards(files) == []

  def test_missing(self, tmp_path):
    assert _messages(shard_checks.check_shards(_touch(tmp_path, *_shards(4, 0, 2)))) == [
      "shard_missing: train-*-of-00004.tfrecord: shards: not there: train-00001-of-00004.tfrecord,"
      " train-00003-of-00004.tfrecord; accepted: all of the 4 shards"
    ]

  def test_there_but_left_out(self, tmp_path):
    files = _touch(tmp_path, *_shards(2, 0, 1))
    assert _messages(shard_checks.check_shards(files[:1])) == [
      "(warning) shard_not_read: train-*-of-00002.tfrecord: shards: there, but not asked for:"
      " train-00001-of-00002.tfrecord; accepted: all of the 2 shards"
    ]

  def test_two_conversions(self, tmp_path):
    files = _touch(tmp_path, *_shards(2, 0, 1), *_shards(1, 0))
    assert _messages(shard_checks.check_shards(files)) == [
      "shards_mixed: train-*.tfrecord: shards: there are shards -of-00001, -of-00002; accepted: the"
      " shards of one conversion"
    ]

  def test_the_same_split_in_two_folders(self, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = _touch(tmp_path / "a", *_shards(1, 0)) + _touch(tmp_path / "b", *_shards(2, 0, 1))
    assert shard_checks.check_shards(files) == []


class TestManifest:
  def _check(self, folder, *numbers, classes=("cat", "dog")) -> list[str]:
    files = _touch(folder, *_shards(2, *range(len(numbers))))
    num_records = dict(zip(files, numbers, strict=True))
    return _messages(shard_checks.check_manifests(num_records, classes))

  def test_agrees(self, tmp_path):
    _manifest(tmp_path, s0=3, s1=0)
    assert self._check(tmp_path, 3, 0) == []
    assert self._check(tmp_path, 3, 0, classes=None) == []

  def test_missing(self, tmp_path):
    assert self._check(tmp_path, 3, 1) == [
      "(warning) manifest_missing: manifest_train.json: file: missing; accepted: the manifest of a"
      " finished conversion, if it was one of ours"
    ]

  def test_other_number_of_records(self, tmp_path):
    _manifest(tmp_path, s0=3, s1=1)
    assert self._check(tmp_path, 3, 2) == [
      "manifest_differs: manifest_train.json: shards: 1 images in train-00001-of-00002.tfrecord;"
      " accepted: 2, as there are records"
    ]

  def test_lists_a_shard_that_is_not_there(self, tmp_path):
    _manifest(tmp_path, s0=3, s1=1)
    assert self._check(tmp_path, 3) == [
      "manifest_differs: manifest_train.json: shards: lists train-00001-of-00002.tfrecord, which is"
      " not there; accepted: the shards that there are"
    ]

  def test_a_long_name_is_cut(self, tmp_path):
    shards = [{"file": "x" * 5000, "num_images": 1}]
    content = json.dumps({"classes": ["cat", "dog"], "shards": shards}).encode()
    _manifest(tmp_path, content)
    lines = self._check(tmp_path, 3)
    assert any("shards: lists xxx" in line for line in lines)
    assert max(map(len, lines)) < 400

  def test_a_shard_that_was_not_asked_for_is_not_compared(self, tmp_path):
    _manifest(tmp_path, s0=3, s1=1)
    _touch(tmp_path, *_shards(2, 1))
    assert self._check(tmp_path, 3) == []

  def test_does_not_list_a_shard(self, tmp_path):
    _manifest(tmp_path, s0=3)
    assert self._check(tmp_path, 3, 1) == [
      "manifest_differs: manifest_train.json: shards: does not list"
      " train-00001-of-00002.tfrecord; accepted: the shards that there are"
    ]

  def test_other_classes(self, tmp_path):
    _manifest(tmp_path, s0=3, s1=1)
    assert self._check(tmp_path, 3, 1, classes=("dog", "cat")) == [
      "manifest_differs: manifest_train.json: classes: 'cat, dog'; accepted: the classes of the"
      " label map: dog, cat"
    ]

  @pytest.mark.parametrize(
    ("content", "words"),
    [
      (b"", "no JSON (Expecting value"),
      (b'{"classes": [', "no JSON (Expecting value"),
      (b"\xff\xfe\x00", "no JSON (Expecting value"),
      (b"[]", "content is []; accepted: an object, as in what a converter wrote"),
      (b'{"classes": ["cat"]}', "content: shards is missing; accepted: a list"),
      (b'{"classes": [1], "shards": []}', "content: classes: entry 1 is 1; accepted: text"),
      (b'{"classes": [], "shards": 3}', "content: shards is 3; accepted: a list"),
      (b'{"classes": [], "shards": [{"file": "a"}]}', "lacks classes, or num_images of a shard"),
      (b'{"shards": []}', "lacks classes, or num_images of a shard"),
    ],
  )
  def test_damaged(self, tmp_path, content, words):
    _manifest(tmp_path, content)
    (message,) = self._check(tmp_path, 3)
    assert message.startswith(f"manifest: manifest_train.json: json: {words}")

  def test_each_split_has_its_own(self, tmp_path):
    _manifest(tmp_path, s0=1, s1=1)
    _manifest(tmp_path, s0=2, s1=2, split="val")
    train, val = (_touch(tmp_path, *_shards(2, 0, 1, split=split)) for split in ("train", "val"))
    num_records = dict.fromkeys(train, 1) | dict.fromkeys(val, 2)
    assert shard_checks.check_manifests(num_records, None) == []

  def test_empty_shard(self, tmp_path):
    _manifest(tmp_path, s0=3, s1=1)
    assert self._check(tmp_path, 3, 0)[1:] == [
      "(warning) empty_shard: train-00001-of-00002.tfrecord: file: holds no record; accepted:"
      " records"
    ]

  def test_empty_file_of_another_name(self, tmp_path):
    (path,) = _touch(tmp_path, "x.tfrecord")
    assert _messages(shard_checks.check_manifests({path: 0}, None)) == [
      "(warning) empty_shard: x.tfrecord: file: holds no record; accepted: records"
    ]
