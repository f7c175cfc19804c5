"""A command replaces the files that it wrote, and no others."""

import errno
import os

import pytest

from mtl_ssl_tf import written_files

_LIST = ".written_by_draw"


@pytest.fixture(name="folder")
def _folder(tmp_path):
  return tmp_path / "out"


def _open(folder):
  return written_files.WrittenFiles(folder, "draw")


def _write(folder, name, text="ours"):
  _open(folder).write_text(name, text)


def test_its_own_files_are_replaced(folder):
  for text in ("first", "second"):
    _write(folder, "a/größe\n.txt", text)
    assert (folder / "a" / "größe\n.txt").read_text() == text
  written = _open(folder)
  for text in ("third", "fourth"):  # Also within one run.
    written.write_text("b.txt", text)
    assert (folder / "b.txt").read_text() == text


@pytest.mark.parametrize("listed", [False, True])
def test_others_stay(folder, listed):
  if listed:
    _write(folder, "a.txt")
  folder.mkdir(exist_ok=True)
  (folder / "a.txt").write_text("mine")
  for _ in range(2):
    with pytest.raises(OSError, match="it is there already, and not as this command left it; acc"):
      _write(folder, "a.txt")
    assert (folder / "a.txt").read_text() == "mine"
  _write(folder, "b.txt")
  assert (folder / "b.txt").read_text() == "ours"


def test_what_is_no_file_stays(folder):
  (folder / "a.txt").mkdir(parents=True)
  (folder / "lost").symlink_to("nowhere")
  found = _open(folder).obstacles(["a.txt", "lost", "new", f"{'x' * 256}"])
  assert found["a.txt"] == "a folder is in its place"
  assert found["lost"].startswith("it is there already")
  assert found["x" * 256] == "File name too long"
  assert "new" not in found


def test_another_command_is_another(folder):
  _write(folder, "a.txt")
  assert written_files.WrittenFiles(folder, "compare").obstacles(["a.txt"])


def test_killed_before_the_digest_was_noted(folder):
  _write(folder, "a.txt", "before")
  written = _open(folder)
  assert written.claim(["a.txt", "b.txt"]) == {}
  for name in ("a.txt", "b.txt"):
    (folder / name).write_text("whole, and then the process was killed")
  _write(folder, "a.txt")
  _write(folder, "b.txt")


def test_a_list_that_was_cut_anywhere(folder):
  _write(folder, "a.txt")
  _write(folder, "b.txt")
  whole = (folder / _LIST).read_bytes()
  claimed = whole.index(b"b.txt") + len(b'b.txt",null]\n')
  for length in range(claimed, len(whole) + 1):
    (folder / _LIST).write_bytes(whole[:length] + b"\0\0\n")
    _write(folder, "c.txt")
    assert not _open(folder).obstacles(["a.txt", "b.txt", "c.txt"])
    (folder / "c.txt").unlink()


def test_a_list_is_no_file(folder):
  _write(folder, "a.txt")
  (folder / _LIST).unlink()
  os.mkfifo(folder / _LIST)
  with pytest.raises(OSError, match="a pipe and no regular file"):
    _open(folder)


def test_lines_of_a_list_that_are_none(folder):
  _write(folder, "a.txt")
  with (folder / _LIST).open("ab") as file:
    file.write(b"[" * 100_000 + b"\n" + b"9" * 5000 + b"\n[1,2]\n")
  _write(folder, "a.txt", "again")
  assert (folder / "a.txt").read_text() == "again"


def test_tidy(folder):
  for name in ("b.txt", "a.txt", "b.txt"):
    _write(folder, name)
  _open(folder).tidy()
  lines = (folder / _LIST).read_text().splitlines()
  assert [line.split('"')[1] for line in lines] == ["a.txt", "b.txt"]
  _write(folder, "a.txt", "again")
  _open(folder.parent / "none").tidy()
  assert not (folder.parent / "none").exists()


def test_remove(folder):
  for name in ("a.txt", "b.txt"):
    _write(folder, name)
  (folder / "b.txt").write_text("mine")
  (folder / "c.txt").write_text("mine")
  for name in ("a.txt", "b.txt", "c.txt", "none"):
    _open(folder).remove(name)
  assert sorted(path.name for path in folder.glob("*.txt")) == ["b.txt", "c.txt"]


def test_a_failure_leaves_what_was_there(folder):
  _write(folder, "a.txt")
  with pytest.raises(KeyError), _open(folder).writing("a.txt") as file:
    file.write(b"half")
    raise KeyError
  assert (folder / "a.txt").read_text() == "ours"
  _write(folder, "a.txt", "again")


def test_reasons():
  assert written_files.reason(PermissionError(errno.EACCES, "Permission denied", "a")) == (
    "Permission denied"
  )
  assert written_files.reason(OSError("encoder error")) == "encoder error"
  with pytest.raises(OSError, match="No space"):
    written_files.reason(OSError(errno.ENOSPC, "No space left"))
