"""Index of the records in TFRecord files, so that any record can be read by its number.

A TFRecord is its length (8 bytes), a checksum of that (4), the content, and a checksum of the
content (4). Going from header to header finds all records without reading their contents.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.reading import regular_files

_HEADER_BYTES, _FOOTER_BYTES = 12, 4
# One request is to fetch most records of a remote file whole; a local one is read without waste.
_REMOTE_BUFFER_BYTES = 2**18


@dataclasses.dataclass(frozen=True)
class RecordIndex:
  """The places of n records, which count through all files, from 0.

  Attributes:
    paths: the files.
    file_numbers: int64 [n], each record's file.
    offsets: int64 [n], where the record begins there, with its header.
  """

  paths: tuple[str, ...]
  file_numbers: np.ndarray
  offsets: np.ndarray

  def __len__(self) -> int:
    return len(self.offsets)

  def read(self, record: tf.Tensor) -> tf.Tensor:
    """The content of a record, a string, by its number; a graph's operation.

    Nothing else of the file is read. A checksum that does not match is an error.
    """
    path = tf.gather(tf.constant(self.paths), tf.gather(self.file_numbers, record))
    remote = any(map(is_remote, self.paths))
    records = tf.raw_ops.TFRecordDatasetV2(
      filenames=path[tf.newaxis],
      compression_type="",
      buffer_size=tf.constant(_REMOTE_BUFFER_BYTES if remote else 0, tf.int64),
      byte_offsets=tf.gather(self.offsets, record)[tf.newaxis],
    )
    dataset = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
    return dataset.take(1).get_single_element()

  def read_all(self) -> tf.Tensor:
    """The contents of all records, string [n]."""
    return tf.data.TFRecordDataset(self.paths).batch(len(self)).get_single_element()


def scan(paths: Sequence[str]) -> RecordIndex:
  """The index of some files.

  Local files are indexed by the headers alone, 100,000 records in about a second. Of a remote file
  nearly everything is fetched, once in the life of the process.

  Raises:
    ValueError: a file is no TFRecord file or is cut short.
  """
  offsets = [_offsets(path, file_version(path)) for path in paths]
  return RecordIndex(
    paths=tuple(paths),
    file_numbers=np.repeat(np.arange(len(paths)), [len(of_file) for of_file in offsets]),
    offsets=np.concatenate(offsets),
  )


def record_spans(path: str) -> Iterator[tuple[int, int]]:
  """Yields start and length of each record's content, from the headers alone.

  Raises:
    ValueError: the file is no TFRecord file or is cut short.
  """
  file_length = tf.io.gfile.stat(path).length
  header_start = 0
  with open_file(path) as file:
    for number in itertools.count():
      if header_start == file_length:
        return
      file.seek(header_start)
      header = file.read(_HEADER_BYTES)
      start = header_start + _HEADER_BYTES
      length = int.from_bytes(header[:8], "little")
      header_start = start + length + _FOOTER_BYTES
      if header_start > file_length:
        what = f"is cut short in record {number}" if number else "is no TFRecord file or cut short"
        raise ValueError(f"{path}: {what}; its length is {file_length} bytes")
      yield start, length


def is_remote(path: str) -> bool:
  """Whether a file lies on another machine, where reading here and there is slow."""
  return "://" in path


def open_file(path: str) -> BinaryIO | tf.io.gfile.GFile:
  """The file for reading here and there; a plain local one, as GFile reads far ahead."""
  if is_remote(path):
    return tf.io.gfile.GFile(path, "rb")
  return regular_files.open_file(path, buffering=0)


def file_version(path: str) -> tuple[int, int]:
  """Another value when the file has changed."""
  stat = tf.io.gfile.stat(path)
  return stat.length, stat.mtime_nsec


@functools.lru_cache(maxsize=4096)
def _offsets(path: str, version: tuple[int, int]) -> np.ndarray:
  """int64 [n], where the records of a file begin; `version` keeps the answer up to date."""
  del version
  spans = record_spans(path)
  return np.fromiter((start - _HEADER_BYTES for start, _ in spans), np.int64)
