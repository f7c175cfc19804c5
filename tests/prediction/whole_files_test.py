"""Tests of whole_files.py."""

import os

import pytest

from mtl_ssl_tf.prediction import whole_files


def test_in_a_new_folder(tmp_path):
  path = tmp_path / "a" / "b.txt"
  with whole_files.writing(path) as file:
    file.write(b"new")
    assert not path.exists()
  assert path.read_bytes() == b"new"
  assert os.listdir(path.parent) == ["b.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_what_there_was(tmp_path, error):
  path = tmp_path / "b.txt"
  path.write_bytes(b"old")
  with pytest.raises(error), whole_files.writing(path) as file:
    file.write(b"half")
    raise error
  assert path.read_bytes() == b"old"
  assert os.listdir(tmp_path) == ["b.txt"]


def test_what_a_kill_left_is_replaced(tmp_path):
  path = tmp_path / "clip.mp4"
  partial = whole_files.partial_path(path)
  partial.write_bytes(b"left, and longer")
  assert partial.suffix == ".mp4"  # OpenCV goes by the ending.
  assert partial.name.startswith(".")
  with whole_files.replaced(path) as written:
    assert written == partial
    written.write_bytes(b"new")
  assert os.listdir(tmp_path) == ["clip.mp4"]
