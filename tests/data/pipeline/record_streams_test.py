"""A worker's records in order, with their running numbers."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import batch_order, record_streams
from mtl_ssl_tf.data.records import index as record_index
from tests import fixtures

CONTENTS = [b"a", b"b", b"c", b"d", b"e"]
WORKER = tf.distribute.InputContext(2, 1, 2)


@pytest.fixture(name="path")
def _path(tmp_path):
  return fixtures.write_records(tmp_path / "a.tfrecord", CONTENTS)


def elements(stream, count):
  """Numbers, buckets and contents of the first elements."""
  return [list(values) for values in zip(*stream.take(count).as_numpy_iterator(), strict=True)]


@pytest.mark.parametrize("cache", [False, True])
def test_training_numbers_the_rows_of_all_workers(path, cache):
  index = record_index.scan([path])
  order = batch_order.BatchOrder([np.arange(5)], 4, seed=0)
  read_record = record_streams.record_reader(index, cache)
  stream = record_streams.training(read_record, order, 2, [3], WORKER)
  numbers, buckets, contents = elements(stream, 4)
  # Rows 2 and 3 of batch 2, and of batch 4.
  assert numbers == [10, 11, 18, 19]
  assert buckets == [0] * 4
  records = [order.record(tf.constant(n // 4, tf.int64), n % 4) for n in numbers]
  assert contents == [CONTENTS[int(record)] for record in records]


@pytest.mark.parametrize("cache", [False, True])
def test_evaluation_takes_the_files_in_order(path, cache):
  stream = record_streams.evaluation([path], 4, cache, WORKER)
  # Of 0 1 2 3 | 4 - - -, the second worker's.
  assert elements(stream, 9) == [[1, 3, -1, -1], [0] * 4, [b"b", b"d", b"", b""]]


@pytest.mark.parametrize("cache", [False, True])
def test_evaluation_takes_bucket_after_bucket(path, cache):
  index = record_index.scan([path])
  buckets = [np.array([0, 3, 4]), np.array([1, 2])]
  stream = record_streams.evaluation_in_buckets(
    index, buckets, 2, cache, tf.distribute.InputContext()
  )
  assert elements(stream, 9) == [
    [0, 3, 4, -1, 1, 2],
    [0, 0, 0, 0, 1, 1],
    [b"a", b"d", b"e", b"", b"b", b"c"],
  ]
