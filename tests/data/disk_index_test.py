"""Tests of tables in a file."""

import sqlite3

import pytest

from mtl_ssl_tf.data import disk_index

_TABLES = "CREATE TABLE numbers (number INTEGER);"


def _fill(path) -> sqlite3.Connection:
  connection = disk_index.create(path, _TABLES)
  connection.execute("INSERT INTO numbers VALUES (7)")
  connection.execute("COMMIT")
  return connection


@pytest.mark.parametrize("name", ["index", "a?b#c%d"])
def test_written_and_read(tmp_path, name):
  _fill(tmp_path / name).close()
  connection = disk_index.open_finished(tmp_path / name)
  assert connection.execute("SELECT number FROM numbers").fetchall() == [(7,)]
  with pytest.raises(sqlite3.OperationalError, match="readonly"):
    connection.execute("INSERT INTO numbers VALUES (8)")


def test_a_temporary_one_leaves_no_file(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert _fill(None).execute("SELECT number FROM numbers").fetchall() == [(7,)]
  assert list(tmp_path.iterdir()) == []


def test_what_was_not_finished_is_not_there(tmp_path):
  connection = disk_index.create(tmp_path / "index", _TABLES)
  connection.execute("INSERT INTO numbers VALUES (7)")
  connection.close()
  finished = disk_index.open_finished(tmp_path / "index")
  assert finished.execute("SELECT number FROM numbers").fetchall() == []
