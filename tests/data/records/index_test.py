"""Records are found and read by their number."""

import os

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data.records import index as record_index
from tests import fixtures

CONTENTS = [b"a", b"", b"longer", b"d"]


@pytest.fixture(name="paths")
def _paths(tmp_path):
  """Two files with three records and one, and an empty one between them."""
  parts = (CONTENTS[:3], [], CONTENTS[3:])
  return [
    fixtures.write_records(str(tmp_path / f"{i}.tfrecord"), part) for i, part in enumerate(parts)
  ]


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_records_of_all_files(paths, prefix):
  index = record_index.scan([prefix + path for path in paths])
  assert len(index) == 4
  np.testing.assert_array_equal(index.file_numbers, [0, 0, 0, 2])
  # Each record's content, and 16 bytes more.
  np.testing.assert_array_equal(index.offsets, [0, 17, 33, 0])
  assert [index.read(tf.constant(i)).numpy() for i in range(4)] == CONTENTS
  assert list(index.read_all().numpy()) == CONTENTS


def test_reads_in_a_graph(paths):
  index = record_index.scan(paths)
  dataset = tf.data.Dataset.from_tensor_slices([3, 0, 2]).map(index.read)
  assert list(dataset.as_numpy_iterator()) == [CONTENTS[i] for i in (3, 0, 2)]


def test_a_file_that_has_changed_is_indexed_again(paths):
  assert len(record_index.scan(paths)) == 4
  fixtures.write_records(paths[1], [b"new"])
  assert len(record_index.scan(paths)) == 5


def test_only_what_is_read_is_checked(paths):
  with open(paths[0], "r+b") as file:
    file.seek(33 + 12)
    file.write(b"L")  # "Longer", with the checksum of "longer".
  index = record_index.scan(paths)
  assert index.read(tf.constant(0)).numpy() == CONTENTS[0]
  with pytest.raises(tf.errors.DataLossError):
    index.read(tf.constant(2))


def test_cut_short(paths):
  os.truncate(paths[0], os.path.getsize(paths[0]) - 1)
  with pytest.raises(ValueError, match=r"0\.tfrecord: is cut short in record 2; its length is 54"):
    record_index.scan(paths)
