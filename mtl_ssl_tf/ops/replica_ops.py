"""Sums and means over the replicas of a `tf.distribute` strategy, and the rows of all of them.

With one replica, and outside of a replica's code, a value is returned as it is.
"""

import tensorflow as tf


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
  """The sum of every replica's `value`, the same on each of them.

  Not inside a function with `jit_compile=True`, unless the replicas are those of a TPU: XLA
  compiles each replica's program by itself, and on CPU and GPU they cannot wait for each other.
  """
  return _reduce(tf.distribute.ReduceOp.SUM, value)


def mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
  """The mean of every replica's `value`; see `sum_over_replicas`."""
  return _reduce(tf.distribute.ReduceOp.MEAN, value)


def gather_rows(values: tf.Tensor) -> tf.Tensor:
  """The rows of all replicas, those of the first one first; see `sum_over_replicas`.

  Args:
    values: [B, ...], of the same static shape on each replica.

  Returns:
    [N, ...] of the same type, N the rows of all replicas.
  """
  context = tf.distribute.get_replica_context()
  if context is None or context.num_replicas_in_sync == 1:
    return values
  row = values.shape[1:]
  shape = [values.shape[0] * context.num_replicas_in_sync, *row]  # Which gathering forgets.
  if values.dtype != tf.uint8:
    return tf.ensure_shape(context.all_gather(values, axis=0), shape)
  # Collectives of GPUs know no bytes, but four of them are a number that they know.
  if row.num_elements() % 4:
    numbers = context.all_gather(tf.cast(values, tf.int32), axis=0)
    return tf.ensure_shape(tf.cast(numbers, tf.uint8), shape)
  numbers = tf.bitcast(tf.reshape(values, [values.shape[0], -1, 4]), tf.int32)  # [B, row / 4]
  numbers = context.all_gather(numbers, axis=0)  # [N, row / 4]
  return tf.reshape(tf.bitcast(numbers, tf.uint8), shape)


def own_rows(values: tf.Tensor) -> tf.Tensor:
  """This replica's share of the rows [N, ...] that all replicas have; with `gather_rows` undone."""
  context = tf.distribute.get_replica_context()
  if context is None or context.num_replicas_in_sync == 1:
    return values
  share = values.shape[0] // context.num_replicas_in_sync
  first = context.replica_id_in_sync_group * share
  size = [share, *values.shape[1:]]
  return tf.slice(values, [first, *[0] * (len(size) - 1)], size)


def _reduce(op: tf.distribute.ReduceOp, value: tf.Tensor) -> tf.Tensor:
  context = tf.distribute.get_replica_context()  # None where code sees all replicas at once.
  if context is None or context.num_replicas_in_sync == 1:
    return value
  return context.all_reduce(op, value)
