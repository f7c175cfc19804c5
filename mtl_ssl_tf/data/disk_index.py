"""Tables in a file, so that what grows with the number of images takes no memory."""

import os
import sqlite3


def create(path: str | os.PathLike[str] | None, tables: str) -> sqlite3.Connection:
  """A new database, to be filled in one transaction.

  Args:
    path: of the file, which must not exist yet; None is a temporary file that nobody else sees.
    tables: SQL that creates the tables.
  """
  connection = sqlite3.connect("" if path is None else path, isolation_level=None)
  # A half-made index is never used, so that nothing has to survive a power failure.
  connection.execute("PRAGMA synchronous = OFF")
  connection.executescript(tables)
  connection.execute("BEGIN")
  return connection


def open_finished(path: str | os.PathLike[str]) -> sqlite3.Connection:
  """A finished database for reading; any number of processes may do so at a time."""
  # Immutable: no locks, which network file systems do not all have.
  uri = f"{os.fspath(path).replace('%', '%25').replace('?', '%3f').replace('#', '%23')}"
  return sqlite3.connect(f"file:{uri}?immutable=1", uri=True, isolation_level=None)
