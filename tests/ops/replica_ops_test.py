"""Where there is one replica or none; several: see tests/tasks/replicas_test.py."""

import tensorflow as tf

from mtl_ssl_tf.ops import replica_ops


class ReplicaOpsTest(tf.test.TestCase):
  def test_a_single_replica_has_it_all(self):
    value = tf.constant([1.0, 2.0])
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    for reduce in (replica_ops.sum_over_replicas, replica_ops.mean_over_replicas):
      self.assertIs(reduce(value), value)
      self.assertAllEqual(strategy.run(reduce, (value,)), value)
      with strategy.scope():  # Code that sees all replicas at once.
        self.assertIs(reduce(value), value)
