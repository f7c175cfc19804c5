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


def _conv_norms():
  """By name: a convolution of each kind that folds with its frozen normalisation, and its input."""
  common = {"kernel_size": 3, "padding": "same"}
  convs = {
    "plain": tf_keras.layers.Conv2D(4, use_bias=False, **common),
    "bias": tf_keras.layers.Conv2D(4, bias_initializer="random_normal", **common),
    "strided": tf_keras.layers.Conv2D(4, (1, 3), strides=2, padding="valid", use_bias=False),
    "depthwise": tf_keras.layers.DepthwiseConv2D(strides=2, use_bias=False, **common),
    "dilated": tf_keras.layers.DepthwiseConv2D(dilation_rate=2, use_bias=False, **common),
  }
  for name, conv in convs.items():
    norm = normalization.make_norm("frozen", 4, 0.5, 1, epsilon=0.1, scale=name != "bias")
    yield name, layers.ConvNorm(conv, norm, tf.nn.relu)


class FrozenNormalizationTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.named_parameters(*_conv_norms())
  def test_in_kernel_and_bias_the_same(self, layer):
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=[2, 6, 5, 4]), tf.float32)
    layer(inputs)
    for variable in layer.norm.variables:
      variable.assign(rng.uniform(0.5, 2.0, variable.shape))

    def apart(inputs):
      return tf.nn.relu(layer.norm(layer.conv(inputs)))

    found = []
    for run in (apart, layer, lambda inputs: layer.finish(layer.project(inputs))):
      with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = run(inputs)
        loss = tf.reduce_sum(outputs**2)
      found.append([outputs, *tape.gradient(loss, [inputs, *layer.trainable_variables])])
    self.assertGreater(np.mean(found[0][0] > 0.0), 0.1)
    for ours in found[1:]:
      for own, theirs in zip(ours, found[0], strict=True):
        self.assertAllClose(own, theirs, atol=1e-5 * np.max(np.abs(theirs)), rtol=1e-5)
    graph = tf.function(layer).get_concrete_function(inputs).graph
    self.assertNotIn("FusedBatchNormV3", {op.type for op in graph.get_operations()})

  def test_another_layers_shift(self):
    (_, layer), *_ = _conv_norms()
    layer = layers.ConvNorm(layer.conv, layer.norm, None)
    inputs = tf.ones([1, 3, 3, 4])
    alone = layer(inputs)
    shift = tf.constant([1.0, -2.0, 0.0, 3.0])
    self.assertAllClose(layer(inputs, None, shift), alone + shift)

  def test_other_normalisations_have_no_shift(self):
    norm = normalization.make_norm("batch", 4, 0.5, 1)
    layer = layers.ConvNorm(tf_keras.layers.Conv2D(4, 1), norm, None)
    layer(tf.ones([1, 3, 3, 4]))
    self.assertIsNone(layer.shift())
    with self.assertRaisesRegex(ValueError, "is given a shift"):
      layer.finish(tf.ones([1, 3, 3, 4]), shift=tf.ones([4]))

  def test_not_in_mixed_precision(self):
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
      norm = normalization.make_norm("frozen", 4, 0.5, 1)
      layer = layers.ConvNorm(tf_keras.layers.Conv2D(4, 1), norm, None)
    finally:
      tf_keras.mixed_precision.set_global_policy(before)
    layer(tf.ones([1, 3, 3, 4]))
    self.assertIsNone(layer.shift())


class PadSymmetricallyTest(tf.test.TestCase):
  def test_sides(self):
    padded = layers.pad_symmetrically(tf.ones([1, 2, 3, 1]), 3)
    self.assertAllEqual(padded[0, :, :, 0], np.pad(np.ones([2, 3]), 1))
    self.assertEqual(layers.pad_symmetrically(tf.ones([1, 8, 8, 1]), 7).shape, [1, 14, 14, 1])
