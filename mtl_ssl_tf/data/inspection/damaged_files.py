"""The records of a TFRecord file, one by one, past those that are damaged.

TensorFlow's own reader stops at the first damage. A record is its length (8 bytes), a checksum of
the length (4), the content, and a checksum of the content (4): where the length is sound, a damaged
content hides nothing else; where it is not, the next sound length is searched for.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow.python.lib.io import tf_record  # It alone reads at an offset and checks the sums.

from mtl_ssl_tf.data.inspection import checks
from mtl_ssl_tf.data.records import index as record_index

_LENGTH_BYTES, _HEADER_BYTES, _FOOTER_BYTES = 8, 12, 4
_CHUNK_BYTES = 2**20
_SEARCHED_BYTES = 64 * 2**20  # How far the next sound length is searched for.
_POLYNOMIAL = 0x82F63B78  # CRC-32C, bits reversed.
_MASK_DELTA = 0xA282EAD8


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
  """One record, or what is known of it.

  Attributes:
    file: name of the record file, without folders.
    number: place in the file, from 0, damaged ones included.
    end: offset in the file of what follows.
    content: None where it is damaged.
    fault: what the damage is.
    folder: of the record file.
  """

  file: str
  number: int
  end: int
  content: bytes | None
  fault: checks.Finding | None = None
  folder: str = ""


class RecordFile:
  """A TFRecord file, local or of any file system that TensorFlow knows."""

  def __init__(self, path: str):
    """Opens the file.

    Raises:
      tf.errors.OpError: it cannot be read.
    """
    self._path = path
    self._folder, self._name = os.path.split(path)
    self.size = tf.io.gfile.stat(path).length
    self._reader = tf_record.tf_record_random_reader(path)

  def __iter__(self) -> Iterator[Record]:
    """All records in order, damaged ones included."""
    number = offset = 0
    while offset < self.size:
      record = self.read(offset, number)
      yield record
      number, offset = number + 1, record.end

  def read(self, offset: int, number: int) -> Record:
    """The record that begins at an offset, whose number is known."""

    def damaged(end: int, kind: str, value: str, accepted: str) -> Record:
      fault = checks.Finding(kind, checks.FAULT, self._name, "framing", value, accepted, number)
      return Record(self._name, number, end, None, fault, self._folder)

    try:
      content, end = self._reader.read(offset)
      return Record(self._name, number, end, content, folder=self._folder)
    except (
      tf.errors.DataLossError,
      tf.errors.OutOfRangeError,
      tf.errors.InvalidArgumentError,  # A length of 2^63 and more.
      IndexError,
    ):
      pass  # It does not say what is damaged.
    with record_index.open_file(self._path) as file:
      file.seek(offset)
      header = file.read(_HEADER_BYTES)
      if len(header) < _HEADER_BYTES:
        value = f"the file ends after {len(header)} bytes of its {_HEADER_BYTES} bytes of header"
        return damaged(self.size, "cut_short", value, "a whole file")
      length = _sound_length(header)
      if length is not None:
        start = offset + _HEADER_BYTES
        end = start + length + _FOOTER_BYTES
        if end > self.size:
          value = f"the file ends after {self.size - start} bytes of its {length} bytes of content"
          return damaged(self.size, "cut_short", value, "a whole file")
        value = "the checksum of its content does not match"
        return damaged(end, "damaged_content", value, "the bytes that were written")
      end = self._next_header(file, offset + 1)
    if end is None and number == 0:
      value = "the file does not begin like one of records"
      return damaged(self.size, "not_a_tfrecord", value, "a TFRecord file, not compressed")
    value = "the checksum of its length does not match; "
    value += (
      f"the {self.size - offset} bytes from here to the end of the file cannot be read"
      if end is None
      else f"{end - offset} bytes are passed over to where the next record begins"
    )
    return damaged(end or self.size, "damaged_length", value, "the bytes that were written")

  def offsets(self) -> Iterator[int]:
    """Yields the offset of each record, by the lengths alone; damaged ones are included.

    The last is one that does not end in the file, if there is such a one.
    """
    offset = 0
    with record_index.open_file(self._path) as file:
      while offset < self.size:
        yield offset
        file.seek(offset)
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        offset += _HEADER_BYTES + length + _FOOTER_BYTES

  def _next_header(self, file, offset: int) -> int | None:
    """The first place from `offset` on where a length stands with its checksum, or None."""
    last = min(offset + _SEARCHED_BYTES, self.size - _HEADER_BYTES - _FOOTER_BYTES + 1)
    for begin in range(offset, last, _CHUNK_BYTES):
      file.seek(begin)
      chunk = np.frombuffer(file.read(_CHUNK_BYTES + _HEADER_BYTES - 1), np.uint8)
      for place in np.flatnonzero(_are_headers(chunk)):
        length = int.from_bytes(chunk[place : place + _LENGTH_BYTES].tobytes(), "little")
        if begin + int(place) + _HEADER_BYTES + length + _FOOTER_BYTES <= self.size:
          return begin + int(place)
    return None


def _sound_length(header: bytes) -> int | None:
  """The length that a record's header states, or None where its checksum does not match."""
  if len(header) < _HEADER_BYTES or not _are_headers(np.frombuffer(header, np.uint8))[0]:
    return None
  return int.from_bytes(header[:_LENGTH_BYTES], "little")


def _are_headers(content: np.ndarray) -> np.ndarray:
  """Whether a header begins at each place of a piece of a file.

  Args:
    content: uint8 [n + 11].

  Returns:
    bool [n].
  """
  n = len(content) - _HEADER_BYTES + 1
  crc = np.full([n], 0xFFFFFFFF, np.uint32)
  for i in range(_LENGTH_BYTES):
    crc = _crc_table()[(crc ^ content[i : i + n]) & 0xFF] ^ (crc >> 8)
  crc = ~crc
  masked = ((crc >> 15) | (crc << 17)) + np.uint32(_MASK_DELTA)
  stored = sum(content[_LENGTH_BYTES + i :][:n].astype(np.uint32) << (8 * i) for i in range(4))
  return masked == stored


@functools.cache
def _crc_table() -> np.ndarray:
  """uint32 [256], the checksum's remainder of each byte."""
  table = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
  return table
