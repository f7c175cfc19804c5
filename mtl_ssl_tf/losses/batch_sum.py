"""Losses that are normalised over the whole batch, when each replica sees only its part of it."""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.ops import replica_ops


class BatchSum(NamedTuple):
  """A loss of the batch: a sum over its images, divided by a count over its images.

  Each replica has the sum and the count of its own images. The quotients must not be averaged: a
  replica with two positives would weigh as much as one with two hundred.

  Where a batch holds several views of its images, each view has a loss with a count of its own,
  and the whole is the sum of them.

  Attributes:
    total: float32 scalar, over this replica's images, or float32 [V], one for each of V views.
    count: of the same shape, of this replica's images; None is a sum that nothing divides.
    weight: of the loss among others.
  """

  total: tf.Tensor
  count: tf.Tensor | None = None
  weight: float | tf.Tensor = 1.0

  def weighted(self, weight: float) -> "BatchSum":
    """The same loss, `weight` times as large."""
    return self._replace(weight=weight * self.weight)

  def local_loss(self) -> tf.Tensor:
    """Returns the loss of this replica's images alone, a scalar; replicas exchange nothing."""
    count = 1.0 if self.count is None else tf.maximum(self.count, 1.0)
    return self.weight * tf.reduce_sum(self.total / count)

  def replica_loss(self) -> tf.Tensor:
    """A scalar of this replica, whose mean over replicas is the loss of the whole batch.

    It is 0 where the whole batch has nothing to count. Called on every replica at the same place,
    see `replica_ops.sum_over_replicas`.
    """
    loss = self.total
    if self.count is not None:
      loss /= tf.maximum(replica_ops.sum_over_replicas(tf.stop_gradient(self.count)), 1.0)
    num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if num_replicas > 1:
      loss *= num_replicas
    return self.weight * tf.reduce_sum(loss)


def sum_by_view(values: tf.Tensor, num_views: int) -> tf.Tensor:
  """Returns float32 [V], the sum over each of V equal parts of a batch, of values [B, ...]."""
  return tf.reduce_sum(tf.reshape(values, [num_views, -1]), axis=1)
