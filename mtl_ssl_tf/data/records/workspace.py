"""The hidden folder in which the files of a split are made, and the step that makes them visible.

Shards, list of pictures, label map and manifest appear all together or not at all: the manifest is
written last and removed first, so that where there is one, the shards that it lists are whole and
of one conversion.
A process that is killed leaves the hidden folder behind, and the next one continues in it.
"""

import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Self

from mtl_ssl_tf import files
from mtl_ssl_tf.data import faults, label_map, schema
from mtl_ssl_tf.data.records import manifests, shard_summaries
from mtl_ssl_tf.reading import json_text

_LOCK, _FINGERPRINT, _COMMITTING = "lock", "fingerprint.json", "committing.json"
_ADVICE = "accepted: what a conversion left; delete its folder to convert all again"


class Workspace:
  """A split's hidden folder, held by one process at a time.

  A context manager. Leaving it removes the folder, and those that were made for it, unless `keep`
  is set.

  Attributes:
    folder: the hidden folder.
    is_new: whether it was made just now.
    keep: whether its files are to stay, for a conversion that continues later.
  """

  def __init__(self, output_dir: str | os.PathLike[str], split: str):
    """Makes the folder or takes over the one that a killed process left.

    Args:
      output_dir: where records, label map and manifest go.
      split: name of the split, in the names of the files.

    Raises:
      ValueError: another process is at work on the split, or one of the two folders holds what no
        converter left there.
      OSError: the folder cannot be written to.
    """
    self._output_dir = pathlib.Path(output_dir)
    self._split = split
    parents = [self._output_dir, *self._output_dir.parents]
    self._new_folders = [path for path in parents if not path.exists()]
    self._output_dir.mkdir(parents=True, exist_ok=True)
    self.folder = self._output_dir / f".incomplete_{split}"
    self.is_new = not os.path.lexists(self.folder)
    if self.is_new:  # Otherwise a commit may have been broken off, which leaves no manifest.
      check_files(self._output_dir, split)
    else:
      _check_hidden(self.folder)
    self.keep = False
    self._commits = False
    self._lock_file = self._lock()
    for path in self.folder.glob(f"*{files.PART_SUFFIX}"):
      path.unlink()
    self._take_back()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused_exception) -> None:
    # Of a commit that was broken off, shards without a manifest are visible: it knows them as ours.
    if not self.keep and not self._commits:
      shutil.rmtree(self.folder, ignore_errors=True)
      for folder in self._new_folders:
        if not any(folder.iterdir()):
          folder.rmdir()
    self._lock_file.close()

  def takes_up(self, fingerprint: Mapping[str, Any], spare: Sequence[str] = ()) -> bool:
    """Whether there are shards of a conversion like this one; removes those of any other.

    Args:
      fingerprint: everything that the records depend on except the files of their images.
      spare: names of files that stay in any case.
    """
    path = self.folder / _FINGERPRINT
    content = json.dumps(fingerprint, sort_keys=True).encode()
    if path.exists() and path.read_bytes() == content:
      return True
    for other in list(self.folder.iterdir()):
      if other.name not in (_LOCK, *spare):
        other.unlink()
    files.write_bytes(path, content)
    return False

  def commit(self, names: Sequence[str], classes: Sequence[str], manifest: bytes) -> None:
    """Puts files, label map and manifest in place of those of an earlier conversion.

    Args:
      names: of shards and list of pictures, which are in the hidden folder.
      classes: of the label map.
      manifest: its content.

    Raises:
      ValueError: there is a label map of other classes, written in the meantime.
    """
    check_label_map(self._output_dir, classes)
    manifest_name = schema.manifest_file(self._split)
    files.write_bytes(self.folder / manifest_name, manifest)
    new = list(names)
    if not (self._output_dir / schema.LABEL_MAP_FILE).exists():
      text = label_map.label_map_text(classes)
      files.write_bytes(self.folder / schema.LABEL_MAP_FILE, text.encode())
      new.append(schema.LABEL_MAP_FILE)
    files.write_bytes(self.folder / _COMMITTING, json.dumps(new).encode())

    self._commits = True
    (self._output_dir / manifest_name).unlink(missing_ok=True)
    for path in list(self._output_dir.iterdir()):
      if schema.is_shard_file(path.name, self._split):
        path.unlink()  # A pattern would read it next to those of another number of shards.
    files.move_into(self._output_dir, [self.folder / name for name in new])
    files.move_into(self._output_dir, [self.folder / manifest_name])
    self._commits = False

  def _lock(self) -> Any:
    """The opened lock file; the lock lasts as long as the process, however that ends."""
    while True:
      self.folder.mkdir(exist_ok=True)
      path = self.folder / _LOCK
      try:
        file = open(path, "w")  # noqa: SIM115 (closed on leaving the context)
      except FileNotFoundError:  # Its holder is just removing the folder.
        continue
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
          return file
      except BlockingIOError:
        file.close()
        raise ValueError(
          f"{self._output_dir}: another process is writing split {self._split} there; accepted:"
          " another --output_dir, or the same one when that process has ended"
        ) from None
      except FileNotFoundError:
        pass  # Removed between opening and locking, as above.
      file.close()

  def _take_back(self) -> None:
    """Undoes a commit that was broken off, so that it can be done again from the beginning."""
    marker = self.folder / _COMMITTING
    if not marker.exists():
      return
    names = self._read_marker(marker)
    (self._output_dir / schema.manifest_file(self._split)).unlink(missing_ok=True)
    for name in names:
      hidden, visible = self.folder / name, self._output_dir / name
      if hidden.exists() or not visible.exists():
        continue
      summary = shard_summaries.read(hidden)
      if name in self._lists or (summary is not None and shard_summaries.is_of(summary, visible)):
        visible.replace(hidden)
    marker.unlink()

  @property
  def _lists(self) -> tuple[str, str]:
    """The files of a commit that are no shards."""
    return schema.LABEL_MAP_FILE, schema.pictures_file(self._split)

  def _read_marker(self, marker: pathlib.Path) -> list[str]:
    """The names of the files that a commit was about to move."""
    try:
      names = json_text.read(marker)
      json_text.check(names, [str], marker)
    except OSError as error:
      raise ValueError(f"{marker}: cannot be read ({error.strerror}); {_ADVICE}") from error
    except ValueError as error:
      raise ValueError(f"{str(error).partition('; accepted')[0]}; {_ADVICE}") from error
    for name in names:
      if name not in self._lists and not schema.is_shard_file(name, self._split):
        raise ValueError(f"{marker}: {faults.quote(name)} is no file of the split; {_ADVICE}")
    return names


def _check_hidden(folder: pathlib.Path) -> None:
  """Raises ValueError unless a hidden folder is one, with nothing but files in it.

  A link in there, or the folder if it is one, would lead to files that are not ours to delete.
  """
  if folder.is_symlink() or not folder.is_dir():
    kind = "a link" if folder.is_symlink() else "no folder"
    raise ValueError(f"{folder}: {kind}; accepted: none there, or what a conversion left")
  for entry in os.scandir(folder):
    if not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
      raise ValueError(f"{entry.path}: no file; {_ADVICE}")


def check_files(output_dir: str | os.PathLike[str], split: str) -> None:
  """Raises ValueError if a folder has files of a split that a conversion did not write.

  The manifest lists those that one wrote, and a conversion puts its own in the place of all.
  """
  folder = pathlib.Path(output_dir)
  manifest, listed = folder / schema.manifest_file(split), set()
  if os.path.lexists(manifest):
    try:
      content = manifests.load(manifest)
      listed = {manifest.name, content.get("pictures"), *(s["file"] for s in content["shards"])}
    except faults.FaultError:
      listed = set()
  own = (manifest.name, schema.pictures_file(split))
  for name in sorted(os.listdir(folder)):
    if (name in own or schema.is_shard_file(name, split)) and name not in listed:
      raise ValueError(
        f"--output_dir {str(folder)!r}: {name} is none of a conversion, which would delete it;"
        f" accepted: a folder without it, or another --split than {split}"
      )


def check_label_map(output_dir: str | os.PathLike[str], classes: Sequence[str]) -> None:
  """Raises ValueError if a folder of records has a label map that says other than `classes`."""
  path = pathlib.Path(output_dir) / schema.LABEL_MAP_FILE
  if path.exists() and label_map.read_label_map(path) != list(classes):
    raise ValueError(
      f"{path}: holds other classes than {', '.join(classes)}; accepted: the same classes in the"
      " same order, as other splits there depend on it, or another --output_dir"
    )
