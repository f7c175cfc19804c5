"""The journal of a prediction: finished work on disk, so that a stopped one can be resumed.

The first line of the file is the head: the settings that results depend on and the names of all
files. Each further line is one unit of work: the records of a batch of images, or of a video. A
line is written at once when its unit is finished, drawn images included; what a kill leaves of a
line is cut off at the next start, and that unit is done again. Units are the same in every start,
so that the results are, too: they depend in their last digits on what shares a batch.
"""

import fcntl
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from mtl_ssl_tf.reading import json_text, quoting

_VERSION = 1
_BEGINNING = b'{"version":'
_ANOTHER = "another folder, or one without it"
_HEAD = {"version": int, "settings": dict, "names": [str]}
_RECORD = {
  "file": str,
  "height?": int,
  "width?": int,
  "detections?": [{"category_id": int, "bbox": [float], "score": float}],
  "num_frames?": int,
  "failure?": (str, None),
  "is_unwritten?": bool,
}
_MAX_SHOWN = 200  # Patterns that the shell expanded may be thousands of names.


class Journal:
  """The finished units of a prediction, in a file.

  Attributes:
    names: the files that the prediction began with.
    num_units: finished ones.
    num_files: in these.
  """

  def __init__(
    self,
    path: pathlib.Path,
    settings: Mapping[str, Any],
    names: Sequence[str],
    *,
    num_classes: int,
    overwrite: bool = False,
  ):
    """Begins a journal, or opens the one that is there to resume it.

    Args:
      path: of the file; its folder exists.
      settings: by the names of their flags, as JSON knows them.
      names: the files, if this is the beginning.
      num_classes: of the detector, without background.
      overwrite: start again in any case.

    Raises:
      ValueError: there is one of other settings, another process is at work on it, or the file is
        none of this command, or not as it was written.
      OSError: it cannot be written.
    """
    self._path, self._num_classes = path, num_classes
    if path.is_symlink():  # What it leads to is cut off at its last whole line.
      raise ValueError(f"{self._where}: its {path.name} is a link; accepted: {_ANOTHER}")
    self._file = open(path, "ab+")  # noqa: SIM115 - open as long as the prediction runs.
    try:
      self._lock()
      self._start(dict(settings), list(names), overwrite)
    except BaseException:
      self._file.close()
      raise

  def __enter__(self) -> "Journal":
    return self

  def __exit__(self, *exception: object) -> None:
    self._file.close()

  def add(self, records: Sequence[Mapping[str, Any]]) -> None:
    """Notes a unit as finished; `records` has one entry for each of its files."""
    self._file.write(_line(records))
    self._file.flush()
    self.num_units += 1
    self.num_files += len(records)

  def records(self) -> Iterator[dict[str, Any]]:
    """Yields the records of all finished units in order, with one unit in memory at a time."""
    with open(self._path, "rb") as file:
      file.readline()
      for line in file:
        yield from json.loads(line)

  def remove(self) -> None:
    """Deletes the file, when the results are where they belong."""
    self._path.unlink()
    self._file.close()

  def _lock(self) -> None:
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(
        f"{self._where}: another prediction is writing there; accepted: a folder of its own for"
        " each"
      ) from error

  def _start(self, settings: dict[str, Any], names: list[str], overwrite: bool) -> None:
    """Reads the file, cuts off an unfinished line, and writes the head of a new file."""
    self.num_units = self.num_files = 0
    self._file.seek(0)
    self._check_ours(self._file.read(len(_BEGINNING)))
    if overwrite:
      self._file.truncate(0)
    self._file.seek(0)
    head = _read_line(self._file)
    end = self._file.tell() if head is not None else 0
    if head is None:
      self.names = names
    else:
      self._check_head(head, settings)
      self.names = head["names"]
      while (records := _read_line(self._file)) is not None:
        self._check_records(records)
        self.num_units += 1
        self.num_files += len(records)
        end = self._file.tell()
    self._file.truncate(end)
    self._file.seek(0, os.SEEK_END)
    if head is None:
      self._file.write(_line({"version": _VERSION, "settings": settings, "names": names}))
      self._file.flush()

  def _check_ours(self, beginning: bytes) -> None:
    """Raises ValueError where a file does not begin as a journal, or what is left of one, does."""
    # A machine that lost power may leave blocks that were never written.
    if not (_BEGINNING.startswith(beginning) or not beginning.strip(b"\0")):
      raise ValueError(
        f"{self._where}: its {self._path.name} is no file of this command; accepted: {_ANOTHER}"
      )

  @property
  def _where(self) -> str:
    return f"--output_dir {str(self._path.parent)!r}"

  def _check_head(self, head: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raises ValueError unless the journal was begun with the same settings, for files below."""
    where = f"{self._where} holds an unfinished prediction"
    otherwise = (
      "accepted: the same again to resume it, --overwrite to start again, or another folder"
    )
    if not isinstance(head, dict) or head.get("version") != _VERSION:
      raise ValueError(f"{where} of another version of this program; {otherwise}")
    self._check(head, _HEAD, "first line")
    for name in head["names"]:
      parts = pathlib.PurePosixPath(name).parts
      if not parts or ".." in parts or parts[0] == "/" or "\0" in name:
        self._refuse(f"first line: {quoting.shown(name)} as the name of a file in --input")
    before = head["settings"]
    for name in sorted(before.keys() | settings.keys()):
      if before.get(name) != settings.get(name):
        raise ValueError(
          f"{where} with {name} {_shown(before.get(name))}, now it is {_shown(settings.get(name))};"
          f" {otherwise}"
        )

  def _check_records(self, records: Any) -> None:
    """Raises ValueError unless a line holds the results of the next files."""
    line = f"line {self.num_units + 2}"
    self._check(records, [_RECORD], line)
    names = self.names[self.num_files : self.num_files + len(records)]
    if not records or [record["file"] for record in records] != names:
      self._refuse(f"{line}: results of other files than come next")
    for record in records:
      rows = record.get("detections", ())
      if "detections" in record and not record.keys() >= {"height", "width"}:
        self._refuse(f"{line}: detections in an image without a size")
      if any(len(row["bbox"]) != 4 for row in rows):
        self._refuse(f"{line}: a bbox of another length than 4")
      if not all(1 <= row["category_id"] <= self._num_classes for row in rows):
        self._refuse(f"{line}: a category_id that is none of the detector's")

  def _check(self, content: Any, pattern: Any, line: str) -> None:
    try:
      json_text.check(content, pattern, line)
    except ValueError as error:
      self._refuse(str(error).partition("; accepted: ")[0])

  def _refuse(self, problem: str) -> NoReturn:
    raise ValueError(
      f"{self._path}: {problem}; accepted: what this command left, --overwrite to start again, or"
      " another folder"
    )


def _line(content: Any) -> bytes:
  return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _read_line(file: Any) -> Any:
  """Returns the next line's content; None at the end, or at a line that is not whole."""
  line = file.readline()
  if not line.endswith(b"\n"):
    return None
  try:
    return json_text.loads(line)
  except ValueError:  # A machine that lost power may leave blocks that were never written.
    return None


def _shown(value: Any) -> str:
  text = json.dumps(value, ensure_ascii=False)
  return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}… ({len(text)} characters)"
