"""Normalisation in groups against a normalisation of each group."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import normalization

_MAPS = np.random.default_rng(0).normal(3.0, 2.0, [6, 3, 2, 5]).astype(np.float32)


def _norm(group_size: int, scale: bool = True) -> normalization.GroupedBatchNorm:
  norm = normalization.GroupedBatchNorm(group_size, momentum=0.75, epsilon=1e-3, scale=scale)
  norm.build(_MAPS.shape)
  norm.beta.assign(np.arange(5) - 2.0)
  if scale:
    norm.gamma.assign(np.arange(5) + 1.0)
  return norm


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("group_size", [1, 2, 3, 6])
def test_each_group_by_itself(jit_compile, scale, group_size):
  norm = _norm(group_size, scale)
  run = tf.function(lambda: norm(_MAPS, training=True), jit_compile=jit_compile, autograph=False)
  found = run().numpy()
  gamma = np.arange(5) + 1.0 if scale else 1.0
  means, variances = [], []
  for first in range(0, 6, group_size):
    group = _MAPS[first : first + group_size].astype(np.float64)
    means.append(group.mean(axis=(0, 1, 2)))
    # Of the population that the cells are drawn from, as Keras keeps it.
    variances.append(group.var(axis=(0, 1, 2), ddof=1))
    deviation = np.sqrt(group.var(axis=(0, 1, 2)) + 1e-3)
    expected = gamma * (group - means[-1]) / deviation + np.arange(5) - 2.0
    np.testing.assert_allclose(found[first : first + group_size], expected, atol=1e-4)
  # From 0 and 1, a quarter of the way to the means over the groups.
  np.testing.assert_allclose(norm.moving_mean, 0.25 * np.mean(means, axis=0), rtol=1e-5)
  expected = 0.75 + 0.25 * np.mean(variances, axis=0)
  np.testing.assert_allclose(norm.moving_variance, expected, rtol=1e-5)


def test_one_group_is_batch_normalisation():
  usual = normalization.make_norm("batch", 5, momentum=0.75, groups=1)
  usual.build(_MAPS.shape)
  norm = _norm(6)
  usual.set_weights(norm.get_weights())
  weights = tf.random.stateless_normal(_MAPS.shape, [1, 2])
  gradients = []
  for layer in (usual, norm):
    maps = tf.constant(_MAPS)
    with tf.GradientTape() as tape:
      tape.watch(maps)
      loss = tf.reduce_sum(weights * layer(maps, training=True))
    gradients.append(tape.gradient(loss, [maps, *layer.trainable_variables]))
  for one, other in zip(*gradients, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-4)
  for one, other in zip(usual.variables, norm.variables, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_inference_uses_the_moving_statistics():
  norm = _norm(2)
  norm.moving_mean.assign([1.0] * 5)
  norm.moving_variance.assign([4.0] * 5)
  expected = (_MAPS[:1] - 1.0) / np.sqrt(4.001) * (np.arange(5) + 1.0) + np.arange(5) - 2.0
  # One row, which is no whole group.
  np.testing.assert_allclose(norm(_MAPS[:1], training=False), expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(norm.moving_mean, [1.0] * 5)


def test_no_whole_groups():
  with pytest.raises(ValueError, match="a batch has 6 rows; accepted: groups of 4"):
    _norm(4)(_MAPS, training=True)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_moments_are_float32_in_mixed_precision(policy):
  values = np.random.default_rng(0).normal(30.0, 2.0, [4, 32, 32, 5]).astype(np.float32)
  before = tf_keras.mixed_precision.global_policy()
  tf_keras.mixed_precision.set_global_policy(policy)
  try:
    norm = normalization.GroupedBatchNorm(2, momentum=0.0)
    found = norm(values, training=True)
  finally:
    tf_keras.mixed_precision.set_global_policy(before)
  assert found.dtype == tf.as_dtype(policy.removeprefix("mixed_"))
  # Values of 8 bits, moments of 24.
  values = tf.cast(values, found.dtype).numpy().astype(np.float64)
  np.testing.assert_allclose(norm.moving_mean, values.mean(axis=(0, 1, 2)), rtol=1e-5)


def test_epsilon_counts():
  norm = normalization.GroupedBatchNorm(6, epsilon=5.0)
  expected = (_MAPS - _MAPS.mean(axis=(0, 1, 2))) / np.sqrt(_MAPS.var(axis=(0, 1, 2)) + 5.0)
  np.testing.assert_allclose(norm(_MAPS, training=True), expected, atol=1e-4)
