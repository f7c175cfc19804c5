"""Checks the files of `--flagfile` before absl reads them, which waits for a pipe for ever."""

import os
from collections.abc import Sequence

from mtl_ssl_tf.reading import regular_files

MAX_FILES = 100
MAX_BYTES = 2**20
_FLAGS = ("--flagfile", "-flagfile")


def check(argv: Sequence[str]) -> None:
  """Refuses files of flags that absl could not read to their end, and those that they name.

  Args:
    argv: the command line.

  Raises:
    ValueError: one is no regular file, no text or too large, or they name each other too often.
  """
  names = [
    following if argument in _FLAGS else argument.partition("=")[2]
    for argument, following in zip(argv, [*argv[1:], ""], strict=True)
    if argument.partition("=")[0] in _FLAGS
  ]
  # A name counts each time that it is read: a few files could name each other a million times.
  for number, name in enumerate(names, start=1):
    if number > MAX_FILES:
      raise ValueError(f"--flagfile {name!r} is file {number} of flags; accepted: {MAX_FILES}")
    if name:
      names += _named_in(os.path.expanduser(name.strip()))


def _named_in(path: str) -> list[str]:
  """The files that a file of flags names in turn."""
  try:
    lines = regular_files.read_text(path, MAX_BYTES).split("\n")
  except OSError as error:
    raise ValueError(
      f"--flagfile {path!r} cannot be read ({error.strerror}); accepted: a file with a flag a line"
    ) from error
  except UnicodeDecodeError as error:
    raise ValueError(f"--flagfile {path!r} is no text; accepted: UTF-8 text") from error
  return [
    line.partition("=")[2] for line in lines if line.startswith(tuple(f"{f}=" for f in _FLAGS))
  ]
