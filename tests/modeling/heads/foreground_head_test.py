import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.modeling.heads import foreground_head


class ForegroundHeadTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(("linear", [3.0, -3.0]), ("tanh", np.tanh([3.0, -3.0])))
  def test_logits_of_each_cell(self, activation, expected):
    head = foreground_head.ForegroundHead("conv1x1", activation)
    features = tf.constant([[[[1.0, 0.0], [2.0, 1.0]]]])  # [1, 1, 2, 2]
    head(features)
    head.conv.kernel.assign([[[[1.0, -1.0], [1.0, -1.0]]]])
    self.assertAllClose(head(features)[0, 0, 1], expected)
    self.assertEqual(head(features).shape, [1, 1, 2, 2])

  @parameterized.parameters(("conv1x1", 1), ("conv3x3", 3))
  def test_kernel_size(self, name, size):
    head = foreground_head.ForegroundHead(name, "linear")
    self.assertEqual(head(tf.zeros([1, 4, 5, 7])).shape, [1, 4, 5, 2])
    (kernel,) = head.last_kernels
    self.assertEqual(kernel.shape, [size, size, 7, 2])

  @parameterized.parameters(
    ("conv5x5", "linear", "^head is 'conv5x5'; accepted: conv1x1, conv3x3$"),
    ("conv1x1", "relu", "^logit_activation is 'relu'; accepted: linear, tanh$"),
  )
  def test_unknown_kinds(self, head, activation, message):
    with self.assertRaisesRegex(ValueError, message):
      foreground_head.ForegroundHead(head, activation)

  def test_starts_small(self):
    head = foreground_head.ForegroundHead("conv3x3", "linear")
    head(tf.zeros([1, 1, 1, 100]))
    self.assertAllClose(tf.math.reduce_std(head.conv.kernel), 0.0088, atol=5e-4)
