"""Files that come to be whole or not at all, whatever stops the program."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

# The same for all, so that what a kill leaves is replaced by the next start.
_PARTIAL = ".partial"


def partial_path(path: pathlib.Path) -> pathlib.Path:
  """Where a file is written before it is whole; its folder comes to exist."""
  path.parent.mkdir(parents=True, exist_ok=True)
  return path.with_name(_PARTIAL + path.suffix)


@contextlib.contextmanager
def replaced(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A path to write to, which takes the place of `path` in the end, or goes if there is an error.

  Raises:
    OSError: the file cannot be put in its place.
  """
  partial = partial_path(path)
  try:
    yield partial
    partial.replace(path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[BinaryIO]:
  """An open file that takes the place of `path` when it is closed without an error."""
  with replaced(path) as partial, open(partial, "wb") as file:
    yield file
