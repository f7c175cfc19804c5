"""Reading the files of a data set, which never leads out of it."""

import os
import pathlib
from collections.abc import Iterable

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.reading import regular_files

# An image of the largest accepted size, without compression, 16 bits a channel.
MAX_BYTES = 2**30


def read(path: pathlib.Path, roots: Iterable[pathlib.Path], file: str) -> bytes:
  """The content of a file that lies, links followed, in one of the folders.

  Args:
    path: of the file.
    roots: the folders, links followed.
    file: what messages call it.

  Raises:
    faults.FaultError: it cannot be read, is no regular file, is larger than `MAX_BYTES` or leads
      out of the folders.
  """
  try:
    path = pathlib.Path(os.path.realpath(path, strict=True))
    if not any(path.is_relative_to(root) for root in roots):
      raise fault(file, "a link that leads out of the data set", "a file inside the data set")
    return regular_files.read_bytes(path, MAX_BYTES)
  except OSError as error:
    raise fault(file, f"cannot be read ({error.strerror})", "a readable file") from error


def fault(file: str, value: str, accepted: str) -> faults.FaultError:
  """A fault of a file as such."""
  return faults.FaultError([faults.Fault(file, "file", value, accepted)])
