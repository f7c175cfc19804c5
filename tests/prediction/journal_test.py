"""Tests of journal.py."""

import pytest

from mtl_ssl_tf.prediction import journal as journal_lib

_SETTINGS = {"--score_threshold": 0.5, "--outputs": ["drawn"]}
_NAMES = ["a.jpg", "b.jpg", "größe.jpg"]
_UNITS = [[{"file": "a.jpg"}, {"file": "b.jpg"}], [{"file": "größe.jpg", "failure": "x\ny"}]]


@pytest.fixture(name="path")
def _path(tmp_path):
  return tmp_path / "unfinished.jsonl"


def _open(path, settings=None, names=_NAMES, **options):
  return journal_lib.Journal(path, settings or _SETTINGS, names, **options)


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
