"""The features that records have, without reading their images.

A record is a serialized tf.Example: nested fields, each with its length in front, one of them the
encoded image, by far the largest. It is passed over.
"""

import functools
import itertools
import mmap
import os
from collections.abc import Collection, Iterator, Sequence

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import manifests, summaries

# Fields 1 to 3, of those that have a length, as all on the way to the values of a feature.
_TAGS = (0x0A, 0x12, 0x1A)


def state_annotated_classes(files: Sequence[str]) -> bool:
  """Whether any record of some files states its annotated classes.

  A manifest next to the files says so, and then the first record of each file is examined alone;
  otherwise all records are, up to the first that does.

  Args:
    files: paths of TFRecord files.

  Raises:
    ValueError: a manifest is faulty, or a file is no TFRecord file.
  """
  known = set()
  for folder, manifest in manifests.by_folder(files):
    if manifest.get(summaries.PARTLY_ANNOTATED):
      return True
    known |= {os.path.join(folder, shard["file"]) for shard in manifest["shards"]}
  return any(
    _has(path, schema.ANNOTATED_CLASSES, path in known, record_index.file_version(path))
    for path in files
  )


@functools.lru_cache(maxsize=4096)
def _has(path: str, name: str, first_only: bool, version: tuple[int, int]) -> bool:
  """Whether a record of a file has a feature; `version` keeps the answer up to date."""
  del version
  for record in itertools.islice(contents(path), 1 if first_only else None):
    try:
      if any(found == name for found, _ in entries(record)):
        return True
    except (ValueError, IndexError):  # No tf.Example, of which whoever reads it says more.
      continue
  return False


def contents(path: str) -> Iterator[memoryview]:
  """Yields the records of a file; of a local file, only the parts that are used are read."""
  spans = record_index.record_spans(path)
  with record_index.open_file(path) as file:
    if record_index.is_remote(path):
      for start, length in spans:
        file.seek(start)
        yield memoryview(file.read(length))
      return
    content = None
    for start, length in spans:
      # Not before there is a record: an empty file cannot be mapped.
      content = content or memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
      yield content[start : start + length]


def entries(record: memoryview) -> Iterator[tuple[str, memoryview]]:
  """Yields the names of a record's features, each with its serialized entry in the map.

  Raises:
    ValueError, IndexError: the record is no tf.Example.
  """
  # tf.Example has one field, Features, which has one field, its map.
  begin, end = _field(record, 0)
  while begin < end:
    entry_begin, entry_end = _field(record, begin)
    key_begin, key_end = _field(record, entry_begin)
    yield bytes(record[key_begin:key_end]).decode(), record[begin:entry_end]
    begin = entry_end


def is_plain(record: memoryview) -> bool:
  """Whether a record has the fields of a tf.Example alone, each in its place.

  Protocol buffers pass over fields that are not known to them, and TensorFlow's parser of
  tf.Examples refuses some of these. The values of a feature are not looked into.
  """
  try:
    begin, end = _field(record, 0)
    if end != len(record):
      return False
    while begin < end:
      entry_begin, entry_end = _field(record, begin)
      key_begin, key_end = _field(record, entry_begin)
      value_begin, value_end = _field(record, key_end, _TAGS[1:2])
      str(record[key_begin:key_end], "utf-8")
      if value_begin < value_end and _field(record, value_begin, _TAGS)[1] != value_end:
        return False
      if value_end != entry_end:
        return False
      begin = entry_end
  except (ValueError, IndexError):
    return False
  return begin == end


def _field(record: memoryview, begin: int, tags: Collection[int] = _TAGS[:1]) -> tuple[int, int]:
  """Returns begin and end of the content of the field that begins here.

  Raises:
    ValueError: it is no field of `tags`, or has no length.
  """
  if record[begin] not in tags:
    raise ValueError
  length = shift = 0
  for place in range(begin + 1, begin + 11):
    length |= (record[place] & 0x7F) << shift
    if record[place] < 0x80:
      return place + 1, place + 1 + length
    shift += 7
  raise ValueError
