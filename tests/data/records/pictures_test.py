"""Tests of finding pictures that two splits share, by their content."""

import json

import pytest

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import pictures
from tests.data import picture_splits

_TRAIN = {"t1": b"1", "t2": b"2", "t3": b"3", "t4": b"4", "t5": b"5"}
_VAL = {"v1": b"9", "v3": b"3", "v1 again": b"1"}


@pytest.fixture(name="splits")
def _splits(tmp_path):
  return picture_splits.write(tmp_path, "train", _TRAIN), picture_splits.write(
    tmp_path, "val", _VAL
  )


def test_names_on_both_sides(splits):
  train, val = splits
  expected = [("v3", "t3"), ("v1 again", "t1")]
  found = pictures.shared(val, train)
  assert (found.number, list(found.first)) == (2, expected)
  assert str(found) == "'v3' ('t3' there), 'v1 again' ('t1' there)"
  # In the order of the split that has fewer; each pair as it was asked for.
  assert list(pictures.shared(train, val).first) == [(b, a) for a, b in expected]


def test_the_first_few_are_named(tmp_path):
  contents = {f"a{i}": bytes([i]) for i in range(9)}
  one, two = (picture_splits.write(tmp_path / folder, "train", contents) for folder in "xy")
  assert str(pictures.shared(one, two)) == (
    "'a0' ('a0' there), 'a1' ('a1' there), 'a2' ('a2' there) and 6 more"
  )


def test_a_picture_that_a_split_has_twice_counts_once(tmp_path):
  one = picture_splits.write(tmp_path, "train", {"a": b"1", "b": b"1"})
  two = picture_splits.write(tmp_path, "val", {"c": b"1", "d": b"1", "e": b"2"})
  found = pictures.shared(one, two)
  assert (found.number, list(found.first)) == (1, [("a", "c")])


def test_nothing_is_shared(tmp_path):
  files = (
    picture_splits.write(tmp_path, "train", {"a": b"1"}),
    picture_splits.write(tmp_path, "val", {"a": b"2"}),
  )
  assert pictures.shared(*files) == pictures.Shared(0, ())


@pytest.mark.parametrize("part", [slice(1), slice(1, 2)])
def test_of_some_shards_their_pictures_alone(splits, part):
  train, val = splits  # t1 to t3 are in the first shard, t4 and t5 in the second.
  assert pictures.shared(val, train[part]).number == (2 if part.start is None else 0)


def test_names_are_no_formulas(tmp_path):
  contents = {"=1+1": b"1", "a\t=b\r\nc": b"2", "-7": b"3"}
  picture_splits.write(tmp_path, "train", contents)
  lines = (tmp_path / schema.pictures_file("train")).read_text().splitlines()
  assert [line.split("\t")[1:] for line in lines] == [["'=1+1"], ["a =b  c"], ["-7"]]


@pytest.mark.parametrize("case", ["list missing", "list of another conversion", "no manifest"])
def test_records_are_read_where_there_is_no_list(tmp_path, splits, case, monkeypatch):
  path = tmp_path / schema.pictures_file("train")
  if case == "list missing":
    path.unlink()
  elif case == "list of another conversion":
    path.write_bytes(path.read_bytes() * 2)
  else:
    (tmp_path / "manifest_train.json").unlink()
  assert pictures.shared(splits[1], splits[0]).number == 2
  monkeypatch.setattr(pictures, "MAX_READ_BYTES", 10)
  assert pictures.shared(splits[1], splits[0]) is None


def test_records_on_another_machine_are_not_read(tmp_path, splits):
  remote = [f"file://{path}" for path in splits[0]]
  assert pictures.shared(splits[1], remote).number == 2
  (tmp_path / schema.pictures_file("train")).unlink()
  assert pictures.shared(splits[1], remote) is None


@pytest.mark.parametrize("size", [1, 7, 40])
def test_a_list_is_read_in_pieces(splits, monkeypatch, size):
  whole = pictures.shared(*splits)
  monkeypatch.setattr(pictures, "_CHUNK_BYTES", size)
  assert pictures.shared(*splits) == whole


def test_records_of_others_are_unknown(tmp_path, splits):
  path = tmp_path / "x.tfrecord"
  path.write_bytes(b"no record")
  assert pictures.shared(splits[1], [str(path)]) is None


def test_records_are_not_read_where_there_is_a_list(splits):
  for path in splits[0]:
    with open(path, "wb"):
      pass
  assert pictures.shared(splits[1], splits[0]).number == 2


def test_records_with_a_list_may_be_of_any_size(splits, monkeypatch):
  monkeypatch.setattr(pictures, "MAX_READ_BYTES", 0)
  assert pictures.shared(splits[1], splits[0]).number == 2


@pytest.mark.parametrize(
  ("source_id", "file_name", "name"),
  [
    ("cam1/a", "a.jpg", "cam1/a"),
    ("a.jpg", "a.jpg", "a.jpg"),
    ("17", "a.jpg", "a.jpg"),
    ("17", "", "17"),
  ],
)
def test_the_name_of_the_file_where_the_id_is_another(source_id, file_name, name):
  example = picture_splits.example(source_id, b"1", file_name)
  assert pictures.line(example) == f"6b86b273ff34fce1\t{name}"


def test_of_a_record_without_a_digest_the_image_is_read():
  example = picture_splits.example("a", b"1", "a")
  expected = pictures.line(example)
  del example.features.feature[schema.IMAGE_SHA256]
  assert pictures.line(example) == expected


def test_names_that_are_no_text(tmp_path):
  one = picture_splits.write(tmp_path, "train", {"\udcff\n": b"1"})
  two = picture_splits.write(tmp_path, "val", {"b": b"1"})
  assert str(pictures.shared(one, two)) == r"'\udcff ' ('b' there)"


class TestLines:
  def _lines(self, folder, split: str) -> list[str]:
    names = [path.name for path in sorted(folder.glob(f"{split}-*.tfrecord"))]
    return list(pictures.lines_on_shared(folder, split, names))

  def test_each_other_split_of_the_folder(self, tmp_path, splits):
    picture_splits.write(tmp_path, "test", {"x": b"9"})
    assert self._lines(tmp_path, "val") == [
      "val: pictures that are in split test too, by content: 1: 'v1' ('x' there); accepted: each"
      " picture in one split",
      "val: pictures that are in split train too, by content: 2: 'v3' ('t3' there), 'v1 again'"
      " ('t1' there); accepted: each picture in one split",
    ]

  def test_a_split_made_of_this_one_is_none(self, tmp_path, splits):
    path = tmp_path / "manifest_val.json"
    made_of = {"sparse": {"source_split": "train"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | made_of))
    assert self._lines(tmp_path, "train") == []
    assert len(self._lines(tmp_path, "val")) == 1

  @pytest.mark.parametrize("content", ["", "[]", "{}", '{"split": "val", "shards": 1}'])
  def test_a_manifest_of_another_program(self, tmp_path, splits, content):
    (tmp_path / "manifest_val.json").write_text(content)
    assert self._lines(tmp_path, "train") == []

  def test_a_manifest_that_names_no_split(self, tmp_path, splits):
    path = tmp_path / "manifest_val.json"
    content = json.loads(path.read_text())
    del content["split"]
    path.write_text(json.dumps(content))
    assert self._lines(tmp_path, "train") == []
