"""Adds versions to a folder, atomically.

A server that watches the folder reads names that are numbers, and nothing else. So a version
is written under another name, inside the folder so that moving is renaming, and then renamed.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from mtl_ssl_tf import files
from mtl_ssl_tf.serving import export_paths


def choose_version(export_dir: str, version: int | None, overwrite: bool) -> int:
  """Returns the number of the next export.

  Args:
    export_dir: folder of versions, which need not exist.
    version: the wanted number; None for the one after the highest.
    overwrite: `version` may be there already.

  Raises:
    ValueError: the number is not positive, is taken, or the folder is used for something else.
  """
  if overwrite and version is None:
    raise ValueError("--overwrite is given without --version; accepted: both, or neither")
  if version is not None and version < 1:
    raise ValueError(f"--version is {version}; accepted: at least 1")
  if os.path.lexists(export_dir) and not os.path.isdir(export_dir):
    raise ValueError(
      f"--export_dir {export_dir!r} is a file; accepted: a folder that is new, empty or holds"
      " versions"
    )
  if not os.path.isdir(export_dir):
    return version or 1
  if os.path.isfile(os.path.join(export_dir, export_paths.SAVED_MODEL_FILE)):
    raise ValueError(
      f"--export_dir {export_dir!r} is itself a SavedModel, such as a version; accepted: a folder"
      " that is new, empty or holds versions"
    )
  others = [name for name in os.listdir(export_dir) if not name.startswith(files.HIDDEN_PREFIX)]
  if others and not export_paths.versions(export_dir):
    raise ValueError(
      f"--export_dir {export_dir!r} holds more than versions; accepted: a folder that is"
      " new, empty or holds versions"
    )
  if version is None:
    return export_paths.next_version(export_dir)
  target = os.path.join(export_dir, str(version))
  if os.path.lexists(target):
    if not overwrite:
      raise ValueError(
        f"--version {version} is in --export_dir {export_dir!r}; accepted: the same with"
        f" --overwrite, or another, of which {export_paths.next_version(export_dir)} is the next"
      )
    if version not in export_paths.versions(export_dir):
      raise ValueError(
        f"--version {version}: {target!r} is no SavedModel; accepted: to --overwrite a"
        " SavedModel, nothing else"
      )
  return version


@contextlib.contextmanager
def new_version(export_dir: str, version: int) -> Iterator[str]:
  """A hidden folder to write a version to, which gets its name at the end of the `with` block.

  A version of that number that is there is replaced. If the block fails, nothing remains of what
  it wrote, nor of folders that were made for it.

  Yields:
    Path of a folder that does not exist yet.

  Raises:
    OSError: the folder cannot be written to, or the number was taken meanwhile.
  """
  path = pathlib.Path(export_dir)
  new_folders = [folder for folder in (path, *path.parents) if not folder.exists()]
  path.mkdir(parents=True, exist_ok=True)
  replaces = version in export_paths.versions(export_dir)
  try:
    with files.new_folder(path / str(version), replace=replaces) as folder:
      yield str(folder)
  finally:
    for folder in new_folders:
      if not any(folder.iterdir()):
        folder.rmdir()
