"""The label map: a UTF-8 text file with one class name a line; line i is class i, counted from 1.

Class 0, the background, has no line.
"""

import functools
import os
from collections.abc import Sequence

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.reading import regular_files

# Names, in small letters, of all that is no object.
BACKGROUND = ("background", "__background__", "_background_")
_ACCEPTED = "accepted: a text file with one class name a line"


def read_label_map(path: str | os.PathLike[str]) -> list[str]:
  """The class names of a label map, class 1 first.

  Raises:
    ValueError: the file cannot be read, is no UTF-8 text, holds no name, or a line is empty,
      repeated or no name.
  """
  try:
    # Not `splitlines`, which would also split at characters that a name must not hide.
    lines = regular_files.read_text(path, encoding="utf-8-sig").split("\n")
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: not a UTF-8 text file ({error.reason}); {_ACCEPTED}") from error
  except OSError as error:
    raise ValueError(f"{path}: cannot be read ({error.strerror}); {_ACCEPTED}") from error
  if lines[-1] == "":
    lines.pop()
  check_class_names(lines, str(path))
  return lines


def label_map_text(classes: Sequence[str]) -> str:
  """The content of the label map of these classes.

  Raises:
    ValueError: as `read_label_map`.
  """
  check_class_names(classes, "classes")
  return "".join(f"{name}\n" for name in classes)


def check_class_names(classes: Sequence[str], where: str) -> None:
  """Raises a ValueError that begins with `where` unless the classes can make up a label map."""
  if not classes:
    raise ValueError(f"{where}: no classes; accepted: one class name a line")
  first_lines = {}
  for number, name in enumerate(classes, start=1):
    problem = name_problem(name)
    if problem:
      raise ValueError(f"{where}: line {number}: {faults.quote(name)}; accepted: {problem}")
    first = first_lines.setdefault(name, number)
    if first != number:
      raise ValueError(
        f"{where}: line {number}: {faults.quote(name)} repeats line {first}; accepted: each class"
        " once"
      )


@functools.lru_cache(maxsize=1024)  # A data set has few names and many objects.
def name_problem(name: str) -> str | None:
  """Returns why `name` is not a valid class name, or None if it is."""
  if not name.strip() or name != name.strip():
    return "a class name without blanks around it"
  if not name.isprintable():
    return "a class name of printable characters"
  if name.startswith("#"):
    return "a class name; label maps have no comments"
  if name.lower() in BACKGROUND:
    return "classes of objects; the background is class 0 and is not listed"
  return None
