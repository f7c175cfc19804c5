"""Tests of journal.py."""

import json

import pytest

from mtl_ssl_tf.prediction import journal as journal_lib

_SETTINGS = {"--score_threshold": 0.5, "--outputs": ["drawn"]}
_NAMES = ["a.jpg", "b.jpg", "größe.jpg"]
_UNITS = [[{"file": "a.jpg"}, {"file": "b.jpg"}], [{"file": "größe.jpg", "failure": "x\ny"}]]


@pytest.fixture(name="path")
def _path(tmp_path):
  return tmp_path / "unfinished.jsonl"


def _open(path, settings=None, names=_NAMES, **options):
  return journal_lib.Journal(path, settings or _SETTINGS, names, num_classes=2, **options)


@pytest.fixture(name="whole")
def _whole(path):
  """The bytes of a journal of two units."""
  with _open(path) as journal:
    for unit in _UNITS:
      journal.add(unit)
  return path.read_bytes()


def _error(path, settings=None):
  with pytest.raises(ValueError) as caught:
    _open(path, settings)
  return str(caught.value).replace(str(path.parent), "/out")


def test_units_in_order(path):
  with _open(path) as journal:
    assert (journal.num_units, journal.num_files, list(journal.records())) == (0, 0, [])
    for unit in _UNITS:
      journal.add(unit)
    assert (journal.num_units, journal.num_files) == (2, 3)
    assert list(journal.records()) == _UNITS[0] + _UNITS[1]


def test_resumes_with_the_files_it_began_with(path, whole):
  with _open(path, names=["a.jpg", "new.jpg"]) as journal:
    assert journal.names == _NAMES
    assert (journal.num_units, journal.num_files) == (2, 3)
    journal.add([{"file": "c"}])
  assert path.read_bytes() == whole + b'[{"file":"c"}]\n'


def test_cut_anywhere_it_resumes_to_the_same_end(path, whole):
  ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
  for length in range(len(whole)):
    path.write_bytes(whole[:length])
    with _open(path) as journal:
      assert journal.num_units == max(sum(end <= length for end in ends) - 1, 0)
      for unit in _UNITS[journal.num_units :]:
        journal.add(unit)
    assert path.read_bytes() == whole


def test_blocks_that_were_never_written(path, whole):
  path.write_bytes(whole + b"\0\0\0\n" + b'[{"file":"c"}]\n')
  with _open(path) as journal:
    assert journal.num_units == 2
  assert path.read_bytes() == whole


@pytest.mark.usefixtures("whole")
class TestOtherSettings:
  @pytest.mark.parametrize(
    ("change", "message"),
    [
      ({"--score_threshold": 0.3}, "--score_threshold 0.5, now it is 0.3"),
      ({"--outputs": ["drawn", "voc"]}, '--outputs ["drawn"], now it is ["drawn", "voc"]'),
      ({"--new": "größe"}, '--new null, now it is "größe"'),
      ({"--new": "x" * 500}, f'--new null, now it is "{"x" * 199}… (502 characters)'),
    ],
  )
  def test_are_reported(self, path, change, message):
    before = path.read_bytes()
    assert _error(path, _SETTINGS | change) == (
      f"--output_dir '/out' holds an unfinished prediction with {message}; accepted: the same again"
      " to resume it, --overwrite to start again, or another folder"
    )
    assert path.read_bytes() == before

  def test_one_that_is_gone_is_reported(self, path):
    settings = {"--score_threshold": 0.5}
    assert 'prediction with --outputs ["drawn"], now it is null; acc' in _error(path, settings)

  def test_overwrite_begins_again(self, path):
    with _open(path, {"--score_threshold": 0.3}, ["c"], overwrite=True) as journal:
      assert (journal.num_units, journal.names) == (0, ["c"])
    assert len(path.read_bytes().splitlines()) == 1


def test_another_version(path):
  path.write_text('{"version": 0}\n')
  assert "an unfinished prediction of another version of this program; accepted" in _error(path)


@pytest.mark.parametrize("content", ["notes\n", '["a"]\n', '{"file": 1}', "\n"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_somebody_else(path, content, overwrite):
  path.write_text(content)
  with pytest.raises(
    ValueError, match=r"'.*': its unfinished.jsonl is no file of this command; acc"
  ):
    _open(path, overwrite=overwrite)
  assert path.read_text() == content


def test_two_at_once(path):
  with _open(path):
    assert _error(path) == (
      "--output_dir '/out': another prediction is writing there; accepted: a folder of its own for"
      " each"
    )
  with _open(path):
    pass


def test_remove(path):
  with _open(path) as journal:
    journal.remove()
  assert not path.exists()


def _head(*names: str) -> str:
  return json.dumps({"version": 1, "settings": _SETTINGS, "names": names}).replace(": ", ":", 1)


_ROW = {"category_id": 1, "bbox": [0, 1, 2, 3], "score": 0.5}
_IMAGE = {"file": "a.jpg", "height": 4, "width": 6, "detections": [_ROW]}


class TestForeignJournals:
  """A file that begins as a journal does; nothing outside of the folders is read or written."""

  @pytest.mark.parametrize(
    ("head", "problem"),
    [
      ('{"version":1}', "first line: settings is missing"),
      ('{"version":1,"settings":[],"names":[]}', "first line: settings is []"),
      ('{"version":1,"settings":{},"names":[7]}', "first line: names: entry 1 is 7"),
      (_head("../a.jpg"), "first line: '../a.jpg' as the name of a file in --input"),
      (_head("b/../../a.jpg"), "first line: 'b/../../a.jpg' as the name of a file in --input"),
      (_head("/etc/a.jpg"), "first line: '/etc/a.jpg' as the name of a file in --input"),
      (_head(""), "first line: '' as the name of a file in --input"),
      (_head("a\0.jpg"), r"first line: 'a\x00.jpg' as the name of a file in --input"),
    ],
  )
  def test_heads(self, path, head, problem):
    path.write_text(f"{head}\n")
    assert _error(path) == (
      f"/out/unfinished.jsonl: {problem}; accepted: what this command left, --overwrite to start"
      " again, or another folder"
    )
    with _open(path, overwrite=True) as journal:
      assert journal.names == _NAMES

  def test_results(self, path):
    path.write_text(f"{_head('a.jpg', 'b.jpg')}\n{json.dumps([_IMAGE])}\n")
    with _open(path) as journal:
      assert list(journal.records()) == [_IMAGE]

  @pytest.mark.parametrize(
    ("records", "problem"),
    [
      (7, "line 2 is 7"),
      ([], "line 2: results of other files than come next"),
      ([7], "line 2: entry 1 is 7"),
      ([{"file": "b.jpg"}], "line 2: results of other files than come next"),
      ([_IMAGE, {"file": "b.jpg"}, {"file": "c"}], "line 2: results of other files than come next"),
      ([{"file": "a.jpg", "failure": 7}], "line 2: entry 1: failure is 7"),
      ([{"file": "a.jpg", "detections": []}], "line 2: detections in an image without a size"),
      (
        [_IMAGE | {"detections": [{}]}],
        "line 2: entry 1: detections: entry 1: category_id is ",
      ),
      ([_IMAGE | {"detections": [_ROW | {"bbox": [1]}]}], "line 2: a bbox of another length than"),
      (
        [_IMAGE | {"detections": [_ROW | {"category_id": 3}]}],
        "line 2: a category_id that is none of the detector's",
      ),
    ],
  )
  def test_results_of_another_kind(self, path, records, problem):
    path.write_text(f"{_head('a.jpg', 'b.jpg')}\n{json.dumps(records)}\n")
    assert _error(path).startswith(f"/out/unfinished.jsonl: {problem}")

  def test_a_deep_line_is_cut_off(self, path, whole):
    path.write_bytes(whole + b"[" * 100_000 + b"\n")
    with _open(path) as journal:
      assert journal.num_units == 2
    assert path.read_bytes() == whole

  def test_a_link(self, path, tmp_path, whole):
    path.rename(tmp_path / "other.jsonl")
    path.symlink_to(tmp_path / "other.jsonl")
    for overwrite in (False, True):
      with pytest.raises(ValueError, match="is a link; accepted: another folder"):
        _open(path, overwrite=overwrite)
    assert (tmp_path / "other.jsonl").read_bytes() == whole
