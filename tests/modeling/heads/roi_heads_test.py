import tensorflow as tf

from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import roi_heads


class _Scale(base.Stage):
  """Twice its input, in training three times."""

  def call(self, inputs, training=False):
    return inputs * (3.0 if training else 2.0)


# Two crops of 1 x 2 cells and 2 channels, with means (2, 20) and (5, 50).
_CROPS = tf.constant([[[[1.0, 10.0], [3.0, 30.0]]], [[[4.0, 40.0], [6.0, 60.0]]]])


class CropClassifierTest(tf.test.TestCase):
  def test_logits_of_the_mean_over_the_crop(self):
    head = roi_heads.CropClassifier(_Scale(), 3)
    head(_CROPS)
    head.classifier.kernel.assign([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    head.classifier.bias.assign([0.0, 0.0, 100.0])
    self.assertAllClose(head(_CROPS), [[4.0, 40.0, 144.0], [10.0, 100.0, 210.0]])
    self.assertAllClose(head(_CROPS, training=True)[0], [6.0, 60.0, 166.0])
    self.assertAllClose(head.pool(_CROPS, training=False), [[4.0, 40.0], [10.0, 100.0]])

  def test_last_kernels_and_start(self):
    head = roi_heads.CropClassifier(_Scale(), 21)
    head(tf.zeros([1, 1, 1, 128]))
    (kernel,) = head.last_kernels
    self.assertEqual(kernel.shape, [128, 21])
    self.assertAllClose(tf.math.reduce_std(kernel), 0.0088, atol=5e-4)


class BoxHeadTest(tf.test.TestCase):
  def test_logits_and_a_code_for_each_class(self):
    head = roi_heads.BoxHead(_Scale(), 3)
    head(_CROPS)
    head.classifier.kernel.assign([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    head.classifier.bias.assign([0.0, 0.0, 100.0])
    # Number j of object class c is j + 10 c, plus the mean of channel 0.
    head.box.kernel.assign([[1.0] * 8, [0.0] * 8])
    head.box.bias.assign([j + 10.0 * c for c in (1, 2) for j in range(4)])
    logits, deltas = head(_CROPS)
    self.assertAllClose(logits, [[4.0, 40.0, 144.0], [10.0, 100.0, 210.0]])
    self.assertAllClose(deltas[0], [[14, 15, 16, 17], [24, 25, 26, 27]])
    self.assertAllClose(deltas[1], [[20, 21, 22, 23], [30, 31, 32, 33]])
    self.assertAllClose(head(_CROPS, training=True)[1][0, 0], [16, 17, 18, 19])

  def test_last_kernels(self):
    head = roi_heads.BoxHead(_Scale(), 5)
    head(_CROPS)
    self.assertEqual([tuple(k.shape) for k in head.last_kernels], [(2, 5), (2, 16)])
