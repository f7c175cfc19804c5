"""Random orders of the rows of a batch, over replicas too, and the way back.

order = random_order(num_rows, seed)
values = take_rows(values, order)            rows of all replicas, mixed; as many for each
values = take_rows(values, inverse(order))   each row back on its own replica, at its own place
"""

import tensorflow as tf

from mtl_ssl_tf.ops import replica_ops


def random_order(num_rows: int, seed: tf.Tensor) -> tf.Tensor:
  """Returns int32 [num_rows], each row once; `seed` is int32 [2] and stateless."""
  # The generator is named because the default one differs between devices, and integers are drawn
  # because compiled code makes other fractions of the same bits.
  keys = tf.random.stateless_uniform(
    [num_rows], seed, minval=0, maxval=2**31 - 1, dtype=tf.int32, alg="philox"
  )
  return tf.argsort(keys, stable=True)


def inverse(order: tf.Tensor) -> tf.Tensor:
  """Returns int32 [N], the order that undoes an order [N]."""
  # XLA inverts no order that is not constant, but sorts any.
  return tf.argsort(order, stable=True)


def take_rows(values: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
  """This replica's share of the rows of all replicas in another order.

  Called on every replica at the same place, see `replica_ops.sum_over_replicas`.

  Args:
    values: [B, ...] of this replica.
    order: int32 [N], the same on every replica, N = B x replicas: row i of the result is row
      `order[i]` of all.

  Returns:
    [B, ...].
  """
  return tf.gather(replica_ops.gather_rows(values), replica_ops.own_rows(order))
