"""Atomic writes of files and folders, which sync.

New content goes to a temporary name in the same folder, is synced to the disk and takes its name at
once. Whatever stops the program, an error, a signal or a power failure, there is either the whole
new file or what was there before.

    files.write_text(path, text)              content that is in memory
    with files.writing(path) as file:         an open binary file
    with files.replacing(path) as part:       a path that another library writes to
    with files.new_folder(path) as folder:    a folder

`write_bytes` and `write_text` also take remote paths such as `gs://...`. TensorFlow writes these,
without syncing: a remote file appears when it is closed.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

PART_SUFFIX = ".part"  # Of a file that is being written.
_ONLY_PART = ".partial"
HIDDEN_PREFIX = ".export-"


def check_output(path: str | os.PathLike[str]) -> None:
  """Refuses a path that a file could not be written to in the end, after all the work.

  Args:
    path: local; one with `://` in it is not checked.

  Raises:
    ValueError: there is no such folder, it cannot be written to, or the path is a folder.
  """
  path = os.fspath(path)
  folder = os.path.dirname(path) or "."
  if "://" in path or (
    os.path.isdir(folder) and os.access(folder, os.W_OK) and not os.path.isdir(path)
  ):
    return
  raise ValueError(
    f"{path}: cannot be written; accepted: a file in a folder that exists and can be written to"
  )


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """Writes a text file, UTF-8, atomically; see `write_bytes`."""
  write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
  """Writes a file atomically.

  Args:
    path: local, or remote with `://` in it; its folder exists.
    content: of the file.

  Raises:
    OSError: the local file cannot be written; the earlier one is unchanged.
    tf.errors.OpError: the same of a remote file.
  """
  path = os.fspath(path)
  if "://" in path:
    _write_remote(path, content)
    return
  with writing(path) as file:
    file.write(content)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str], *, only_writer: bool = False) -> Iterator[BinaryIO]:
  """Opens a binary file that takes the place of `path` when it is closed without an error.

  Args:
    path: local; its folder exists.
    only_writer: see `replacing`.

  Raises:
    OSError: the file cannot be written; the earlier one is unchanged.
  """
  with replacing(path, only_writer=only_writer) as part, open(part, "wb") as file:
    yield file


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, only_writer: bool = False) -> Iterator[pathlib.Path]:
  """Yields a path to write to, which takes the place of `path`, or is deleted after an error.

  Args:
    path: local; its folder exists.
    only_writer: no other process or thread writes in this folder. The temporary name is then the
      same for all files with this ending, which it keeps, so that the next write replaces what a
      killed process left.

  Raises:
    OSError: the file cannot be put in its place; the earlier one is unchanged.
  """
  path = pathlib.Path(path)
  own_name = f"{path.name}.{os.getpid()}{PART_SUFFIX}"
  part = path.with_name(_ONLY_PART + path.suffix if only_writer else own_name)
  try:
    yield part
    publish(part, path)
  except BaseException:
    part.unlink(missing_ok=True)
    raise


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[pathlib.Path]:
  """Yields a path for a folder, which takes the place of `path` in the end, or is deleted.

  Args:
    path: local; the folder that it lies in is made if it is missing.
    replace: a folder may be there, and is deleted. Otherwise only an empty one may.

  Raises:
    OSError: the folder cannot be put in its place; an earlier one is unchanged.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  # What is published lies inside, since the folder itself is for its owner alone to enter.
  hidden = pathlib.Path(tempfile.mkdtemp(prefix=HIDDEN_PREFIX, dir=path.parent))
  new, old = hidden / "new", hidden / "old"
  try:
    yield new
    for entry in (new, *new.rglob("*")):
      sync(entry)
    if replace:
      os.rename(path, old)
    try:
      os.rename(new, path)
    except OSError:
      if replace:
        os.rename(old, path)
      raise
    sync(path.parent)
  finally:
    shutil.rmtree(hidden, ignore_errors=True)


def publish(part: pathlib.Path, path: pathlib.Path) -> None:
  """Gives a written file its name, once its content is on the disk."""
  sync(part)
  os.replace(part, path)
  sync(path.parent)


def move_into(folder: pathlib.Path, paths: Iterable[pathlib.Path]) -> None:
  """Moves files that have been synced into a folder of the same disk, and syncs that once."""
  for path in paths:
    os.replace(path, folder / path.name)
  sync(folder)


def sync(path: pathlib.Path) -> None:
  """Waits until a file, or the names in a folder, are on the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def sha256(path: str | os.PathLike[str]) -> str:
  """Returns the hexadecimal SHA-256 of a file of any size."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _write_remote(path: str, content: bytes) -> None:
  import tensorflow as tf  # Here, as most of what writes files needs no TensorFlow.

  part = f"{path}{PART_SUFFIX}"
  try:
    with tf.io.gfile.GFile(part, "wb") as file:
      file.write(content)
    tf.io.gfile.rename(part, path, overwrite=True)
  except BaseException:
    with contextlib.suppress(tf.errors.OpError):
      tf.io.gfile.remove(part)
    raise
