"""The files that a command wrote into a folder, so that it replaces those and no others.

A command that writes many files leaves a list of them in the folder, `.written_by_COMMAND`: a line
for each, with its path inside the folder and the SHA-256 of its content. What is not listed, or has
changed since, is the user's: no prediction is drawn over a photograph of the same name, and
annotations that somebody has corrected are not lost when the command is given again.

A line without a digest comes before its file, so that a file is known as the command's own even
where the process was killed before it could note the digest.
"""

import contextlib
import errno
import json
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from mtl_ssl_tf import files
from mtl_ssl_tf.reading import json_text, regular_files

_PREFIX = ".written_by_"
# Of the disk, or of the whole process: another file would meet the same.
_OF_ALL_FILES = {
  getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EIO", "EMFILE", "ENFILE", "ENOMEM")
}
_NOT_OURS = (
  "it is there already, and not as this command left it; accepted: another folder, or without it"
)


class WrittenFiles:
  """A folder that a command writes files to, and the list of those that it wrote."""

  def __init__(self, folder: str | os.PathLike[str], command: str):
    """Reads the list, if there is one; nothing is written yet.

    Args:
      folder: local; it is made with the first file.
      command: its name, a part of that of the list.

    Raises:
      OSError: the list is there and cannot be read, or is no regular file.
    """
    self.folder = pathlib.Path(folder)
    self._list = self.folder / f"{_PREFIX}{command}"
    self._digests = _read(self._list)
    self._claimed: set[str] = set()
    self._has_begun = False

  def obstacles(self, names: Iterable[str]) -> dict[str, str]:
    """Reasons why files cannot be written, by their names, which are relative to the folder."""
    found = {}
    for name in names:
      try:
        problem = self._problem(name)
      except OSError as error:
        problem = reason(error)
      if problem:
        found[name] = problem
    return found

  def claim(self, names: Iterable[str]) -> dict[str, str]:
    """Lists files that are about to be written; returns the `obstacles` of those that are not.

    Once for several files, as the list has to be on the disk before them.

    Raises:
      OSError: the list cannot be written.
    """
    names = list(names)
    found = self.obstacles(names)
    mine = [name for name in names if name not in found]
    if mine:
      self.folder.mkdir(parents=True, exist_ok=True)
      self._append([[name, None] for name in mine], sync=True)
      self._claimed.update(mine)
    return found

  def check(self, names: Iterable[str], flag: str = "--output_dir") -> None:
    """Refuses a folder in which a file cannot be written; for commands that write all or none.

    Args:
      names: of the files.
      flag: that names the folder, for the message.

    Raises:
      ValueError: naming the first such file.
    """
    found = self.obstacles(names)
    if found:
      name, problem = next(iter(found.items()))
      others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
      raise ValueError(f"{flag} {str(self.folder)!r}: {name}{others} cannot be written: {problem}")

  @contextlib.contextmanager
  def replacing_all(self, names: Sequence[str], flag: str = "--output_dir") -> Iterator[None]:
    """Lists files that the `with` block writes by itself, each as a whole.

    Raises:
      ValueError: as `check`; the block does not run.
      OSError: the list cannot be written.
    """
    self.check(names, flag)
    self.claim(names)
    yield
    for name in names:
      self._note(name)

  @contextlib.contextmanager
  def replacing(self, name: str) -> Iterator[pathlib.Path]:
    """Yields a path to write to, which takes the place of the file; see `files.replacing`.

    Raises:
      OSError: the file cannot be put in its place, or is not this command's; it is unchanged.
    """
    if name not in self._claimed:
      for problem in self.claim([name]).values():
        raise OSError(problem)
    path = self.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path, only_writer=True) as part:
      yield part
    self._note(name)

  @contextlib.contextmanager
  def writing(self, name: str) -> Iterator[BinaryIO]:
    """Opens a binary file that takes the place of the file; see `replacing`."""
    with self.replacing(name) as part, open(part, "wb") as file:
      yield file

  def write_text(self, name: str, text: str) -> None:
    """Writes a text file, UTF-8; raises as `replacing`."""
    with self.writing(name) as file:
      file.write(text.encode())

  def remove(self, name: str) -> None:
    """Deletes a file if it is there and is this command's."""
    if name in self._digests and not self.obstacles([name]):
      (self.folder / name).unlink(missing_ok=True)

  def tidy(self) -> None:
    """Leaves one line for each file in the list, in the order of the names."""
    if self._list.exists():
      lines = map(_line, sorted(_read(self._list).items()))
      files.write_bytes(self._list, b"".join(lines))

  def _problem(self, name: str) -> str | None:
    path = self.folder / name
    try:
      mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
      return None  # Of a folder that is none, the attempt to write says so.
    if stat.S_ISDIR(mode):
      return "a folder is in its place"
    known = name in self._digests and stat.S_ISREG(mode)
    is_ours = known and self._digests[name] in (None, files.sha256(path))
    return None if is_ours else _NOT_OURS

  def _note(self, name: str) -> None:
    self._digests[name] = files.sha256(self.folder / name)
    self._claimed.discard(name)
    self._append([[name, self._digests[name]]])

  def _append(self, entries: list[list[Any]], sync: bool = False) -> None:
    with open(self._list, "ab") as file:
      # Ends what a killed process may have left of a line.
      file.write(b"" if self._has_begun else b"\n")
      file.write(b"".join(map(_line, entries)))
      file.flush()
      if sync:
        os.fsync(file.fileno())
    self._has_begun = True


def reason(error: OSError) -> str:
  """Why one file cannot be written, in a few words.

  Raises:
    OSError: the error itself, where it would meet every other file too, such as a full disk.
  """
  if error.errno in _OF_ALL_FILES:
    raise error
  return error.strerror or str(error)


def _read(path: pathlib.Path) -> dict[str, str | None]:
  """Name to digest; None where it was not noted."""
  found = {}
  with (
    contextlib.suppress(FileNotFoundError, NotADirectoryError),
    regular_files.open_file(path) as file,
  ):
    for line in file:
      # A killed process may leave a part of a line, a machine without power blocks of zeros.
      with contextlib.suppress(ValueError):
        match json_text.loads(line):
          case [str() as name, (None | str()) as digest]:
            found[name] = digest
  return found


def _line(entry: Iterable[Any]) -> bytes:
  return json.dumps(list(entry), separators=(",", ":")).encode() + b"\n"
