"""Tables in a file, so that what grows with the number of images takes no memory."""

import os
import pathlib
import sqlite3


def create(path: str | os.PathLike[str] | None, tables: str) -> sqlite3.Connection:
  """A new database, to be filled in one transaction.

  Args:
    path: of the file, which is replaced; None is a temporary file that nobody else sees.
    tables: SQL that creates the tables.
  """
  if path is not None:
    pathlib.Path(path).unlink(missing_ok=True)
  connection = sqlite3.connect("" if path is None else path, isolation_level=None)
  # A half-made index is never used, so that nothing has to survive a power failure.
  connection.execute("PRAGMA synchronous = OFF")
  connection.execute("PRAGMA journal_mode = MEMORY")
  connection.executescript(tables)
  connection.execute("BEGIN")
  return connection


def open_finished(path: str | os.PathLike[str]) -> sqlite3.Connection:
  """A finished database for reading; any number of processes may do so at a time."""
  # Immutable: no locks, which network file systems do not all have.
  uri = pathlib.Path(path).resolve().as_uri()
  return sqlite3.connect(f"{uri}?immutable=1", uri=True, isolation_level=None)
