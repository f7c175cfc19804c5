"""Sums and means over the replicas of a `tf.distribute` strategy.

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


def _reduce(op: tf.distribute.ReduceOp, value: tf.Tensor) -> tf.Tensor:
  context = tf.distribute.get_replica_context()  # None where code sees all replicas at once.
  if context is None or context.num_replicas_in_sync == 1:
    return value
  return context.all_reduce(op, value)
