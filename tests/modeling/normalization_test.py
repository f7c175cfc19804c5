import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from absl.testing import parameterized

from mtl_ssl_tf.modeling import normalization

# Two rows of two channels: means 2 and 30, variances 1 and 100.
_ROWS = tf.constant([[1.0, 20.0], [3.0, 40.0]])[:, tf.newaxis, tf.newaxis]  # [2, 1, 1, 2]
_ITSELF_STANDARDISED = [[-1.0, -1.0], [1.0, 1.0]]


def _rows(values):
  return tf.reshape(values, [2, 2])


class NormalizationTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_frozen_uses_the_stored_statistics_and_never_changes_them(self, training):
    norm = normalization.make_norm("frozen", 2, momentum=0.5, groups=1, epsilon=0.0)
    norm.build(_ROWS.shape)
    norm.moving_mean.assign([1.0, 10.0])
    norm.moving_variance.assign([4.0, 100.0])
    expected = [[0.0, 1.0], [1.0, 3.0]]
    self.assertAllClose(_rows(norm(_ROWS, training=training)), expected)
    self.assertAllEqual(norm.moving_mean, [1.0, 10.0])
    self.assertAllEqual(norm.moving_variance, [4.0, 100.0])

  def test_frozen_trains_scale_and_offset(self):
    norm = normalization.make_norm("frozen", 2, momentum=0.5, groups=1)
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(norm(_ROWS, training=True))
    self.assertEqual([v.name for v in norm.trainable_variables], ["norm/gamma:0", "norm/beta:0"])
    gradients = tape.gradient(loss, norm.trainable_variables)
    self.assertAllClose(gradients, [[4.0, 60.0], [2.0, 2.0]], rtol=1e-3)

  def test_frozen_may_train_nothing(self):
    norm = normalization.make_norm("frozen", 2, momentum=0.5, groups=1, train_affine=False)
    self.assertAllClose(_rows(norm(_ROWS, training=True)), _rows(_ROWS), rtol=1e-3)
    self.assertEqual(norm.trainable_variables, [])
    self.assertLen(norm.variables, 4)

  @parameterized.parameters("batch", "sync", "group")
  def test_the_others_always_train(self, norm_type):
    norm = normalization.make_norm(norm_type, 2, momentum=0.5, groups=1, train_affine=False)
    norm(_ROWS)
    self.assertLen(norm.trainable_variables, 2)

  @parameterized.product(
    norm_type=normalization.NORM_TYPES, policy=("mixed_bfloat16", "mixed_float16")
  )
  def test_moments_are_float32_in_mixed_precision(self, norm_type, policy):
    # Four thousand values, too many to be counted in a half precision.
    values = np.random.default_rng(0).normal(30.0, 2.0, [2, 64, 32, 2]).astype(np.float32)
    plain = normalization.make_norm(norm_type, 2, momentum=0.5, groups=1)
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
      norm = normalization.make_norm(norm_type, 2, momentum=0.5, groups=1)
      inputs = tf.cast(values, policy.removeprefix("mixed_"))
      found = norm(inputs, training=True)
    finally:
      tf_keras.mixed_precision.set_global_policy(before)
    expected = plain(tf.cast(inputs, tf.float32), training=True)
    scale = np.max(np.abs(expected))
    self.assertAllClose(tf.cast(found, tf.float32), expected, atol=0.01 * scale)
    self.assertAllClose(norm.get_weights(), plain.get_weights(), rtol=1e-3)

  @parameterized.parameters("batch", "sync")
  def test_batch_uses_the_batch_and_learns_the_statistics(self, norm_type):
    norm = normalization.make_norm(norm_type, 2, momentum=0.75, groups=1, epsilon=0.0)
    self.assertAllClose(_rows(norm(_ROWS, training=True)), _ITSELF_STANDARDISED)
    # From mean 0 and variance 1, a quarter of the way.
    self.assertAllClose(norm.moving_mean, [0.5, 7.5])
    # The fused kernel's variance is the unbiased one, 2 and 200.
    unbiased = 1.0 if norm_type == "sync" else 2.0
    self.assertAllClose(norm.moving_variance, [0.75 + 0.25 * unbiased, 0.75 + 25.0 * unbiased])
    norm.moving_mean.assign([0.0, 0.0])
    norm.moving_variance.assign([1.0, 1.0])
    self.assertAllClose(_rows(norm(_ROWS, training=False)), _rows(_ROWS))
    self.assertAllEqual(norm.moving_mean, [0.0, 0.0])

  def test_only_sync_is_synchronised(self):
    flags = {
      name: normalization.make_norm(name, 2, momentum=0.9, groups=1).synchronized
      for name in ("frozen", "batch", "sync")
    }
    self.assertEqual(flags, {"frozen": False, "batch": False, "sync": True})

  @parameterized.parameters((16, 64, 16), (16, 24, 8), (16, 8, 8), (16, 9, 1))
  def test_number_of_groups_divides_the_channels(self, groups, channels, expected):
    norm = normalization.make_norm("group", channels, momentum=0.9, groups=groups)
    self.assertEqual(norm.groups, expected)

  def test_group_looks_at_one_image_and_a_group_of_channels(self):
    norm = normalization.make_norm("group", 4, momentum=0.9, groups=2, epsilon=0.0)
    # Channels 0, 1 and 2, 3 go together; the second image, ten times the first, changes nothing.
    maps = tf.constant([[1.0, 3.0, 10.0, 30.0]]) * [[1.0], [10.0]]
    normed = norm(maps[:, tf.newaxis, tf.newaxis], training=True)
    self.assertAllClose(tf.reshape(normed, [2, 4]), [[-1.0, 1.0, -1.0, 1.0]] * 2, atol=1e-5)

  @parameterized.parameters(*normalization.NORM_TYPES)
  def test_scale_epsilon_and_name(self, norm_type):
    norm = normalization.make_norm(norm_type, 2, momentum=0.9, groups=1, epsilon=3.0, scale=False)
    norm.build(_ROWS.shape)
    self.assertEqual([v.name for v in norm.trainable_variables], ["beta:0"])
    self.assertEqual(norm.name, "norm")
    # Stored variance 1 plus 3 halves; a group of both channels of an image differs by 9.5 or 18.5.
    output = _rows(norm(_ROWS, training=False))
    if norm_type == "group":
      self.assertAllClose(output[0], [-9.5 / (9.5**2 + 3.0) ** 0.5, 9.5 / (9.5**2 + 3.0) ** 0.5])
    else:
      self.assertAllClose(output, _rows(_ROWS) / 2.0)

  def test_default_epsilon(self):
    norm = normalization.make_norm("frozen", 2, momentum=0.9, groups=1)
    norm.build(_ROWS.shape)
    norm.moving_variance.assign([0.0, 0.003])
    self.assertAllClose(norm(tf.ones([1, 1, 1, 2]))[0, 0, 0], [1e-3**-0.5, 4e-3**-0.5])

  def test_unknown_name(self):
    with pytest.raises(ValueError, match=r"norm\.type is 'layer'; accepted: frozen, batch, sync"):
      normalization.make_norm("layer", 2, momentum=0.9, groups=1)
