"""Tests of reading record files past every kind of damage."""

import gzip
import struct

import pytest
import tensorflow as tf

from mtl_ssl_tf.data.inspection import damaged_files
from tests.fuzz import framing

# Contents of these lengths, each framed by 12 bytes before it and 4 behind.
_CONTENTS = [b"a" * 10, b"b" * 20, b"", b"c" * 30]
_STARTS = [0, 26, 62, 78]
_SIZE = 124


@pytest.fixture(name="content")
def _content(tmp_path) -> bytearray:
  """The bytes of a sound file of `_CONTENTS`."""
  path = str(tmp_path / "sound.tfrecord")
  with tf.io.TFRecordWriter(path) as writer:
    for content in _CONTENTS:
      writer.write(content)
  with open(path, "rb") as file:
    return bytearray(file.read())


def _open(tmp_path, content: bytes) -> damaged_files.RecordFile:
  (tmp_path / "x.tfrecord").write_bytes(content)
  return damaged_files.RecordFile(str(tmp_path / "x.tfrecord"))


def _read(tmp_path, content: bytes) -> list[tuple[int, bytes | None, str]]:
  """Number, content and fault of each record, checked to be numbered without gaps."""
  records = list(_open(tmp_path, content))
  assert [record.number for record in records] == list(range(len(records)))
  assert all((record.content is None) == (record.fault is not None) for record in records)
  return [
    (
      record.content,
      "" if record.fault is None else f"{record.fault.kind}: {record.fault}".split("; acc")[0],
    )
    for record in records
  ]


def _sound(*contents: bytes) -> list[tuple[bytes, str]]:
  return [(content, "") for content in contents]


def test_sound_file(tmp_path, content):
  assert len(content) == _SIZE
  assert _read(tmp_path, content) == _sound(*_CONTENTS)
  file = _open(tmp_path, content)
  assert list(file.offsets()) == _STARTS
  record = file.read(78, 3)
  assert (record.content, record.end, record.file) == (b"c" * 30, _SIZE, "x.tfrecord")


def test_empty_file(tmp_path):
  assert _read(tmp_path, b"") == []


@pytest.mark.parametrize("place", [26 + 12, 26 + 12 + 19, 26 + 12 + 20, 61])
def test_a_flipped_bit_in_content_or_its_checksum_costs_one_record(tmp_path, content, place):
  content[place] ^= 1
  fault = (
    "damaged_content: x.tfrecord, record 1: framing: the checksum of its content does not match"
  )
  assert _read(tmp_path, content) == [
    *_sound(b"a" * 10),
    (None, fault),
    *_sound(b"", b"c" * 30),
  ]
  assert list(_open(tmp_path, content).offsets()) == _STARTS


@pytest.mark.parametrize("place", [26, 33, 34, 37])
def test_a_flipped_bit_in_length_or_its_checksum_costs_one_record(tmp_path, content, place):
  content[place] ^= 64
  fault = (
    "damaged_length: x.tfrecord, record 1: framing: the checksum of its length does not match;"
    " 36 bytes are passed over to where the next record begins"
  )
  assert _read(tmp_path, content) == [
    *_sound(b"a" * 10),
    (None, fault),
    *_sound(b"", b"c" * 30),
  ]


def test_offsets_end_where_a_record_does_not_end_in_the_file(tmp_path, content):
  assert list(_open(tmp_path, content[:-1]).offsets()) == _STARTS
  assert list(_open(tmp_path, content[: 78 + 5]).offsets()) == _STARTS
  content[26] ^= 64  # 84 bytes for 20.
  assert list(_open(tmp_path, content).offsets()) == [0, 26]


def test_the_first_length_damaged(tmp_path, content):
  content[0] ^= 1
  read = _read(tmp_path, content)
  assert read[0][1].startswith("damaged_length: x.tfrecord, record 0: framing: ")
  assert read[1:] == _sound(*_CONTENTS[1:])


def test_the_last_length_damaged(tmp_path, content):
  content[78] ^= 1
  read = _read(tmp_path, content)
  assert read[:3] == _sound(*_CONTENTS[:3])
  assert [fault.split("; ")[1] for _, fault in read[3:]] == [
    "the 46 bytes from here to the end of the file cannot be read"
  ]


@pytest.mark.parametrize(
  ("size", "what"),
  [
    (_SIZE - 1, "the file ends after 33 bytes of its 30 bytes of content"),
    (_SIZE - 10, "the file ends after 24 bytes of its 30 bytes of content"),
    (78 + 12, "the file ends after 0 bytes of its 30 bytes of content"),
    (78 + 11, "the file ends after 11 bytes of its 12 bytes of header"),
    (78 + 1, "the file ends after 1 bytes of its 12 bytes of header"),
  ],
)
def test_cut_short(tmp_path, content, size, what):
  read = _read(tmp_path, content[:size])
  assert read == [
    *_sound(*_CONTENTS[:3]),
    (None, f"cut_short: x.tfrecord, record 3: framing: {what}"),
  ]


@pytest.mark.parametrize("length", [2**63, 2**64 - 16])
def test_a_length_that_no_file_has(tmp_path, content, length):
  # Its checksum is right; TensorFlow takes it for negative.
  header = struct.pack("<Q", length)
  found = _read(tmp_path, content[:26] + header + framing.masked_crc(header) + b"x" * 9)
  assert [record[0] for record in found] == [_CONTENTS[0], None]
  assert found[1][1].endswith(f"the file ends after 9 bytes of its {length} bytes of content")


@pytest.mark.parametrize("pack", [lambda _: b"<html>" + b" " * 100, gzip.compress])
def test_no_record_file(tmp_path, content, pack):
  fault = (
    "not_a_tfrecord: x.tfrecord, record 0: framing: the file does not begin like one of records"
  )
  assert _read(tmp_path, pack(bytes(content))) == [(None, fault)]


def test_a_length_is_looked_for_across_the_borders_of_chunks(tmp_path, content, monkeypatch):
  content[26] ^= 1
  for size in range(1, 40):
    monkeypatch.setattr(damaged_files, "_CHUNK_BYTES", size)
    assert [content for content, _ in _read(tmp_path, content)] == [b"a" * 10, None, b"", b"c" * 30]


def test_a_length_that_leads_out_of_the_file_is_not_gone_by(tmp_path, content):
  # What looks like the next record is the header of one that was cut off.
  header = bytes(content[78:90])
  content[26] ^= 1
  content[40:52] = header
  assert [content for content, _ in _read(tmp_path, content[:85])] == [b"a" * 10, None, b"", None]


def test_missing_file():
  with pytest.raises(tf.errors.OpError):
    damaged_files.RecordFile("/nowhere/x.tfrecord")
