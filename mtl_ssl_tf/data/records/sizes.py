"""The sizes of the images in records, without reading the images."""

import functools

import numpy as np
import tensorflow as tf
from google.protobuf import message

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import features
from mtl_ssl_tf.data.records import index as record_index

_NAMES = (schema.IMAGE_HEIGHT, schema.IMAGE_WIDTH)


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
  for number, record in enumerate(features.contents(path)):
    try:
      sizes.append(_size(record))
    except (message.DecodeError, ValueError, IndexError) as error:
      raise ValueError(
        f"{path}: record {number} has no {' and '.join(_NAMES)} above 0; accepted with"
        " input_layout by_orientation: records that state them"
      ) from error
  return np.array(sizes, np.int64).reshape([-1, 2])


def _size(record: memoryview) -> tuple[int, int]:
  """Height and width of a record's image.

  Raises:
    message.DecodeError, ValueError, IndexError: the record is no tf.Example, or has none.
  """
  sides = {}
  for name, entry in features.entries(record):
    if name in _NAMES:
      parsed = tf.train.Features.FromString(bytes(entry))
      sides[name] = parsed.feature[name].int64_list.value
  height, width = (sides[name][0] if name in sides else 0 for name in _NAMES)
  if height < 1 or width < 1:
    raise ValueError
  return height, width
