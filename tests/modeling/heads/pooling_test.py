from unittest import mock

import tensorflow as tf

from mtl_ssl_tf.modeling.heads import pooling

# 64 x 96 and 40 x 70 pixels: 4 x 6 and 3 x 5 cells at stride 16.
_SIZES = tf.constant([[64.0, 96.0], [40.0, 70.0]])


class CropperTest(tf.test.TestCase):
  def test_max_pooling_after_the_crop(self):
    # Crops of 4 x 4 at rows 0, 2/3, 4/3, 2 and every column; the maxima of 2 x 2 blocks are at
    # rows 2/3 and 2 and columns 1 and 3.
    maps = tf.reshape(tf.range(1.0, 13.0), [1, 3, 4, 1])
    boxes = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
    size = tf.constant([[48.0, 64.0]])
    crops = pooling.Cropper(16, 4, max_pool=2)(maps, boxes, size)
    self.assertEqual(crops.shape, [1, 2, 2, 1])
    self.assertAllClose(crops[0, :, :, 0], [[14 / 3, 20 / 3], [10, 12]], rtol=1e-5)

  def test_boxes_of_all_images_in_one_batch(self):
    maps = tf.reshape([1.0, 2.0], [2, 1, 1, 1]) * tf.ones([2, 4, 6, 3])
    boxes = tf.constant([[[0.1, 0.1, 0.9, 0.9], [-1.0] * 4]] * 2)
    crops = pooling.Cropper(16, 2)(maps, boxes, _SIZES)
    self.assertAllClose(tf.reduce_mean(crops, axis=[1, 2, 3]), [1.0, 0.0, 2.0, 0.0])

  def test_its_settings_reach_the_crop(self):
    boxes = tf.constant([[[0.1, 0.1, 0.9, 0.9]]])
    for method, keep_border in (("native", True), ("matmul", False)):
      cropper = pooling.Cropper(8, 4, 2, method, keep_border)
      crops = tf.zeros([1, 1, 4, 4, 1])
      with mock.patch.object(pooling.crop_ops, "crop_and_resize", return_value=crops) as crop:
        cropper(tf.zeros([1, 4, 6, 1]), boxes, _SIZES[:1])
      self.assertEqual(crop.call_args.args[3:], (8, (4, 4), method, keep_border))


class PsRoiPoolerTest(tf.test.TestCase):
  def test_its_settings_reach_the_pooling(self):
    boxes = tf.constant([[[0.1, 0.1, 0.9, 0.9]]])
    for method, keep_border in (("native", True), ("matmul", False)):
      pooler = pooling.PsRoiPooler(16, 2, 4, method, keep_border)
      with mock.patch.object(
        pooling.psroi_ops, "position_sensitive_pool", return_value=tf.zeros([1, 1, 3])
      ) as pool:
        pooler(tf.zeros([1, 4, 6, 12]), boxes, _SIZES[:1])
      self.assertEqual(pool.call_args.args[3:], (2, 4, method, keep_border))

  def test_cells_of_the_content(self):
    def halved(cells):
      return tf.math.ceil(cells / 2.0)

    pooler = pooling.PsRoiPooler(16, 2, 4)
    self.assertAllEqual(pooler.map_size(_SIZES), [[4.0, 6.0], [3.0, 5.0]])
    # A second stage that halves the map rounds up.
    pooler = pooling.PsRoiPooler(16, 2, 4, stage2_cells=halved)
    self.assertAllEqual(pooler.map_size(_SIZES), [[2.0, 3.0], [2.0, 3.0]])
    # Of every other cell there are 2 x 3 to begin with, for both.
    pooler = pooling.PsRoiPooler(32, 2, 4, stage2_cells=halved)
    self.assertAllEqual(pooler.map_size(_SIZES), [[1.0, 2.0], [1.0, 2.0]])
