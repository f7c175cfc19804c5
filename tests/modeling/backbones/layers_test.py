import numpy as np
import tensorflow as tf
import tf_keras
from absl.testing import parameterized

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.backbones import layers


class ConvNormTest(parameterized.TestCase, tf.test.TestCase):
  def test_activation_comes_last(self):
    conv = tf_keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")
    layer = layers.ConvNorm(
      conv, normalization.make_norm("frozen", 1, 0.5, 1, epsilon=0.0), tf.nn.relu6
    )
    values = layer(tf.reshape([-1.0, 2.0, 7.0], [3, 1, 1, 1]))
    self.assertAllClose(tf.reshape(values, [-1]), [0.0, 2.0, 6.0])

  def test_normalised_before_the_cut_and_told_of_training(self):
    conv = tf_keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")
    layer = layers.ConvNorm(
      conv, normalization.make_norm("batch", 1, 0.5, 1, epsilon=0.0), tf.nn.relu6
    )
    values = layer(tf.reshape([-9.0, 11.0], [2, 1, 1, 1]), training=True)
    self.assertAllClose(tf.reshape(values, [-1]), [0.0, 1.0])
    self.assertAllClose(layer.norm.moving_mean, [0.5])

  def test_a_convolution_alone(self):
    conv = tf_keras.layers.Conv2D(1, 1, kernel_initializer="ones")
    layer = layers.ConvNorm(conv, None, None)
    self.assertAllClose(layer(tf.fill([1, 1, 1, 2], -3.0)), [[[[-6.0]]]])

  @parameterized.parameters(*normalization.NORM_TYPES)
  def test_maps_keep_their_type_in_mixed_precision(self, norm_type):
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
      norm = normalization.make_norm(norm_type, 4, momentum=0.5, groups=2)
      layer = layers.ConvNorm(tf_keras.layers.Conv2D(4, 1), norm, tf.nn.relu)
    finally:
      tf_keras.mixed_precision.set_global_policy(before)
    self.assertEqual(layer(tf.ones([1, 2, 2, 3])).dtype, tf.bfloat16)


class PadSymmetricallyTest(tf.test.TestCase):
  def test_sides(self):
    padded = layers.pad_symmetrically(tf.ones([1, 2, 3, 1]), 3)
    self.assertAllEqual(padded[0, :, :, 0], np.pad(np.ones([2, 3]), 1))
    self.assertEqual(layers.pad_symmetrically(tf.ones([1, 8, 8, 1]), 7).shape, [1, 14, 14, 1])
