"""A worker's records, one after the other, in the order in which they make up batches.

A stream's elements are the record's number, the bucket of its batch, both int64, and its content.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import batch_order
from mtl_ssl_tf.data.records import index as record_index

BLANK = -1


def worker_rows(global_batch_size: int, context: tf.distribute.InputContext) -> range:
  """The rows of each training batch that are a worker's."""
  begin, end = (
    (context.input_pipeline_id + more) * global_batch_size // context.num_input_pipelines
    for more in (0, 1)
  )
  return range(begin, end)


def record_reader(index: record_index.RecordIndex, cache: bool) -> Callable[[tf.Tensor], tf.Tensor]:
  """Returns a function from a record's number to its content, read from the files or `cache`d."""
  if not cache:
    return index.read
  contents = index.read_all()
  return lambda record: tf.gather(contents, record)


def training(
  read_record: Callable[[tf.Tensor], tf.Tensor],
  order: batch_order.BatchOrder,
  first_batch: int,
  skipped_batches: Sequence[int],
  context: tf.distribute.InputContext,
) -> tf.data.Dataset:
  """The worker's rows of the batches of an order, one batch after the other, without end.

  The number is that of the row in the endless sequence of all workers' rows, from 0, with the
  batches that are left out counted.

  Args:
    read_record: from a record's number to its content, see `record_reader`.
    order: which records make up each batch.
    first_batch, skipped_batches: see `reader.make_dataset`.
    context: which worker this is.
  """
  global_batch_size = order.global_batch_size
  batches = tf.data.Dataset.range(first_batch, tf.int64.max)
  if skipped_batches:
    skipped = tf.constant(list(skipped_batches), tf.int64)
    batches = batches.filter(lambda batch: tf.reduce_all(batch != skipped))
  rows = worker_rows(global_batch_size, context)
  of_batch = tf.data.Dataset.range(rows.start, rows.stop)
  rows = batches.flat_map(lambda batch: of_batch.map(lambda row: (batch, row)))

  def read(batch, row):
    content = read_record(order.record(batch, row))
    return batch * global_batch_size + row, order.bucket(batch), content

  return rows.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def evaluation(
  files: Sequence[str],
  global_batch_size: int,
  cache: bool,
  context: tf.distribute.InputContext,
) -> tf.data.Dataset:
  """The worker's records in the order of the files, once, all of one bucket.

  The number is the record's place in the files, from 0. Blanks, whose place is `BLANK`, fill up the
  last global batch before the workers take their rows.
  """
  records = tf.data.TFRecordDataset(list(files)).enumerate()
  blank = (tf.constant(BLANK, tf.int64), "")
  blanks = tf.data.Dataset.from_tensors(blank).repeat(global_batch_size - 1)
  # Blanks that would begin another batch fall away with the remainder.
  records = records.concatenate(blanks).batch(global_batch_size, drop_remainder=True).unbatch()
  records = records.shard(context.num_input_pipelines, context.input_pipeline_id)
  records = records.map(lambda number, content: (number, tf.constant(0, tf.int64), content))
  return records.cache() if cache else records


def evaluation_in_buckets(
  index: record_index.RecordIndex,
  buckets: Sequence[np.ndarray],
  global_batch_size: int,
  cache: bool,
  context: tf.distribute.InputContext,
) -> tf.data.Dataset:
  """As `evaluation`, one bucket after the other; blanks fill up the last batch of each."""
  numbers, of_bucket = [], []
  for bucket, records in enumerate(buckets):
    blanks = np.full([-len(records) % global_batch_size], BLANK, np.int64)
    numbers += [records, blanks]
    of_bucket.append(np.full([len(records) + len(blanks)], bucket, np.int64))
  rows = tf.data.Dataset.from_tensor_slices((np.concatenate(numbers), np.concatenate(of_bucket)))
  rows = rows.shard(context.num_input_pipelines, context.input_pipeline_id)

  def read(number, bucket):
    content = tf.cond(number >= 0, lambda: index.read(number), lambda: tf.constant(""))
    return number, bucket, content

  records = rows.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  return records.cache() if cache else records
