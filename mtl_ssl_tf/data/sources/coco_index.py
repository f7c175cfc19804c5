"""A COCO file in tables on the disk, where each image finds its annotations.

Checks that need the whole file are done here: identifiers that are repeated or refer to nothing.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Self

from mtl_ssl_tf import files
from mtl_ssl_tf.data import disk_index, faults
from mtl_ssl_tf.data.sources import coco_annotation, coco_stream

_VERSION = 1
_TABLES = """
CREATE TABLE images (position INTEGER PRIMARY KEY, id INTEGER UNIQUE, entry TEXT, fault TEXT);
CREATE TABLE annotations (number INTEGER PRIMARY KEY, id INTEGER UNIQUE, image_id INTEGER,
  entry TEXT, fault TEXT);
CREATE TABLE categories (id INTEGER PRIMARY KEY, name TEXT UNIQUE, number INTEGER);
CREATE TABLE faults (number INTEGER PRIMARY KEY, fault TEXT);
CREATE TABLE about (version INTEGER, sha256 TEXT);
"""


class CocoIndex:
  """Images, annotations and categories of one COCO file.

  Can be pickled where it has a file; the copy reads that file.

  Attributes:
    file: name of the COCO file, for messages.
    sha256: of its content, hexadecimal.
    categories: names by id, in the order of the ids; the sound ones.
    faults: of categories, and of annotations without an image.
  """

  def __init__(self, file: str, connection: sqlite3.Connection, index_file: str | None):
    """Reads what is small; `open_index` makes one."""
    self.file, self._connection, self._index_file = file, connection, index_file
    (self.sha256,) = connection.execute("SELECT sha256 FROM about").fetchone()
    self.categories = dict(connection.execute("SELECT id, name FROM categories ORDER BY id"))
    rows = connection.execute("SELECT fault FROM faults ORDER BY number")
    self.faults = tuple(_fault(text) for (text,) in rows)
    (self._num_images,) = connection.execute("SELECT COUNT(*) FROM images").fetchone()

  @classmethod
  def reopen(cls, file: str, index_file: str) -> Self:
    """The index in a finished file."""
    return cls(file, disk_index.open_finished(index_file), index_file)

  def __reduce__(self):
    if self._index_file is None:
      raise TypeError("a CocoIndex without a file cannot be pickled")
    return CocoIndex.reopen, (self.file, self._index_file)

  def __len__(self) -> int:
    """The number of images."""
    return self._num_images

  @property
  def index_file(self) -> str | None:
    """The file with the tables, if others can read it."""
    return self._index_file

  def image(self, position: int) -> tuple[int | None, dict[str, Any], tuple[faults.Fault, ...]]:
    """Id and entry of an image, and the faults of its id."""
    query = "SELECT id, entry, fault FROM images WHERE position = ?"
    image_id, entry, fault = self._connection.execute(query, (position,)).fetchone()
    return image_id, json.loads(entry), (_fault(fault),) if fault else ()

  def annotations(self, image_id: int) -> Iterator[tuple[int, dict[str, Any], faults.Fault | None]]:
    """Place in the file, from 1, entry and fault of the id of each of an image's annotations."""
    query = "SELECT number, entry, fault FROM annotations WHERE image_id = ? ORDER BY number"
    for number, entry, fault in self._connection.execute(query, (image_id,)):
      yield number, json.loads(entry), _fault(fault) if fault else None


def open_index(
  path: str | os.PathLike[str],
  index_file: str | os.PathLike[str] | None,
  read_bytes: Callable[[int], object] = lambda count: None,
) -> CocoIndex:
  """The index of a COCO file, read again unless the index file is of the same content.

  Args:
    path: of the COCO file.
    index_file: where the index goes; None is a temporary file.
    read_bytes: called with the number of further bytes that have been read.

  Raises:
    ValueError: it is no COCO file.
    OSError: a file cannot be read or written.
  """
  path = pathlib.Path(path)
  sha256 = files.sha256(path)
  if index_file is None:
    return CocoIndex(path.name, _build(path, None, sha256, read_bytes), None)
  index_file = os.path.abspath(index_file)
  if not _is_of(index_file, sha256):
    with files.replacing(index_file) as part:
      _build(path, part, sha256, read_bytes).close()
  return CocoIndex.reopen(path.name, index_file)


def _is_of(index_file: str, sha256: str) -> bool:
  """Whether there is an index of this content."""
  if not os.path.exists(index_file):
    return False
  with contextlib.closing(disk_index.open_finished(index_file)) as connection:
    return connection.execute("SELECT version, sha256 FROM about").fetchall() == [
      (_VERSION, sha256)
    ]


def _build(
  path: pathlib.Path,
  index_file: pathlib.Path | None,
  sha256: str,
  read_bytes: Callable[[int], object],
) -> sqlite3.Connection:
  """The filled tables."""
  try:
    return _fill(path, index_file, sha256, read_bytes, quote_non_finite=False)
  except ValueError as error:
    with contextlib.suppress(ValueError):  # If it is not NaN, the first message is the right one.
      return _fill(path, index_file, sha256, lambda count: None, quote_non_finite=True)
    raise error


def _fill(
  path: pathlib.Path,
  index_file: pathlib.Path | None,
  sha256: str,
  read_bytes: Callable[[int], object],
  quote_non_finite: bool,
) -> sqlite3.Connection:
  """The tables from one reading of the file."""
  tables = _Tables(disk_index.create(index_file, _TABLES), path.name)
  add = {
    "images": tables.add_image,
    "annotations": tables.add_annotation,
    "categories": tables.add_category,
  }
  for section, number, entry in coco_stream.read_entries(path, read_bytes, quote_non_finite):
    add[section](number, entry)
  tables.connection.execute("CREATE INDEX by_image ON annotations (image_id, number)")
  tables.find_strays()
  tables.connection.execute("INSERT INTO about VALUES (?, ?)", (_VERSION, sha256))
  tables.connection.execute("COMMIT")
  return tables.connection


@dataclasses.dataclass(frozen=True)
class _Tables:
  """The tables while they are filled."""

  connection: sqlite3.Connection
  file: str

  def add_image(self, number: int, entry: Any) -> None:
    """Adds an entry of `images`; where its id is at fault, as an image that has none."""
    image_id, fault = None, None
    if not isinstance(entry, dict):
      field = coco_annotation.image_field(number, "")
      value = coco_annotation.show_value(entry)
      fault = faults.Fault(self.file, field, value, "an object with id and file_name")
      entry = {}
    else:
      image_id, problem = self._free_id("images", "position + 1", entry)
      if problem:
        field = coco_annotation.image_field(number, "id")
        fault = faults.Fault(self.file, field, *problem)
    row = (number - 1, image_id, json.dumps(entry), _text(fault))
    self.connection.execute("INSERT INTO images VALUES (?, ?, ?, ?)", row)

  def add_annotation(self, number: int, entry: Any) -> None:
    """Adds an entry of `annotations`."""
    if not isinstance(entry, dict):
      value, accepted = coco_annotation.show_value(entry), "an object with image_id and bbox"
      self._add_fault(faults.Fault(self.file, "annotation", value, accepted, number))
      return
    image_id = coco_annotation.whole_number(entry.get("image_id"))
    if image_id is None:
      self._add_stray(number, entry)
      return
    annotation_id, problem = self._free_id("annotations", "number", entry)
    fault = None
    if problem:
      label = coco_annotation.object_label(entry)
      fault = faults.Fault(self.file, "id", *problem, number, label)
    row = (number, annotation_id, image_id, json.dumps(entry), _text(fault))
    self.connection.execute("INSERT INTO annotations VALUES (?, ?, ?, ?, ?)", row)

  def add_category(self, number: int, entry: Any) -> None:
    """Adds an entry of `categories`, if it is sound."""
    problem = coco_annotation.category_problem(entry)
    if not problem:
      query = "SELECT number, id, name FROM categories WHERE id = ? OR name = ?"
      values = (coco_annotation.whole_number(entry["id"]), entry["name"])
      same = self.connection.execute(query, values).fetchone()
      if not same:
        self.connection.execute("INSERT INTO categories VALUES (?, ?, ?)", (*values, number))
        return
      field = "id" if same[1] == values[0] else "name"
      value = f"{coco_annotation.show(entry, field)} repeats category {same[0]}"
      problem = field, value, "each id and each name once"
    field, value, accepted = problem
    field = f"category {number} {field}".rstrip()
    self._add_fault(faults.Fault(self.file, field, value, accepted))

  def find_strays(self) -> None:
    """Adds the faults of annotations whose image is not in the file."""
    query = (
      "SELECT number, entry FROM annotations"
      " WHERE image_id NOT IN (SELECT id FROM images WHERE id IS NOT NULL) ORDER BY number"
    )
    for number, entry in self.connection.execute(query).fetchall():
      self._add_stray(number, json.loads(entry))

  def _add_stray(self, number: int, entry: dict[str, Any]) -> None:
    value, label = coco_annotation.show(entry, "image_id"), coco_annotation.object_label(entry)
    accepted = "the id of an image"
    self._add_fault(faults.Fault(self.file, "image_id", value, accepted, number, label))

  def _add_fault(self, fault: faults.Fault) -> None:
    self.connection.execute("INSERT INTO faults VALUES (NULL, ?)", (_text(fault),))

  def _free_id(
    self, table: str, place: str, entry: dict[str, Any]
  ) -> tuple[int | None, tuple[str, str] | None]:
    """The id of an entry if no other has it, and else value and what is accepted."""
    own_id = coco_annotation.whole_number(entry.get("id"))
    if own_id is None:
      return None, (coco_annotation.show(entry, "id"), "a whole number")
    query = f"SELECT {place} FROM {table} WHERE id = ?"
    first = self.connection.execute(query, (own_id,)).fetchone()
    if first:
      return None, (f"{own_id} repeats {table.removesuffix('s')} {first[0]}", "each id once")
    return own_id, None


def _text(fault: faults.Fault | None) -> str | None:
  return json.dumps(dataclasses.asdict(fault)) if fault else None


def _fault(text: str) -> faults.Fault:
  return faults.Fault(**json.loads(text))
