"""Tests of reading/regular_files.py."""

import os
import socket
import tracemalloc

import pytest
import tensorflow as tf

from mtl_ssl_tf.reading import regular_files


@pytest.fixture(params=["pipe", "device", "socket", "link to a pipe"])
def special(request, tmp_path):
  """The path of something that is no regular file, and the word for it."""
  path = tmp_path / "special"
  if request.param == "device":
    yield "/dev/zero", "a device"
  elif request.param == "socket":
    with socket.socket(socket.AF_UNIX) as own:
      own.bind(str(path))
      yield path, "a socket"
  else:
    os.mkfifo(path)
    if request.param != "pipe":
      (tmp_path / "link").symlink_to(path)
      path = tmp_path / "link"
    yield path, "a pipe"


@pytest.mark.parametrize(
  "read",
  [
    regular_files.check,
    regular_files.check_if_present,
    regular_files.open_file,
    regular_files.read_bytes,
    regular_files.read_text,
  ],
)
def test_no_reader_waits_for_a_pipe(read, special):
  path, kind = special
  with pytest.raises(OSError) as raised:
    read(path)
  assert raised.value.strerror == f"{kind} and no regular file"
  assert raised.value.filename == os.fspath(path)


def test_a_file_that_becomes_a_pipe_is_refused(tmp_path, monkeypatch):
  path = tmp_path / "a"
  path.write_text("a")
  before = os.stat(path)
  path.unlink()
  os.mkfifo(path)
  monkeypatch.setattr(os, "stat", lambda path: before)
  with pytest.raises(OSError, match="a pipe and no regular file"):
    regular_files.open_file(path)


def test_a_file_is_read_up_to_a_size(tmp_path):
  path = tmp_path / "a"
  path.write_bytes(b"12\r\n5")
  assert regular_files.read_bytes(path, 5) == b"12\r\n5"
  assert regular_files.read_text(path) == "12\n5"
  with regular_files.open_file(path) as file:
    assert file.read() == b"12\r\n5"
  with pytest.raises(OSError, match="at least 5 bytes; accepted here: at most 4"):
    regular_files.read_bytes(path, 4)


def test_the_limit_takes_no_memory(tmp_path):
  (tmp_path / "a").write_bytes(b"12345")
  tracemalloc.start()
  try:
    assert regular_files.read_bytes(tmp_path / "a", 2**30) == b"12345"
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 2**24


def test_a_file_that_does_not_tell_its_size_is_bounded():
  with pytest.raises(OSError, match="at least 5 bytes; accepted here: at most 4"):
    regular_files.read_bytes("/proc/self/status", 4)


def test_folders_and_missing_files_are_errors_as_python_has_them(tmp_path):
  for read in (regular_files.check, regular_files.read_bytes):
    with pytest.raises(IsADirectoryError):
      read(tmp_path)
    with pytest.raises(FileNotFoundError):
      read(tmp_path / "missing")
  regular_files.check_if_present(tmp_path)
  regular_files.check_if_present(tmp_path / "missing")


def test_a_remote_file_is_read_up_to_a_size():
  path = "ram://regular_files/a"
  with tf.io.gfile.GFile(path, "wb") as file:
    file.write(b"12345")
  assert regular_files.read_bytes(path, 5) == b"12345"
  regular_files.check(path)
  regular_files.check_if_present("ram://regular_files/missing")
  with pytest.raises(OSError, match="at least 5 bytes; accepted here: at most 4"):
    regular_files.read_bytes(path, 4)
  for read in (regular_files.check, regular_files.read_bytes):
    with pytest.raises(FileNotFoundError):
      read("ram://regular_files/missing")
