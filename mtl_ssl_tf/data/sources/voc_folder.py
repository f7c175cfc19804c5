"""Finds the files of a PASCAL VOC data set and reads them without leaving its folders.

The layout is `Annotations/<name>.xml`, `JPEGImages/<name>.<extension>` and
`ImageSets/Main/<split>.txt`. Any of these folders may be a symbolic link: it is part of how the
data set was laid out. A single file must lie, links followed, in its folder or the data set.
"""

import dataclasses
import hashlib
import io
import os
import pathlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Self

from mtl_ssl_tf.data import disk_index, faults
from mtl_ssl_tf.data.sources import safe_files

ANNOTATIONS, IMAGES, SPLITS = "Annotations", "JPEGImages", "ImageSets/Main"
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_TABLES = """
CREATE TABLE files (folder TEXT, stem BLOB, name BLOB, PRIMARY KEY (folder, stem, name))
  WITHOUT ROWID;
CREATE TABLE split (position INTEGER PRIMARY KEY, stem BLOB UNIQUE, line INTEGER);
"""


@dataclasses.dataclass(frozen=True, slots=True)
class SplitList:
  """Content of a split file; `VocFolder.stem` returns the names themselves.

  Attributes:
    file: path inside the data set.
    num_images: how many names it lists.
    faults: of the lines that are left out.
    sha256: of its content, hexadecimal.
  """

  file: str
  num_images: int
  faults: tuple[faults.Fault, ...]
  sha256: str


class VocFolder:
  """A data set's files by the names that its split files use.

  Can be pickled where it has an index file; the copy reads that file and lists nothing again.
  """

  def __init__(
    self, data_dir: str | os.PathLike[str], index_file: str | os.PathLike[str] | None = None
  ):
    """Lists the folders.

    Args:
      data_dir: the data set.
      index_file: where the lists go, a file that is replaced; None is a temporary file.

    Raises:
      ValueError: one of the folders does not exist.
    """
    self._find_folders(data_dir)
    self._index_file = None if index_file is None else os.path.abspath(index_file)
    self._index = disk_index.create(self._index_file, _TABLES)
    for folder, extensions in ((ANNOTATIONS, (".xml",)), (IMAGES, IMAGE_EXTENSIONS)):
      self._index.executemany(
        "INSERT INTO files VALUES (?, ?, ?)",
        (
          (folder, os.fsencode(stem), os.fsencode(name))
          for stem, name in _stems_and_names(self._folders[folder], extensions)
        ),
      )
    self._index.execute("COMMIT")

  @classmethod
  def reopen(cls, data_dir: str | os.PathLike[str], index_file: str) -> Self:
    """The data set with the lists that an earlier `VocFolder` wrote to its index file."""
    folder = cls.__new__(cls)
    folder._find_folders(data_dir)
    folder._index_file = index_file
    folder._index = disk_index.open_finished(index_file)
    return folder

  @property
  def root(self) -> pathlib.Path:
    """The data set, links followed."""
    return self._root

  @property
  def index_file(self) -> str | None:
    """The file with the lists, if others can read it."""
    return self._index_file

  def __reduce__(self):
    if self._index_file is None:
      raise TypeError("a VocFolder without an index file cannot be pickled")
    return VocFolder.reopen, (self._root, self._index_file)

  def _find_folders(self, data_dir: str | os.PathLike[str]) -> None:
    self._root = pathlib.Path(data_dir).resolve()
    self._folders = {}
    for folder in (ANNOTATIONS, IMAGES, SPLITS):
      path = self._root / folder
      if not path.is_dir():
        raise ValueError(
          f"--data_dir {data_dir}: no folder {folder}; accepted: a folder with {ANNOTATIONS},"
          f" {IMAGES} and {SPLITS}; there: {faults.listing(_names(self._root))}"
        )
      self._folders[folder] = path.resolve()

  def read(self, file: str) -> bytes:
    """The content of one file.

    Args:
      file: as `image_file`, `annotation_file` and `split_file` give it.

    Raises:
      faults.FaultError: it cannot be read, is no regular file or leads out of the data set.
    """
    path = self.path(file)
    return safe_files.read(path, (self._root, path.parent), file)

  def path(self, file: str) -> pathlib.Path:
    """Returns the path of a file, links not followed; `file` as for `read`."""
    folder, name = file.rsplit("/", 1)
    return self._folders[folder] / name

  def split_file(self, split: str) -> str:
    """The file that lists a split's images.

    Raises:
      ValueError: there is none.
    """
    splits = {}
    for stem, name in sorted(_stems_and_names(self._folders[SPLITS], (".txt",))):
      splits.setdefault(stem, name)
    if split not in splits:
      raise ValueError(
        f"--split {split}: no file {SPLITS}/{split}.txt; accepted, as there are:"
        f" {faults.listing(sorted(splits))}"
      )
    return f"{SPLITS}/{splits[split]}"

  def list_split(self, split: str) -> SplitList:
    """Reads the names of a split's images, for `stem` to give; once for each folder object.

    A line is a name, or a name and a flag as in VOC's files for single classes: 1 (holds the
    class), 0 (holds difficult objects of it only) or -1 (does not, and is left out). A name with
    a blank in it that has an annotation is a name.

    Raises:
      ValueError: there is no such split, or its file is no UTF-8 text or names no image.
      faults.FaultError: the file cannot be read.
    """
    file = self.split_file(split)
    content = self.read(file)
    found, num_images = [], 0
    self._index.execute("BEGIN")
    try:
      for number, name in self._names_in_split(content):
        if "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
          accepted = "the name of an image, without folders"
          found.append(faults.Fault(file, f"line {number}", faults.quote(name), accepted))
          continue
        row = (num_images, os.fsencode(name), number)
        try:
          self._index.execute("INSERT INTO split VALUES (?, ?, ?)", row)
          num_images += 1
        except sqlite3.IntegrityError:
          query = "SELECT line FROM split WHERE stem = ?"
          (first,) = self._index.execute(query, row[1:2]).fetchone()
          value = f"{faults.quote(name)} repeats line {first}"
          found.append(faults.Fault(file, f"line {number}", value, "each image once"))
    except UnicodeDecodeError as error:
      raise ValueError(
        f"{file}: not a UTF-8 text file ({error.reason}); accepted: an image's name on each line"
      ) from error
    self._index.execute("COMMIT")
    if not num_images and not found:
      raise ValueError(f"{file}: it names no image; accepted: the name of an image on each line")
    return SplitList(file, num_images, tuple(found), hashlib.sha256(content).hexdigest())

  def stem(self, position: int) -> str:
    """The name of an image of the split that `list_split` read; `position` counts from 0."""
    query = "SELECT stem FROM split WHERE position = ?"
    (stem,) = self._index.execute(query, (position,)).fetchone()
    return os.fsdecode(stem)

  def annotation_files(self, stem: str) -> list[str]:
    """All annotations of an image; a sound data set has one."""
    return [f"{ANNOTATIONS}/{name}" for name in self._names(ANNOTATIONS, stem)]

  def image_files(self, stem: str) -> list[str]:
    """All images with this name; a sound data set has one."""
    return [f"{IMAGES}/{name}" for name in self._names(IMAGES, stem)]

  def annotation_file(self, stem: str) -> str:
    """The annotation of an image.

    Raises:
      faults.FaultError: there is none.
    """
    names = self._names(ANNOTATIONS, stem)
    return _only(names, ANNOTATIONS, f"{stem}.xml", "one annotation for each image")

  def image_file(self, stem: str, filename: str | None) -> str:
    """The image with this name, whatever its extension.

    Args:
      stem: the name in the split file.
      filename: the name in the annotation, which decides between several, or where there is none.

    Raises:
      faults.FaultError: there is none, or there are several.
    """
    names = self._names(IMAGES, stem)
    named_in_annotation = filename is not None and filename in self._names(
      IMAGES, pathlib.PurePath(filename).stem
    )
    if named_in_annotation and (not names or filename in names):
      return f"{IMAGES}/{filename}"
    accepted = f"one image, with one of the extensions {', '.join(IMAGE_EXTENSIONS)}"
    return _only(names, IMAGES, f"{stem}.*", accepted)

  def _names(self, folder: str, stem: str) -> list[str]:
    """The files of a folder with this stem."""
    query = "SELECT name FROM files WHERE folder = ? AND stem = ? ORDER BY name"
    rows = self._index.execute(query, (folder, os.fsencode(stem)))
    return [os.fsdecode(name) for (name,) in rows]

  def _names_in_split(self, content: bytes) -> Iterator[tuple[int, str]]:
    """Number, from 1, and name of each line of a split file that names an image of the split."""
    for number, line in enumerate(io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")), start=1):
      name = line.decode().strip()
      if not self._names(ANNOTATIONS, name):
        first, *flag = name.rsplit(maxsplit=1) or [""]
        if flag == ["-1"]:
          continue
        if flag in (["0"], ["1"]):
          name = first
      if name:
        yield number, name


def _only(names: Sequence[str], folder: str, pattern: str, accepted: str) -> str:
  """The one file there is."""
  if len(names) != 1:
    value = f"there are {', '.join(names)}" if names else "missing"
    raise safe_files.fault(f"{folder}/{pattern}", value, accepted)
  return f"{folder}/{names[0]}"


def _stems_and_names(folder: pathlib.Path, extensions: Sequence[str]) -> Iterator[tuple[str, str]]:
  """Stem and name of a folder's files with one of the extensions, in any case, in any order."""
  with os.scandir(folder) as entries:
    for entry in entries:
      stem, extension = os.path.splitext(entry.name)
      if extension.lower() in extensions:
        yield stem, entry.name


def _names(folder: pathlib.Path) -> list[str]:
  return sorted(os.listdir(folder)) if folder.is_dir() else []
