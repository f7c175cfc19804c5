"""Order of the records in training batches, as arithmetic without state.

Batches have running numbers from 0, and rows have places in their batch. A record is a function of
the seed and these two numbers. To resume a run is therefore to start counting there, and
each worker reads its own rows of every batch.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import tensorflow as tf

# Distance between the seeds of an order and its partners, larger than any count of runs.
_SEED_STEP = 1_000_003


class BatchOrder:
  """The endless sequence of batches over one bucket of records, or over two.

  A batch holds records of one bucket. A bucket's rows, one batch after the other, are its epochs:
  each epoch holds every record once, in an order of its own. Batches of two buckets alternate
  evenly, in proportion to their records, so that all records are seen equally often: after any
  number of batches, a bucket is less than one batch from its share.

  Attributes:
    global_batch_size: rows of a batch, those of all workers together.
    seed: of the order.
  """

  def __init__(self, buckets: Sequence[np.ndarray], global_batch_size: int, seed: int):
    """Keeps what the order follows from.

    Args:
      buckets: int64 [n] each, the numbers of the records; one or two, not all empty.
      global_batch_size: rows of a batch, those of all workers together.
      seed: of the order.
    """
    self._buckets = buckets
    self._records = np.concatenate(buckets)
    self._sizes = np.array([len(bucket) for bucket in buckets], np.int64)
    self._starts = np.cumsum(self._sizes) - self._sizes
    self.global_batch_size = global_batch_size
    self.seed = seed

  def partner(self, number: int) -> Self:
    """Another order of the same buckets, for records that go with those of this one.

    The partners of the rows of an epoch are each record of the bucket once, too. A record may be
    its own partner.

    Args:
      number: of the partner, from 0; each has an order of its own.
    """
    return type(self)(self._buckets, self.global_batch_size, self.seed + _SEED_STEP * (number + 1))

  def bucket(self, batch: tf.Tensor) -> tf.Tensor:
    """The bucket of a batch, int64; `batch` is int64."""
    return self._bucket_and_place(batch)[0]

  def record(self, batch: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """The number of the record in a row of a batch, int64; both are int64."""
    bucket, bucket_batch = self._bucket_and_place(batch)
    size = tf.gather(self._sizes, bucket)
    place = bucket_batch * self.global_batch_size + row  # In the endless sequence of the bucket.
    epoch, place = place // size, place % size
    stream = tf.stack([self.seed, epoch * len(self._sizes) + bucket])
    # `index_shuffle` makes much the same of seeds that lie close together; these are spread.
    seed = tf.random.stateless_uniform([2], stream, None, None, tf.uint32, alg="philox")
    shuffled = tf.random.experimental.index_shuffle(place, seed, size - 1)
    return tf.gather(self._records, tf.gather(self._starts, bucket) + shuffled)

  def _bucket_and_place(self, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The bucket of a batch, and how many batches of that bucket there were before."""
    num_records, num_first = len(self._records), self._sizes[0]
    # As many batches of the first bucket as are due, rounded down.
    num_before = batch * num_first // num_records
    is_first = (batch + 1) * num_first // num_records > num_before
    return (
      tf.where(is_first, tf.constant(0, tf.int64), 1),
      tf.where(is_first, num_before, batch - num_before),
    )
