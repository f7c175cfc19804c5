"""A COCO file in tables on the disk, where each image finds its annotations.

Checks that need the whole file are done here: identifiers that are repeated or refer to nothing.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Self

from mtl_ssl_tf import files
from mtl_ssl_tf.data import disk_index, faults, label_map
from mtl_ssl_tf.data.sources import coco_annotation, coco_stream, image_folder, split_source
from mtl_ssl_tf.reading import regular_files

_VERSION = 5
_TABLES = """
CREATE TABLE images (position INTEGER PRIMARY KEY, id TEXT UNIQUE, name TEXT, last_name TEXT,
  last_two TEXT, entry TEXT, fault TEXT);
CREATE TABLE annotations (number INTEGER PRIMARY KEY, id INTEGER, image_id TEXT, category_id TEXT,
  entry TEXT);
CREATE TABLE categories (number INTEGER PRIMARY KEY, id TEXT, name TEXT, entry TEXT);
CREATE TABLE faults (number INTEGER PRIMARY KEY, fault TEXT);
CREATE TABLE remarks (kind TEXT, is_warning INTEGER, fault TEXT);
CREATE TABLE about (version INTEGER, sha256 TEXT, ids_from_place INTEGER);
"""
_INDEXES = """
CREATE INDEX by_image ON annotations (image_id, number);
CREATE INDEX by_id ON annotations (id);
CREATE INDEX by_name ON images (name);
CREATE INDEX by_last_name ON images (last_name, name);
CREATE INDEX by_last_two ON images (last_two, name);
"""


class CocoIndex:
  """Images, annotations and categories of one COCO file.

  Can be pickled where it has a file; the copy reads that file.

  Attributes:
    file: name of the COCO file, for messages.
    sha256: of its content, hexadecimal.
    categories: names by id as text, in the order of the ids; the sound ones that are classes.
    faults: of categories, and of annotations without an image.
    remarks: see `split_source.SplitSource`.
  """

  def __init__(self, file: str, connection: sqlite3.Connection, index_file: str | None):
    """Reads what is small; `open_index` makes one."""
    self.file, self._connection, self._index_file = file, connection, index_file
    query = "SELECT sha256, ids_from_place FROM about"
    self.sha256, self._ids_from_place = connection.execute(query).fetchone()
    rows = connection.execute("SELECT id, name FROM categories ORDER BY number").fetchall()
    if all(coco_annotation.whole_number(category_id) is not None for category_id, _ in rows):
      rows.sort(key=lambda row: int(row[0]))
    self.categories = dict(rows)
    rows = connection.execute("SELECT fault FROM faults ORDER BY number")
    self.faults = tuple(_fault(text) for (text,) in rows)
    rows = connection.execute("SELECT kind, is_warning, fault FROM remarks")
    self.remarks = tuple(
      split_source.Remark(kind, bool(is_warning), _fault(text)) for kind, is_warning, text in rows
    )
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

  def image(self, position: int) -> tuple[str | None, dict[str, Any], tuple[faults.Fault, ...]]:
    """Id and entry of an image, and the faults of its id."""
    query = "SELECT id, entry, fault FROM images WHERE position = ?"
    image_id, entry, fault = self._connection.execute(query, (position,)).fetchone()
    return image_id, json.loads(entry), (_fault(fault),) if fault else ()

  def annotations(self, image_id: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Place in the file, from 1, and entry of each of an image's annotations.

    Entries have no id where an id of the file is missing or repeats: places take over for all.
    """
    query = "SELECT number, entry FROM annotations WHERE image_id = ? ORDER BY number"
    for number, text in self._connection.execute(query, (image_id,)):
      entry = json.loads(text)
      if self._ids_from_place:
        entry.pop("id", None)
      yield number, entry

  def num_names_ending(self, end: str) -> int:
    """The number of different paths in `images` with this end of some parts; at most 2."""
    end = image_folder.composed(end)
    column = "last_two" if "/" in end else "last_name"
    key = "/".join(end.split("/")[-2:])
    rows = self._connection.execute(f"SELECT DISTINCT name FROM images WHERE {column} = ?", (key,))
    ending = (name for (name,) in rows if f"/{name}".endswith(f"/{end}"))
    return len(list(itertools.islice(ending, 2)))


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
  regular_files.check(path)
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
    return _fill(path, index_file, sha256, read_bytes, quote_odd_numbers=False)
  except ValueError as error:
    # If it is no odd number, the first message is the right one.
    with contextlib.suppress(ValueError):
      return _fill(path, index_file, sha256, lambda count: None, quote_odd_numbers=True)
    raise error


def _fill(
  path: pathlib.Path,
  index_file: pathlib.Path | None,
  sha256: str,
  read_bytes: Callable[[int], object],
  quote_odd_numbers: bool,
  polygons: bool = False,
) -> sqlite3.Connection:
  """The tables from one reading of the file, or from two where boxes have to come of polygons."""
  tables = _Tables(disk_index.create(index_file, _TABLES), path.name)
  add = {
    "images": tables.add_image,
    "annotations": tables.add_annotation,
    "categories": tables.add_category,
  }
  for section, number, entry in coco_stream.read_entries(
    path, read_bytes, quote_odd_numbers, polygons
  ):
    add[section](number, entry)
    if tables.needs_polygons and not polygons:
      tables.connection.close()
      return _fill(path, index_file, sha256, lambda count: None, quote_odd_numbers, polygons=True)
  for statement in _INDEXES.strip().split("\n"):
    tables.connection.execute(statement)
  tables.choose_categories()
  tables.find_strays()
  ids_from_place = tables.check_ids()
  tables.find_repeated_files()
  about = (_VERSION, sha256, ids_from_place)
  tables.connection.execute("INSERT INTO about VALUES (?, ?, ?)", about)
  tables.connection.execute("COMMIT")
  return tables.connection


@dataclasses.dataclass
class _Tables:
  """The tables while they are filled.

  Attributes:
    needs_polygons: whether an annotation has a segmentation and no box.
  """

  connection: sqlite3.Connection
  file: str
  needs_polygons: bool = False

  def add_image(self, number: int, entry: Any) -> None:
    """Adds an entry of `images`; where its id is at fault, as an image that has none."""
    image_id, fault, name = None, None, None
    field = coco_annotation.image_field(number, "")
    if not isinstance(entry, dict):
      value = coco_annotation.show_value(entry)
      fault = faults.Fault(self.file, field, value, "an object with id and file_name")
      entry = {}
    else:
      image_id = coco_annotation.id_text(entry.get("id"))
      name = coco_annotation.image_name(entry)
      field = coco_annotation.image_field(number, "id")
      if image_id is None:
        value = coco_annotation.show(entry, "id")
        fault = faults.Fault(self.file, field, value, "a number or a name")
      else:
        query = "SELECT position + 1, name FROM images WHERE id = ?"
        first = self.connection.execute(query, (image_id,)).fetchone()
        if first:
          value = f"{coco_annotation.show(entry, 'id')} repeats image {first[0]}"
          names = " and for ".join(map(coco_annotation.show_value, (first[1], name)))
          accepted = f"each id once, not for {names}"
          image_id, fault = None, faults.Fault(self.file, field, value, accepted)
    name = image_folder.composed(name) if name else None
    last_name, last_two = ("/".join(name.split("/")[-n:]) if name else None for n in (1, 2))
    row = (number - 1, image_id, name, last_name, last_two, json.dumps(entry), _text(fault))
    self.connection.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?)", row)

  def add_annotation(self, number: int, entry: Any) -> None:
    """Adds an entry of `annotations`."""
    if not isinstance(entry, dict):
      value, accepted = coco_annotation.show_value(entry), "an object with image_id and bbox"
      self._add_fault(faults.Fault(self.file, "annotation", value, accepted, number))
      return
    image_id = coco_annotation.id_text(entry.get("image_id"))
    if image_id is None:
      self._add_stray(number, entry)
      return
    category_id = None
    if not coco_annotation.is_empty_mark(entry):
      category_id = coco_annotation.id_text(entry.get("category_id"))
    if entry.get(coco_stream.SEGMENTATION) is True and coco_annotation.lacks_box(entry):
      self.needs_polygons = True
    own_id = coco_annotation.whole_number(entry.get("id"))
    row = (number, own_id, image_id, category_id, json.dumps(entry))
    self.connection.execute("INSERT INTO annotations VALUES (?, ?, ?, ?, ?)", row)

  def add_category(self, number: int, entry: Any) -> None:
    """Adds an entry of `categories`, for `choose_categories` to check."""
    category_id, name = None, None
    if isinstance(entry, dict):
      category_id, name = coco_annotation.id_text(entry.get("id")), entry.get("name")
    name = name.strip() if isinstance(name, str) else None
    row = (number, category_id, name, json.dumps(entry))
    self.connection.execute("INSERT INTO categories VALUES (?, ?, ?, ?)", row)

  def choose_categories(self) -> None:
    """Leaves the sound categories that are classes; remarks and faults tell of the others."""
    query = "SELECT DISTINCT category_id FROM annotations WHERE category_id IS NOT NULL"
    used = {category_id for (category_id,) in self.connection.execute(query)}
    query = "SELECT number, id, name, entry FROM categories ORDER BY number"
    rows = [(*row, json.loads(entry)) for *row, entry in self.connection.execute(query)]
    numbers: dict[tuple[str, str], int] = {}
    for number, category_id, name, entry in rows:
      why = None if category_id in used else _no_class(name, [row[3] for row in rows])
      problem = None if why else coco_annotation.category_problem(entry)
      if why is None and problem is None:
        for field, own in (("id", category_id), ("name", name)):
          first = numbers.get((field, own))
          if first is not None and problem is None:
            value = f"{coco_annotation.show(entry, field)} repeats category {first}"
            problem = field, value, "each id and each name once"
      if why is None and problem is None:
        numbers |= {("id", category_id): number, ("name", name): number}
        continue
      self.connection.execute("DELETE FROM categories WHERE number = ?", (number,))
      field, value, accepted = problem or ("name", f"{faults.quote(name)} {why}", "as it is")
      fault = faults.Fault(self.file, f"category {number} {field}".rstrip(), value, accepted)
      if why:
        self._add_remark("category_left_out", False, fault)
      else:
        self._add_fault(fault)

  def find_strays(self) -> None:
    """Adds the faults of annotations whose image is not in the file."""
    query = (
      "SELECT number, entry FROM annotations"
      " WHERE image_id NOT IN (SELECT id FROM images WHERE id IS NOT NULL) ORDER BY number"
    )
    for number, entry in self.connection.execute(query).fetchall():
      self._add_stray(number, json.loads(entry))

  def check_ids(self) -> bool:
    """Whether annotation ids are missing or repeat, so that places in the file take over."""
    query = "SELECT COUNT(*), COUNT(id), COUNT(DISTINCT id) FROM annotations"
    total, num_with, num_distinct = self.connection.execute(query).fetchone()
    if num_distinct == total:
      return False
    parts = [f"missing or no whole number in {total - num_with}"] * (num_with < total)
    parts += [f"repeated in {num_with - num_distinct}"] * (num_distinct < num_with)
    value = f"{', '.join(parts)} of {total} annotations; the places in the file are the ids"
    self._add_remark(
      "ids_from_place", False, faults.Fault(self.file, "annotations: id", value, "each id once")
    )
    return True

  def find_repeated_files(self) -> None:
    """Adds a warning about files that several entries of `images` name."""
    query = (
      "SELECT name, COUNT(*) FROM images WHERE name IS NOT NULL GROUP BY name"
      " HAVING COUNT(*) > 1 ORDER BY MIN(position)"
    )
    rows = self.connection.execute(query).fetchall()
    if rows:
      names = faults.listing([f"{faults.quote(name)} ({count} times)" for name, count in rows])
      value = f"{names}: each becomes several records, and in each the others' boxes are background"
      fault = faults.Fault(self.file, "images: file_name", value, "each file under one id")
      self._add_remark("file_repeated", True, fault)

  def _add_stray(self, number: int, entry: dict[str, Any]) -> None:
    value, label = coco_annotation.show(entry, "image_id"), coco_annotation.object_label(entry)
    accepted = "the id of an image"
    self._add_fault(faults.Fault(self.file, "image_id", value, accepted, number, label))

  def _add_fault(self, fault: faults.Fault) -> None:
    self.connection.execute("INSERT INTO faults VALUES (NULL, ?)", (_text(fault),))

  def _add_remark(self, kind: str, is_warning: bool, fault: faults.Fault) -> None:
    row = (kind, is_warning, _text(fault))
    self.connection.execute("INSERT INTO remarks VALUES (?, ?, ?)", row)


def _no_class(name: str | None, entries: list[Any]) -> str | None:
  """Why a category that no annotation has is no class; None if it is one."""
  if name is None:
    return None
  if name.lower() in label_map.BACKGROUND:
    return "has no boxes and means the background: no class"
  others = [entry for entry in entries if isinstance(entry, dict)]
  others = [entry.get("supercategory") for entry in others if _name(entry) != name]
  if others and all(isinstance(above, str) and above.strip() == name for above in others):
    return "has no boxes and is the group of all others: no class"
  return None


def _name(entry: dict[str, Any]) -> str | None:
  name = entry.get("name")
  return name.strip() if isinstance(name, str) else None


def _text(fault: faults.Fault | None) -> str | None:
  return json.dumps(dataclasses.asdict(fault)) if fault else None


def _fault(text: str) -> faults.Fault:
  return faults.Fault(**json.loads(text))
