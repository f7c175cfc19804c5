"""On one replica; several: see tests/tasks/replicas_test.py."""

import tensorflow as tf

from mtl_ssl_tf.losses import batch_sum


class BatchSumTest(tf.test.TestCase):
  def test_mean(self):
    loss = batch_sum.BatchSum(tf.constant(6.0), tf.constant(4.0))
    self.assertAllEqual(loss.replica_loss(), 1.5)
    self.assertAllEqual(loss.weighted(3.0).weighted(0.5).replica_loss(), 2.25)

  def test_nothing_to_count_is_no_loss(self):
    self.assertAllEqual(batch_sum.BatchSum(tf.constant(0.0), tf.constant(0.0)).replica_loss(), 0.0)

  def test_sum_without_divisor(self):
    self.assertAllEqual(batch_sum.BatchSum(tf.constant(6.0)).weighted(0.5).replica_loss(), 3.0)

  def test_views_have_counts_of_their_own(self):
    loss = batch_sum.BatchSum(tf.constant([6.0, 6.0, 0.0]), tf.constant([4.0, 2.0, 0.0]))
    self.assertAllEqual(loss.weighted(2.0).replica_loss(), 9.0)
    self.assertAllEqual(loss.local_loss(), 4.5)

  def test_sum_by_view(self):
    values = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    self.assertAllEqual(batch_sum.sum_by_view(values, 2), [10.0, 26.0])
    self.assertAllEqual(batch_sum.sum_by_view(values, 1), [36.0])

  def test_the_count_learns_nothing(self):
    value = tf.Variable(2.0)
    with tf.GradientTape() as tape:
      loss = batch_sum.BatchSum(3.0 * value, 2.0 * value).replica_loss()
    self.assertAllEqual(tape.gradient(loss, value), 0.75)
