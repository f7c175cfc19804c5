"""Tests of files.py."""

import hashlib
import os

import pytest

from mtl_ssl_tf import files


def test_a_written_file_is_whole_and_leaves_nothing_beside_it(tmp_path):
  path = tmp_path / "a.json"
  files.write_durably(path, b"one")
  files.write_durably(path, b"two")
  assert path.read_bytes() == b"two"
  assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  done = []
  monkeypatch.setattr(files, "sync", lambda path: done.append(("sync", path.name)))
  monkeypatch.setattr(os, "replace", lambda part, path: done.append(("replace", path.name)))
  files.write_durably(tmp_path / "a", b"x")
  part = f"a.{os.getpid()}{files.PART_SUFFIX}"
  assert done == [("sync", part), ("replace", "a")]


def test_what_was_there_stays_where_writing_fails(tmp_path, monkeypatch):
  path = tmp_path / "a"
  files.write_durably(path, b"before")

  def fail(path):
    raise OSError("disk full")

  monkeypatch.setattr(files, "sync", fail)
  with pytest.raises(OSError, match="disk full"):
    files.write_durably(path, b"after")
  assert path.read_bytes() == b"before"


def test_sha256(tmp_path):
  content = bytes(range(256)) * 1000
  (tmp_path / "a").write_bytes(content)
  assert files.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
