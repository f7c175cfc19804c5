import numpy as np
import tensorflow as tf

from mtl_ssl_tf.modeling.heads import rpn_head


class RpnHeadTest(tf.test.TestCase):
  def test_anchors_go_cell_by_cell(self):
    # The hidden map repeats the input; the codes of anchor k add 10 k, and number j adds 100 j.
    head = rpn_head.RpnHead(anchors_per_cell=2, depth=1)
    features = tf.reshape(tf.range(1.0, 7.0), [1, 2, 3, 1])
    head(features)
    center = np.zeros([3, 3, 1, 1], np.float32)
    center[1, 1] = 1.0
    head.conv.kernel.assign(center)
    anchors, numbers = np.divmod(np.arange(8), 4)
    head.box.kernel.assign(np.ones([1, 1, 1, 8]))
    head.box.bias.assign(10.0 * anchors + 100.0 * numbers)
    head.objectness.kernel.assign(np.ones([1, 1, 1, 4]))
    head.objectness.bias.assign([0.0, 100.0, 10.0, 110.0])
    outputs = head(tf.concat([features, features + 1000.0], axis=0))
    expected = [
      [cell + 10 * k + 100 * j for j in range(4)] for cell in range(1, 7) for k in range(2)
    ]
    self.assertAllClose(outputs.deltas[0], expected)
    self.assertAllClose(outputs.logits[0], np.array(expected)[:, :2])
    self.assertAllClose(outputs.deltas[1], np.array(expected) + 1000)
    self.assertAllClose(outputs.features[0], features[0])

  def test_hidden_map_sees_its_neighbours_and_is_not_negative(self):
    head = rpn_head.RpnHead(anchors_per_cell=1, depth=2)
    features = tf.ones([1, 3, 3, 1])
    head(features)
    kernel = np.ones([3, 3, 1, 2], np.float32) * [1.0, -1.0]
    head.conv.kernel.assign(kernel)
    hidden = head(features).features[0]
    self.assertAllClose(hidden[..., 0], [[4, 6, 4], [6, 9, 6], [4, 6, 4]])
    self.assertAllClose(hidden[..., 1], tf.zeros([3, 3]))

  def test_kernels_that_decay(self):
    head = rpn_head.RpnHead(anchors_per_cell=3, depth=7)
    head(tf.zeros([1, 2, 2, 5]))
    shapes = [tuple(kernel.shape) for kernel in head.decayed_kernels]
    self.assertEqual(shapes, [(3, 3, 5, 7), (1, 1, 7, 12), (1, 1, 7, 6)])

  def test_starts_small(self):
    head = rpn_head.RpnHead(anchors_per_cell=12, depth=64)
    head(tf.zeros([1, 2, 2, 32]))
    for kernel in head.decayed_kernels:
      # A normal distribution of 0.01, cut at twice that.
      self.assertAllClose(tf.math.reduce_std(kernel), 0.0088, atol=5e-4)
