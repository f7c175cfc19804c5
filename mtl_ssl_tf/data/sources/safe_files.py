"""Reading the files of a data set, which never leads out of it."""

import os
import pathlib
from collections.abc import Iterable

from mtl_ssl_tf.data import faults


def read(path: pathlib.Path, roots: Iterable[pathlib.Path], file: str) -> bytes:
  """The content of a file that lies, links followed, in one of the folders.

  Args:
    path: of the file.
    roots: the folders, links followed.
    file: what messages call it.

  Raises:
    faults.FaultError: it cannot be read, is no regular file or leads out of the folders.
  """
  try:
    path = pathlib.Path(os.path.realpath(path, strict=True))
    if not any(path.is_relative_to(root) for root in roots):
      raise fault(file, "a link that leads out of the data set", "a file inside the data set")
    if not path.is_file():  # Reading a pipe might never end.
      raise fault(file, "neither a file nor a link to one", "a regular file")
    return path.read_bytes()
  except OSError as error:
    raise fault(file, f"cannot be read ({error.strerror})", "a readable file") from error


def fault(file: str, value: str, accepted: str) -> faults.FaultError:
  """A fault of a file as such."""
  return faults.FaultError([faults.Fault(file, "file", value, accepted)])
