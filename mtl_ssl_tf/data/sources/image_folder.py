"""Finds the images of a folder by the paths that annotation files have for them.

Tools write paths of the machine that they ran on. The name counts before the path: where a path is
not there, a file of its last name is taken, if there is no doubt about it. No path leads out of the
folder.
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
    self._folder = folder

  def find(self, name: str, num_names_ending: Callable[[str], int]) -> tuple[str, bool]:
    """The path of an image inside the folder, and whether its last name alone has led there.

    Args:
      name: the path in the annotation file, with / between folders.
      num_names_ending: the number of different paths there that have the same last name.

    Raises:
      faults.FaultError: there is none, or it is not clear which; tells the nearest name.
    """
    path = pathlib.PurePosixPath(name)
    is_inside = not path.is_absolute() and ".." not in path.parts
    if is_inside and os.path.lexists(self._folder / path):
      return str(path), False
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
    elif near := self._listing.by_likeness.get(_likeness(path.name)):
      value += f"; the nearest name there {names_that_are(near)}"
    raise safe_files.fault(name, value, f"an image in {self._folder.name}")

  @functools.cached_property
  def _listing(self) -> "_Listing":
    return _Listing(self._folder)


class _Listing:
  """The files of a folder and of those inside it, by path, by last name and by likeness of it."""

  def __init__(self, folder: pathlib.Path):
    self.by_path: dict[str, str] = {}
    self.by_last_name: dict[str, list[str]] = {}
    self.by_likeness: dict[str, list[str]] = {}
    for file in _files(folder):
      last_name = file.rsplit("/", 1)[-1]
      self.by_path.setdefault(composed(file), file)
      self.by_last_name.setdefault(composed(last_name), []).append(file)
      self.by_likeness.setdefault(_likeness(last_name), []).append(file)


def composed(text: str) -> str:
  """Text whose letters with accents are one character each, whichever way it was written."""
  return unicodedata.normalize("NFC", text)


def likeness(stem: str) -> str:
  """Key that names without folders and endings share if they differ by case or `%20` alone."""
  return composed(urllib.parse.unquote(os.path.basename(stem))).casefold()


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
  for parent, folders, names in os.walk(folder):
    folders.sort()
    for name in sorted(names):
      yield pathlib.Path(parent, name).relative_to(folder).as_posix()
