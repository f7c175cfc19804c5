"""Folded, a normalisation does what it does after the convolution."""

import numpy as np
import tensorflow as tf
import tf_keras
from absl.testing import parameterized

from mtl_ssl_tf.modeling import normalization
from mtl_ssl_tf.modeling.acceleration import folding
from mtl_ssl_tf.modeling.backbones import layers


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
    yield name, folding.conv_norm(conv, norm, tf.nn.relu)


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

    def in_two_parts(inputs):
      convolved = folding.convolve(layer, inputs, folding.linear_kernel(layer))
      return folding.finish(layer, convolved, training=False)

    self.assertIsInstance(layer, folding.FoldedConvNorm)
    found = []
    for run in (apart, layer, in_two_parts):
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
    layer = folding.conv_norm(layer.conv, layer.norm, None)
    inputs = tf.ones([1, 3, 3, 4])
    alone = layer(inputs)
    shift = tf.constant([1.0, -2.0, 0.0, 3.0])
    convolved = folding.convolve(layer, inputs, folding.linear_kernel(layer))
    self.assertAllClose(folding.finish(layer, convolved, False, shift), alone + shift)

  def test_other_normalisations_are_not_folded(self):
    norm = normalization.make_norm("batch", 4, 0.5, 1)
    layer = folding.conv_norm(tf_keras.layers.Conv2D(4, 1), norm, None)
    self.assertIs(type(layer), layers.ConvNorm)
    layer(tf.ones([1, 3, 3, 4]))
    with self.assertRaisesRegex(ValueError, "is given a shift"):
      folding.finish(layer, tf.ones([1, 3, 3, 4]), False, shift=tf.ones([4]))

  @parameterized.parameters("batch", "group")
  def test_in_two_parts_what_is_not_folded(self, norm_type):
    norm = normalization.make_norm(norm_type, 4, 0.5, 2)
    conv = tf_keras.layers.Conv2D(4, 3, bias_initializer="random_normal")
    layer = folding.conv_norm(conv, norm, tf.nn.relu)
    inputs = tf.random.stateless_normal([2, 5, 5, 3], [1, 2])
    layer(inputs)
    convolved = folding.convolve(layer, inputs, folding.linear_kernel(layer))
    for training in (False, True):
      ours = folding.finish(layer, convolved, training)
      self.assertAllClose(ours, layer(inputs, training=training), atol=1e-5)

  def test_separable_convolutions_are_not_folded(self):
    norm = normalization.make_norm("frozen", 4, 0.5, 1)
    layer = folding.conv_norm(tf_keras.layers.SeparableConv2D(4, 3), norm, None)
    self.assertIs(type(layer), layers.ConvNorm)

  def test_not_in_mixed_precision(self):
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
      norm = normalization.make_norm("frozen", 4, 0.5, 1)
      layer = folding.conv_norm(tf_keras.layers.Conv2D(4, 1), norm, None)
    finally:
      tf_keras.mixed_precision.set_global_policy(before)
    self.assertIs(type(layer), layers.ConvNorm)
