"""The sizes of the images in records, without reading the images.

A record is a serialized tf.Example: nested fields, each with its length in front, one of them the
encoded image, by far the largest. It is passed over.
"""

import functools
import mmap
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from google.protobuf import message

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import index as record_index

_NAMES = (schema.IMAGE_HEIGHT, schema.IMAGE_WIDTH)
_TAG = 0x0A  # Field 1, which has a length. All fields on the way to a feature are such.


def image_sizes(index: record_index.RecordIndex) -> np.ndarray:
  """Height and width of each record's image as the record states them, int64 [n, 2].

  Raises:
    ValueError: a record does not state them.
  """
  sizes = [_sizes_of_file(path, record_index.file_version(path)) for path in index.paths]
  return np.concatenate(sizes)


@functools.lru_cache(maxsize=4096)
def _sizes_of_file(path: str, version: tuple[int, int]) -> np.ndarray:
  """int64 [n, 2]; `version` keeps the answer up to date."""
  del version
  sizes = []
  for number, record in enumerate(_records(path)):
    try:
      sizes.append(_size(record))
    except (message.DecodeError, ValueError, IndexError) as error:
      raise ValueError(
        f"{path}: record {number} has no {' and '.join(_NAMES)} above 0; accepted with"
        " input_layout by_orientation: records that state them"
      ) from error
  return np.array(sizes, np.int64).reshape([-1, 2])


def _records(path: str) -> Iterator[memoryview]:
  """The contents of a file's records; of a local file, only the parts that are used are read."""
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


def _size(record: memoryview) -> tuple[int, int]:
  """Height and width of a record's image.

  Raises:
    message.DecodeError, ValueError, IndexError: the record is no tf.Example, or has none.
  """
  features = {}
  for name, entry in _entries(record):
    if name in _NAMES:
      parsed = tf.train.Features.FromString(bytes(entry))
      features[name] = parsed.feature[name].int64_list.value
  height, width = (features[name][0] if name in features else 0 for name in _NAMES)
  if height < 1 or width < 1:
    raise ValueError
  return height, width


def _entries(record: memoryview) -> Iterator[tuple[str, memoryview]]:
  """Names of the features, each with its serialized entry in the map."""
  # tf.Example has one field, Features, which has one field, its map.
  begin, end = _field(record, 0)
  while begin < end:
    entry_begin, entry_end = _field(record, begin)
    key_begin, key_end = _field(record, entry_begin)
    yield bytes(record[key_begin:key_end]).decode(), record[begin:entry_end]
    begin = entry_end


def _field(record: memoryview, begin: int) -> tuple[int, int]:
  """Returns begin and end of the content of the field that begins here.

  Raises:
    ValueError: it is not field 1, or has no length.
  """
  if record[begin] != _TAG:
    raise ValueError
  length = shift = 0
  for place in range(begin + 1, begin + 11):
    length |= (record[place] & 0x7F) << shift
    if record[place] < 0x80:
      return place + 1, place + 1 + length
    shift += 7
  raise ValueError
