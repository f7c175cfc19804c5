"""Atomic file writes: a file is whole or not there, whatever stops the program."""

import hashlib
import os
import pathlib

PART_SUFFIX = ".part"  # Of a file that is being written.


def write_durably(path: pathlib.Path, content: bytes) -> None:
  """Writes a file that is either whole or not there, even after a power failure."""
  part = path.with_name(f"{path.name}.{os.getpid()}{PART_SUFFIX}")
  part.write_bytes(content)
  make_durable(part, path)


def make_durable(part: pathlib.Path, path: pathlib.Path) -> None:
  """Gives a written file its name once its content is on the disk."""
  sync(part)
  os.replace(part, path)


def sha256(path: str | os.PathLike[str]) -> str:
  """Hexadecimal SHA-256 of a file of any size."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: pathlib.Path) -> None:
  """Waits until a file or the names in a folder are on the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
