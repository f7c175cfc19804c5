"""Paths of exports: `EXPORT_DIR/<version>/`, a SavedModel each, as TF Serving finds them.

Needs nothing but the standard library, so that whatever loads an export can use it.
"""

import os
import re

SAVED_MODEL_FILE = "saved_model.pb"
ASSETS_FOLDER = "assets"
EXTRA_FOLDER = "assets.extra"
# As TF Serving reads them: decimal digits, no sign, no zero in front.
_VERSION = re.compile(r"[1-9][0-9]*")


def find_saved_model(path: str | os.PathLike[str]) -> str:
  """Returns the folder of the SavedModel at a path.

  Args:
    path: such a folder itself, one version for example, or a folder with versions, whose highest
      is meant.

  Raises:
    ValueError: there is no SavedModel.
  """
  path = os.fspath(path)
  if _is_saved_model(path):
    return path
  found = versions(path)
  if found:
    return os.path.join(path, str(found[-1]))
  if not os.path.isdir(path):
    raise ValueError(f"{path!r} is no exported detector: it is no folder")
  file = os.path.join(path, SAVED_MODEL_FILE)
  raise ValueError(
    f"{path!r} is no exported detector: {file!r} does not exist, nor does a version with that file"
  )


def versions(export_dir: str | os.PathLike[str]) -> list[int]:
  """The versions that a folder holds, lowest first; none where it is no folder."""
  export_dir = os.fspath(export_dir)
  if not os.path.isdir(export_dir):
    return []
  return sorted(
    int(name)
    for name in os.listdir(export_dir)
    if _VERSION.fullmatch(name) and _is_saved_model(os.path.join(export_dir, name))
  )


def next_version(export_dir: str | os.PathLike[str]) -> int:
  """Returns the number after the highest name that is a number; at least 1."""
  taken = os.listdir(export_dir) if os.path.isdir(export_dir) else []
  return 1 + max((int(name) for name in taken if _VERSION.fullmatch(name)), default=0)


def _is_saved_model(folder: str) -> bool:
  return os.path.isfile(os.path.join(folder, SAVED_MODEL_FILE))
