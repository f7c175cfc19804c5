"""Which image files a prediction is asked for."""

import os
import pathlib
from collections.abc import Sequence

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def find_images(
  source: str, drawn_dir: pathlib.Path, input_list: str | None = None
) -> tuple[pathlib.Path, list[str]]:
  """The folder of the images, and their names inside it: sorted, or in the order of the list.

  Args:
    source: an image file, or a folder, searched with the folders inside it.
    drawn_dir: folder of drawn images, which are not looked at.
    input_list: text file with one name a line, with or without ending, to choose from the folder.

  Raises:
    ValueError: there is nothing to look at, or a name in the list is not in the folder.
  """
  path = pathlib.Path(source)
  if not path.exists():
    raise ValueError(f"--input {source!r} does not exist")
  drawn_dir = drawn_dir.resolve()
  if path.resolve().is_relative_to(drawn_dir):
    raise ValueError(f"--input {source!r} lies in {str(drawn_dir)!r}, where drawn images go")
  if not path.is_dir():
    if input_list:
      raise ValueError(f"--input {source!r} is a file; --input_list chooses from a folder")
    return path.parent, [path.name]
  names = []
  for parent, folders, files in os.walk(path):
    folders[:] = [name for name in folders if pathlib.Path(parent, name).resolve() != drawn_dir]
    names += [
      pathlib.Path(parent, name).relative_to(path).as_posix()
      for name in files
      if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
  names.sort()
  if not names:
    raise ValueError(f"--input {source!r} holds no image; accepted: {', '.join(SUFFIXES)}")
  return path, _chosen(names, input_list) if input_list else names


def _chosen(names: Sequence[str], input_list: str) -> list[str]:
  """Those of `names` that the lines of a file name, with or without ending."""
  try:
    lines = pathlib.Path(input_list).read_text(encoding="utf-8").split("\n")
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"--input_list {input_list!r} cannot be read ({error})") from error
  wanted = [line.strip() for line in lines if line.strip()]
  known = {os.path.splitext(name)[0]: name for name in reversed(names)}
  known.update((name, name) for name in names)
  missing = [name for name in wanted if name not in known]
  if missing:
    raise ValueError(
      f"--input_list {input_list!r}: {missing[0]!r} is no image in --input"
      f" (missing: {len(missing)} of {len(wanted)})"
    )
  if not wanted:
    raise ValueError(f"--input_list {input_list!r} is empty; accepted: one name a line")
  return list(dict.fromkeys(known[name] for name in wanted))
