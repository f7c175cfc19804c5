"""Finds the images of a folder by the paths that annotation files have for them.

Tools write paths of the machine that they ran on. The name counts before the path: where a path is
not there, the longest end of it that is there is taken, at last a file of its last name, if there
is no doubt about it. No path leads out of the folder.
"""

import functools
import os
import pathlib
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator

from mtl_ssl_tf.data.sources import safe_files

# Endings of the images that `image_files` reads, in small letters.
SUFFIXES = (
  *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
  *(".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
)
_MAX_NAMED = 3


class ImageFolder:
  """A folder of images. Its files are listed once, where a path is not there as it is written."""

  def __init__(self, folder: pathlib.Path):
    self._folder, self._path = folder, os.fspath(folder)

  def find(self, name: str, num_names_ending: Callable[[str], int]) -> tuple[str, bool]:
    """The path of an image inside the folder, and whether only the end of its path has led there.

    Args:
      name: the path in the annotation file, with / between folders.
      num_names_ending: the number of different paths there that have an end, of one or more parts.

    Raises:
      faults.FaultError: there is none, or it is not clear which; tells the nearest name.
    """
    path = pathlib.PurePosixPath(name)
    is_inside = not path.is_absolute() and ".." not in path.parts
    if is_inside and os.path.lexists(os.path.join(self._path, path)):
      return str(path), False
    end = self._end(path, num_names_ending)
    if end is not None:
      return end, True
    same = self._listing.by_path.get(composed(name))
    if is_inside and same is not None:
      return same, False
    found = self._listing.by_last_name.get(composed(path.name), [])
    if len(found) == 1 and num_names_ending(path.name) <= 1:
      return found[0], True
    value = "missing"
    if found:
      there = names_that_are(found)
      value += f"; the nearest of that name, of which more than one image may be meant, {there}"
    elif near := self._by_likeness.get(_likeness(path.name)):
      value += f"; the nearest name there {names_that_are(near)}"
    raise safe_files.fault(name, value, f"an image in {self._folder.name}")

  def _end(self, path: pathlib.PurePosixPath, num_names_ending: Callable[[str], int]) -> str | None:
    """The longest end of a path that is there and that no other path has.

    It has two parts or more, or is all that follows the name of the folder.
    """
    for start in range(1, len(path.parts)):
      end = known_by = "/".join(path.parts[start:])
      if start == len(path.parts) - 1:
        known_by = f"{path.parts[start - 1]}/{end}"
        if path.parts[start - 1] != self._folder.name:
          return None
      if ".." not in path.parts[start:] and os.path.lexists(os.path.join(self._path, end)):
        return end if num_names_ending(known_by) <= 1 else None
    return None

  @functools.cached_property
  def _listing(self) -> "_Listing":
    return _Listing(self._folder)

  @functools.cached_property
  def _by_likeness(self) -> dict[str, list[str]]:
    """The files by likeness of their last names; made where one is missing altogether."""
    found: dict[str, list[str]] = {}
    for files in self._listing.by_last_name.values():
      for file in files:
        found.setdefault(_likeness(file.rsplit("/", 1)[-1]), []).append(file)
    return found


class _Listing:
  """The files of a folder and of those inside it, by path and by last name."""

  def __init__(self, folder: pathlib.Path):
    self.by_path: dict[str, str] = {}
    self.by_last_name: dict[str, list[str]] = {}
    for file in _files(folder):
      last_name = file.rsplit("/", 1)[-1]
      self.by_path.setdefault(composed(file), file)
      self.by_last_name.setdefault(composed(last_name), []).append(file)


def composed(text: str) -> str:
  """Text whose letters with accents are one character each, whichever way it was written."""
  return text if text.isascii() else unicodedata.normalize("NFC", text)


def likeness(stem: str) -> str:
  """Key that names without folders and endings share if they differ by case or `%20` alone."""
  last = stem.rsplit("/", 1)[-1]
  return composed(urllib.parse.unquote(last) if "%" in last else last).casefold()


def _likeness(last_name: str) -> str:
  return likeness(os.path.splitext(last_name)[0])


def names_that_are(files: list[str]) -> str:
  """A verb and the first few of the names."""
  more = f" and {len(files) - _MAX_NAMED} more" if len(files) > _MAX_NAMED else ""
  return f"{'is' if len(files) == 1 else 'are'} {', '.join(map(repr, files[:_MAX_NAMED]))}{more}"


def visible_files(folder: pathlib.Path) -> Iterator[str]:
  """The paths inside a folder of its files, sorted, without those whose path has a hidden part."""
  return (file for file in _files(folder) if not f"/{file}".count("/."))


def _files(folder: pathlib.Path) -> Iterator[str]:
  start = len(os.path.join(folder, ""))
  for parent, folders, names in os.walk(folder):
    folders.sort()
    for name in sorted(names):
      yield os.path.join(parent, name)[start:]
