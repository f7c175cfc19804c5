"""Finds the files of a PASCAL VOC data set and reads them without leaving its folders.

A name is the path of an annotation or image inside its folder, without its ending: of
`Annotations/cam1/a.xml` and `JPEGImages/cam1/a.jpg`, `cam1/a`. Module `voc_layout` lists layouts.
Any folder may be a symbolic link: it is part of how the data set was laid out. A single file must
lie, links followed, in one of these folders or the data set.
"""

import functools
import os
import pathlib
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from mtl_ssl_tf.data import disk_index, faults
from mtl_ssl_tf.data.sources import image_folder, safe_files, voc_layout

_ANNOTATION, _IMAGE = "annotation", "image"
_TABLES = """
CREATE TABLE files (kind TEXT, stem BLOB, name BLOB, PRIMARY KEY (kind, stem, name)) WITHOUT ROWID;
CREATE TABLE nested_images (last BLOB, name BLOB, PRIMARY KEY (last, name)) WITHOUT ROWID;
CREATE TABLE claimed (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE split (position INTEGER PRIMARY KEY, stem BLOB UNIQUE, line INTEGER);
"""


class VocFolder:
  """A data set's files by the names that its split files use.

  Can be pickled where it has an index file; the copy reads that file and lists nothing again.
  """

  def __init__(
    self,
    data_dir: str | os.PathLike[str],
    index_file: str | os.PathLike[str] | None = None,
    *,
    split: str | None = None,
  ):
    """Lists the folders.

    Args:
      data_dir: the data set.
      index_file: where the lists go, a file that is replaced; None is a temporary file.
      split: see `voc_layout.find`.

    Raises:
      ValueError: there are no annotations, or no images.
    """
    self._layout = voc_layout.find(data_dir, split)
    self._index_file = None if index_file is None else os.path.abspath(index_file)
    self._index = disk_index.create(self._index_file, _TABLES)
    for kind, names in (
      (_ANNOTATION, self._layout.annotation_names()),
      (_IMAGE, self._layout.image_names()),
    ):
      self._index.executemany("INSERT INTO files VALUES (?, ?, ?)", _rows(kind, names))
    query = f"SELECT name FROM files WHERE kind = '{_IMAGE}' AND instr(name, x'2f')"
    nested = ((os.path.basename(name), name) for (name,) in self._index.execute(query))
    self._index.executemany("INSERT INTO nested_images VALUES (?, ?)", nested)
    self._index.execute("COMMIT")

  @classmethod
  def reopen(cls, layout: voc_layout.Layout, index_file: str) -> Self:
    """The data set with the lists that an earlier `VocFolder` wrote to its index file."""
    folder = cls.__new__(cls)
    folder._layout = layout
    folder._index_file = index_file
    folder._index = disk_index.open_finished(index_file)
    return folder

  @property
  def root(self) -> pathlib.Path:
    """The data set, links followed."""
    return self._layout.root

  @property
  def layout(self) -> voc_layout.Layout:
    """The folders."""
    return self._layout

  @property
  def index_file(self) -> str | None:
    """The file with the lists, if others can read it."""
    return self._index_file

  def __reduce__(self):
    if self._index_file is None:
      raise TypeError("a VocFolder without an index file cannot be pickled")
    return VocFolder.reopen, (self._layout, self._index_file)

  def read(self, file: str) -> bytes:
    """The content of one file.

    Args:
      file: as `image_file` and `annotation_file` give it.

    Raises:
      faults.FaultError: it cannot be read, is no regular file or leads out of the data set.
    """
    return safe_files.read(self.path(file), self._roots, file)

  @functools.cached_property
  def _roots(self) -> tuple[pathlib.Path, ...]:
    """The folders that a file may lie in, links followed; asked for with every file."""
    layout = self._layout
    folders = {folder for folder in (layout.annotations, layout.images, layout.splits) if folder}
    return layout.root, *(pathlib.Path(os.path.realpath(layout.root / f)) for f in folders)

  def path(self, file: str) -> pathlib.Path:
    """Returns the path of a file, links not followed; `file` as for `read`."""
    return self._layout.root / file

  def all_stems(self) -> Iterator[str]:
    """Yields the names of all images and annotations once each, sorted."""
    # Without a temporary table of all names, as a DISTINCT or UNION would make.
    query = (
      f"SELECT stem FROM files AS f WHERE (kind = '{_ANNOTATION}' OR NOT EXISTS"
      f" (SELECT 1 FROM files WHERE kind = '{_ANNOTATION}' AND stem = f.stem)) ORDER BY stem"
    )
    previous = None
    for stem in self._all(query):
      if stem != previous:  # Two images may have one name.
        yield stem
      previous = stem

  def is_known(self, stem: str) -> bool:
    """Whether there is an annotation or image of this name."""
    query = f"SELECT 1 FROM files WHERE kind IN ('{_ANNOTATION}', '{_IMAGE}') AND stem = ?"
    if self._index.execute(query, (os.fsencode(stem),)).fetchone() is not None:
      return True
    if stem.isascii():
      return False
    return bool(self._names(_ANNOTATION, stem) or self._names(_IMAGE, stem))

  def stem_at_end(self, path: str) -> str | None:
    """The longest end of a path that is a name here; None where there is none.

    The last part alone decides nothing where images in several folders have it.
    """
    parts = path.split("/")
    for start in range(1, len(parts)):
      stem = "/".join(parts[start:])
      if ".." not in parts[start:] and self.is_known(stem):
        is_alone = start + 1 < len(parts) or not any(
          self._nested(os.path.basename(file)) for file in self._names(_IMAGE, stem)
        )
        return stem if is_alone else None
    return None

  def is_annotated(self, stem: str) -> bool:
    """Whether there is an annotation of this name, spelt so."""
    query = f"SELECT 1 FROM files WHERE kind = '{_ANNOTATION}' AND stem = ?"
    return self._index.execute(query, (os.fsencode(stem),)).fetchone() is not None

  def write_split(self, stems: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str, int]]:
    """Writes the names of a split's images, for `stem` to give; once for each folder object.

    Args:
      stems: the line and name of each.

    Yields:
      Line, name and first line of each name that repeats another, which is left out.
    """
    self._index.execute("BEGIN")
    position = 0
    for line, stem in stems:
      try:
        row = (position, os.fsencode(stem), line)
        self._index.execute("INSERT INTO split VALUES (?, ?, ?)", row)
        position += 1
      except sqlite3.IntegrityError:
        query = "SELECT line FROM split WHERE stem = ?"
        (first,) = self._index.execute(query, (os.fsencode(stem),)).fetchone()
        yield line, stem, first
    self._index.execute("COMMIT")

  def num_in_split(self) -> int:
    """The number of names that `write_split` wrote."""
    (count,) = self._index.execute("SELECT COUNT(*) FROM split").fetchone()
    return count

  def stem(self, position: int) -> str:
    """The name of an image of the split that `write_split` wrote; `position` counts from 0."""
    query = "SELECT stem FROM split WHERE position = ?"
    (stem,) = self._index.execute(query, (position,)).fetchone()
    return os.fsdecode(stem)

  def unpaired_annotations(self) -> Iterator[tuple[str, str]]:
    """Yields name and file of each annotation without an image of its name."""
    query = (
      f"SELECT name FROM files AS a WHERE kind = '{_ANNOTATION}' AND NOT EXISTS"
      f" (SELECT 1 FROM files WHERE kind = '{_IMAGE}' AND stem = a.stem)"
    )
    for name in self._all(query):
      yield os.path.splitext(name)[0], self._layout.file(self._layout.annotations, name)

  def claim(self, names: Iterable[str]) -> None:
    """Notes names that annotations may mean an image of another name by; see `is_claimed`."""
    self._index.execute("BEGIN")
    rows = ((_key(name),) for name in names)
    self._index.executemany("INSERT OR IGNORE INTO claimed VALUES (?)", rows)
    self._index.execute("COMMIT")
    vars(self).pop("_has_claims", None)

  def is_claimed(self, stem: str) -> bool:
    """Whether an annotation of another name may be that of this image, its folder apart."""
    if not self._has_claims:  # Mostly, and asked of each image.
      return False
    query = "SELECT 1 FROM claimed WHERE key = ?"
    return self._index.execute(query, (_key(stem),)).fetchone() is not None

  @functools.cached_property
  def _has_claims(self) -> bool:
    return self._index.execute("SELECT 1 FROM claimed").fetchone() is not None

  def annotation_files(self, stem: str) -> list[str]:
    """All annotations of an image; a sound data set has one."""
    folder = self._layout.annotations
    return [self._layout.file(folder, name) for name in self._names(_ANNOTATION, stem)]

  def image_files(self, stem: str) -> list[str]:
    """All images with this name; a sound data set has one."""
    return [self._image(name) for name in self._names(_IMAGE, stem)]

  def image_stem(self, file: str) -> str:
    """The name of an image by its file."""
    folder = self._layout.images
    return os.path.splitext(file.removeprefix(f"{folder}/") if folder else file)[0]

  def annotation_file(self, stem: str) -> str:
    """The annotation of an image.

    Raises:
      faults.FaultError: there is none.
    """
    pattern = self._layout.file(self._layout.annotations, f"{stem}.xml")
    names = self._names(_ANNOTATION, stem)
    if len(names) != 1:
      near = self._near_names(_ANNOTATION, stem)
      raise _fault(names, pattern, "one annotation for each image", near)
    return self.annotation_files(stem)[0]

  def image_file(self, stem: str, filename: str | None) -> str:
    """The image with this name, whatever its extension.

    Args:
      stem: the name in the split file.
      filename: the name in the annotation without folders, which decides between several, or where
        there is none.

    Raises:
      faults.FaultError: there is none, or there are several.
    """
    names = self._names(_IMAGE, stem)
    if len(names) > 1:
      names = [name for name in names if os.path.basename(name) == filename] or names
    elif not names and filename is not None:
      names = self._images_named(filename)
    if len(names) != 1:
      accepted = f"one image, with one of the extensions {', '.join(voc_layout.IMAGE_EXTENSIONS)}"
      raise _fault(names, self._image(f"{stem}.*"), accepted, self._near_names(_IMAGE, stem))
    return self._image(names[0])

  def _image(self, name: str) -> str:
    return self._layout.file(self._layout.images, name)

  def _images_named(self, filename: str) -> list[str]:
    """The images of this name with its ending, in any folder."""
    nested = self._nested(filename)
    top = self._names(_IMAGE, os.path.splitext(filename)[0])
    return [*(name for name in top if name == filename), *nested]

  def _nested(self, last_name: str) -> list[str]:
    """The images of this name with its ending that lie in folders within."""
    query = "SELECT name FROM nested_images WHERE last = ? ORDER BY name"
    return list(self._all(query, os.fsencode(last_name)))

  def _names(self, kind: str, stem: str) -> list[str]:
    """The files of a kind with this name."""
    query = "SELECT name FROM files WHERE kind = ? AND stem = ? ORDER BY name"
    names = list(self._all(query, kind, os.fsencode(stem)))
    if not names and not stem.isascii():  # Letters with accents are written in two ways.
      own = image_folder.composed(stem)
      near = self._near_names(kind, stem)
      names = [name for name in near if image_folder.composed(os.path.splitext(name)[0]) == own]
    return names

  def _near_names(self, kind: str, stem: str) -> list[str]:
    """The files of a kind with nearly this name, their folders apart."""
    if kind not in self._by_likeness:  # Made once, where the first one is missing.
      found = self._by_likeness[kind] = {}
      for name in self._all("SELECT name FROM files WHERE kind = ? ORDER BY name", kind):
        found.setdefault(image_folder.likeness(name[: name.rindex(".")]), []).append(name)
    return self._by_likeness[kind].get(image_folder.likeness(stem), [])

  @functools.cached_property
  def _by_likeness(self) -> dict[str, dict[str, list[str]]]:
    """Kind of file -> likeness -> names, for kinds of which a file is missing."""
    return {}

  def _all(self, query: str, *values: str | bytes) -> Iterator[str]:
    return (os.fsdecode(text) for (text,) in self._index.execute(query, values))


def _rows(kind: str, names: Iterable[str]) -> Iterator[tuple[str, bytes, bytes]]:
  """Rows of the table of files; each name has an ending."""
  for name in names:
    encoded = os.fsencode(name)
    yield kind, encoded[: encoded.rindex(b".")], encoded


def _key(name: str) -> str:
  """A name without folders, in the form that all its spellings have."""
  return unicodedata.normalize("NFC", os.path.basename(name)).casefold()


def _fault(names: Sequence[str], pattern: str, accepted: str, near: list[str]) -> faults.FaultError:
  """The fault of an image that has no file, or several."""
  value = f"there are {', '.join(names)}" if names else "missing"
  if near and not names:
    value += f"; the nearest name there {image_folder.names_that_are(near)}"
  return safe_files.fault(pattern, value, accepted)
