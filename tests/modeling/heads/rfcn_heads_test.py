import numpy as np
import tensorflow as tf

from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import pooling, rfcn_heads


class _Scale(base.Stage):
  """Twice its input, in training three times."""

  def call(self, inputs, training=False):
    return inputs * (3.0 if training else 2.0)


_POOLER = pooling.PsRoiPooler(stride=16, num_bins=2, crop_size=4)
# Two images of constant maps; a region of each image's own.
_FEATURES = tf.constant([1.0, 10.0])[:, tf.newaxis, tf.newaxis, tf.newaxis] * tf.ones([1, 4, 4, 3])
_BOXES = tf.constant([[[0.0, 0.0, 0.5, 0.5]], [[0.2, 0.2, 0.8, 0.8]]])


def _run(head, features=_FEATURES, training=False):
  prepared = head.prepare(features, training)
  return head(prepared, _BOXES, tf.constant([[64.0, 64.0]] * 2), training)


def _built(kind, num_classes):
  head = kind(_Scale(), num_classes, _POOLER, reduce_depth=2)
  head.prepare(_FEATURES)
  # The reduced map is twice the sum of the input's channels, less 1, in its first channel.
  head.reduce.kernel.assign(np.array([[[[1.0, 0.0]] * 3]], np.float32))
  head.reduce.bias.assign([-1.0, 0.0])
  return head


class MapClassifierTest(tf.test.TestCase):
  def test_logits(self):
    head = _built(rfcn_heads.MapClassifier, 2)
    # Class 0 sees the reduced map in all bins, class 1 in the last one alone.
    kernel = np.zeros([1, 1, 2, 8], np.float32)
    kernel[0, 0, 0, ::2] = 1.0
    kernel[0, 0, 0, 7] = 1.0
    head.classifier.kernel.assign(kernel)
    head.classifier.bias.assign([0.0, 1.0] * 4)
    # 2 · 3 - 1 = 5 and 2 · 30 - 1 = 59.
    self.assertAllClose(_run(head), [[[5.0, 2.25]], [[59.0, 15.75]]])
    self.assertAllClose(_run(head, training=True)[0, 0], [8.0, 3.0])

  def test_the_reduced_map_is_rectified(self):
    head = _built(rfcn_heads.MapClassifier, 2)
    head.reduce.bias.assign([-100.0, 0.0])
    self.assertAllEqual(head.reduced_map(_FEATURES, False), tf.zeros([2, 4, 4, 2]))

  def test_kernels_and_start(self):
    head = rfcn_heads.MapClassifier(_Scale(), 21, pooling.PsRoiPooler(16, 3, 18), 128)
    self.assertEqual(_run(head, tf.zeros([2, 4, 4, 64])).shape, [2, 1, 21])
    reduce, classifier = head.last_kernels
    self.assertEqual(reduce.shape, [1, 1, 64, 128])
    self.assertEqual(classifier.shape, [1, 1, 128, 189])
    self.assertAllClose(tf.math.reduce_std(classifier), 0.0088, atol=5e-4)

  def test_score_maps_of_the_second_stage_itself(self):
    pooler = pooling.PsRoiPooler(stride=16, num_bins=1, crop_size=4)
    head = rfcn_heads.MapClassifier(_Scale(), 2, pooler, reduce_depth=0)
    head.prepare(_FEATURES)
    (kernel,) = head.last_kernels
    kernel.assign(np.array([[[[1.0, 0.0], [0.0, 1.0], [1.0, 5.0]]]], np.float32))
    head.classifier.bias.assign([0.0, -1.0])
    # Twice the maps' ones and tens: 2 + 2 and 2 + 10 - 1. Nothing is rectified.
    self.assertAllClose(_run(head), [[[4.0, 11.0]], [[40.0, 119.0]]])
    self.assertAllClose(_run(head, -_FEATURES)[0, 0], [-4.0, -13.0])

  def test_boxes_and_what_is_pooled_keep_their_precision(self):
    seen = []

    def pool(maps, boxes_norm, image_size_px):
      seen.extend([maps.dtype, boxes_norm.dtype, image_size_px.dtype])
      return _POOLER(maps, boxes_norm, image_size_px)

    pool.num_bins = 2
    head = rfcn_heads.MapClassifier(_Scale(), 2, pool, 2, dtype="mixed_bfloat16")
    self.assertEqual(_run(head).dtype, tf.float32)
    self.assertEqual(seen, [tf.bfloat16, tf.float32, tf.float32])

  def test_stride_takes_every_other_cell(self):
    head = rfcn_heads.MapClassifier(_Scale(), 2, _POOLER, 2, stride=2)
    features = tf.random.stateless_normal([2, 5, 4, 3], [1, 2])
    maps = head.prepare(features)
    self.assertEqual(maps.shape, [2, 3, 2, 8])
    head.stride = 1
    self.assertAllEqual(maps, head.prepare(features[:, ::2, ::2]))


class MapBoxHeadTest(tf.test.TestCase):
  def test_deltas_for_each_class(self):
    head = _built(rfcn_heads.MapBoxHead, 3)
    kernel = np.zeros([1, 1, 2, 32], np.float32)
    # Number i of class 1 is i times the reduced map, of class 2 ten times that; in every bin.
    kernel[0, 0, 0] = np.tile([0, 1, 2, 3, 0, 10, 20, 30], 4)
    head.box.kernel.assign(kernel)
    logits, deltas, features, _ = _run(head)
    self.assertEqual(logits.shape, [2, 1, 3])
    self.assertIsNone(features)
    self.assertAllClose(deltas[0, 0], [[0, 5, 10, 15], [0, 50, 100, 150]])
    self.assertEqual([k.shape[-1] for k in head.last_kernels], [2, 12, 32])
