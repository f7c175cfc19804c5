"""Pictures that two splits share, found by content without reading a record.

Next to the records of a split lies a list, `schema.pictures_file`. Each of its lines has the first
16 hexadecimal digits of the SHA-256 of an image as the record stores it, a tab, and the image's
name, or that of its file where the name is an id, in the order of the records; `texts.cell` says
what becomes of a name that a spreadsheet would take for a formula. Records without a list are read
instead, up to `MAX_READ_BYTES`.
"""

import dataclasses
import functools
import hashlib
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from google.protobuf import message

from mtl_ssl_tf import texts
from mtl_ssl_tf.data import faults, schema
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import manifests

# A run must not wait long for the comparison at its start.
MAX_READ_BYTES = 64 * 2**20
_CHUNK_BYTES = 2**20
_DIGITS = 16
_CELL_ENDS = re.compile(r"[\t\r\n]")
_MAX_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Shared:
  """Pictures that two splits share.

  Attributes:
    number: of different pictures.
    first: names of the first few, in the one split and in the other.
  """

  number: int
  first: tuple[tuple[str, str], ...]

  def __str__(self) -> str:
    """The first few names on both sides, and how many more there are."""
    names = [f"{faults.quote(name)} ({faults.quote(other)} there)" for name, other in self.first]
    more = self.number - len(self.first)
    return ", ".join(names) + (f" and {more} more" if more else "")


@dataclasses.dataclass(frozen=True)
class _Lines:
  """Lines of the pictures in some record files, in no particular order, and their number."""

  number: int
  read: Callable[[], Iterator[bytes]]


def line(example: tf.train.Example) -> str:
  """Returns the line of a record, without its end."""
  feature = example.features.feature
  digests = feature[schema.IMAGE_SHA256].bytes_list.value
  encoded = feature[schema.IMAGE_ENCODED].bytes_list.value
  digest = digests[0].decode() if digests else hashlib.sha256(encoded[0]).hexdigest()
  name = os.fsdecode(feature[schema.IMAGE_SOURCE_ID].bytes_list.value[0])
  file_name = os.fsdecode(b"".join(feature[schema.IMAGE_FILENAME].bytes_list.value[:1]))
  if os.path.basename(name) not in (file_name, os.path.splitext(file_name)[0]):
    name = file_name or name  # An id that says nothing of the file.
  return f"{digest[:_DIGITS]}\t{texts.cell(_CELL_ENDS.sub(' ', name))}"


def shared(files: Sequence[str], others: Sequence[str]) -> Shared | None:
  """Returns the pictures that are in some record files and in others too.

  Args:
    files, others: paths of record files.

  Returns:
    None where files have no list and are too large, or cannot be read.
  """
  own, theirs = _lines(files), _lines(others)
  if own is None or theirs is None:
    return None
  small, large = sorted((own, theirs), key=lambda lines: lines.number)
  digests = {text[:_DIGITS] for text in small.read()}
  # Digest to the name in the larger one; of the smaller one, names are read again.
  found: dict[bytes, bytes] = {}
  for text in large.read():
    if text[:_DIGITS] in digests:
      found.setdefault(text[:_DIGITS], text[_DIGITS + 1 :])
  number = len(found)
  pairs = (
    (os.fsdecode(text[_DIGITS + 1 :]), os.fsdecode(found.pop(text[:_DIGITS])))
    for text in small.read()
    if text[:_DIGITS] in found
  )
  first = itertools.islice(pairs, _MAX_NAMED)
  return Shared(number, tuple(first if small is own else (pair[::-1] for pair in first)))


def lines_on_shared(
  output_dir: str | os.PathLike[str], split: str, names: Sequence[str]
) -> Iterator[str]:
  """Yields a line for each other split in a folder that shares pictures with this one.

  Args:
    output_dir: the folder.
    split: its records are written.
    names: of its record files.
  """
  own = [os.path.join(output_dir, name) for name in names]
  for other, files in _other_splits(output_dir, split):
    found = shared(own, files)
    if found is not None and found.number:
      yield (
        f"{split}: pictures that are in split {other} too, by content: {found.number}: {found};"
        " accepted: each picture in one split"
      )


def _other_splits(
  output_dir: str | os.PathLike[str], split: str
) -> Iterator[tuple[str, list[str]]]:
  """Yields name and record files of each other split in a folder.

  Splits that were made of this one, such as sparsely annotated ones, are left out.
  """
  for path in sorted(pathlib.Path(output_dir).glob(schema.manifest_file("*"))):
    try:
      manifest = manifests.load(path)
    except faults.FaultError:
      continue  # Of another program.
    name, shards = manifest.get("split"), [shard["file"] for shard in manifest["shards"]]
    if name is None:
      continue
    sections = [value for value in manifest.values() if isinstance(value, dict)]
    if name != split and all(section.get("source_split") != split for section in sections):
      yield name, [os.path.join(output_dir, shard) for shard in shards]


def _lines(files: Sequence[str]) -> _Lines | None:
  """The lines of record files, from lists where there are any; None as in `shared`."""
  parts, listed = _listed(files)
  unlisted = [file for file in files if os.path.split(file) not in listed]
  if any(map(record_index.is_remote, unlisted)):
    return None
  if sum(os.path.getsize(file) for file in unlisted) > MAX_READ_BYTES:
    return None
  try:
    parts += [_of_record_file(file) for file in unlisted]
  except (ValueError, IndexError, message.DecodeError):  # Records of others, or damaged ones.
    return None
  return _Lines(
    sum(part.number for part in parts),
    lambda: itertools.chain.from_iterable(part.read() for part in parts),
  )


def _listed(files: Sequence[str]) -> tuple[list[_Lines], set[tuple[str, str]]]:
  """The lines that lists have, and folder and name of each record file that they are of."""
  wanted = {os.path.split(file) for file in files}
  parts, listed = [], set()
  for folder, manifest in manifests.by_folder(files):
    name = manifest.get("pictures", "")
    path = os.path.join(folder, name)
    # It lies beside the manifest, whatever that says.
    if not name or os.path.basename(name) != name or not tf.io.gfile.exists(path):
      continue
    shards = [(shard["file"], shard.get("num_images", 0)) for shard in manifest["shards"]]
    # A list of another conversion has another number of lines.
    if sum(1 for _ in _read(path)) != sum(number for _, number in shards):
      continue
    is_wanted = [(folder, name) in wanted for name, _ in shards]
    selectors = [
      flag for flag, (_, number) in zip(is_wanted, shards, strict=True) for _ in range(number)
    ]
    parts.append(_Lines(sum(selectors), functools.partial(_selected, path, selectors)))
    listed |= {(folder, name) for flag, (name, _) in zip(is_wanted, shards, strict=True) if flag}
  return parts, listed


def _selected(path: str, selectors: Sequence[bool]) -> Iterator[bytes]:
  return itertools.compress(_read(path), selectors)


def _read(path: str) -> Iterator[bytes]:
  """Yields the lines of a list, which may be remote."""
  with record_index.open_file(path) as file:
    rest = b""
    while chunk := file.read(_CHUNK_BYTES):
      *lines, rest = (rest + chunk).split(b"\n")
      yield from lines


def _of_record_file(path: str) -> _Lines:
  """The lines of one record file, which is read whole."""
  lines = []
  with record_index.open_file(path) as file:
    for start, length in record_index.record_spans(path):
      file.seek(start)
      lines.append(os.fsencode(line(tf.train.Example.FromString(file.read(length)))))
  return _Lines(len(lines), lambda: iter(lines))
