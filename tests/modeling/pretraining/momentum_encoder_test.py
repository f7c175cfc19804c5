"""The key encoder follows exactly, and the queue is a ring."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling.pretraining import insloc_model, momentum_encoder
from tests.modeling.pretraining import small


@pytest.fixture(name="model", scope="module")
def _model():
  return insloc_model.build(small.config())


def _inputs(seed: int, side: int = 64, number: int = 4):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, [number, side, side, 3], np.uint8)
  boxes = np.array([[4, 8, 40, 60], [0, 0, 64, 64], [10, 2, 30, 20], [20, 20, 63, 50]], np.float32)
  return tf.constant(images), tf.constant(boxes[:number, np.newaxis])


def test_both_start_alike(model):
  query, key = model.query_encoder, model.key_encoder
  assert len(key.averages) == len(query.trainable_weights) == 13
  for own, other in zip(key.averages, query.trainable_weights, strict=True):
    assert own.shape == other.shape
    assert own.name.split("/", 1)[1] == other.name.split("/", 1)[1]
    np.testing.assert_array_equal(own, other)
  images, boxes = _inputs(0)
  np.testing.assert_allclose(key(images, boxes), query(images, boxes), atol=1e-6)


def test_it_starts_from_weights_and_statistics():
  model = insloc_model.build(small.config())
  query, key = model.query_encoder, model.key_encoder
  for number, variable in enumerate(query.variables):
    variable.assign(variable + 1.0 + number)
  key.start_from(query)
  assert len(key.statistics) == 6
  for own, other in (
    *zip(key.averages, query.trainable_weights, strict=True),
    *zip(key.statistics, query.non_trainable_weights, strict=True),
  ):
    np.testing.assert_array_equal(own, other)


def test_statistics_of_replicas_are_averaged_and_weights_are_those_of_the_first(model):
  aggregations = [
    {variable.aggregation for variable in variables}
    for variables in (model.key_encoder.statistics, model.key_encoder.averages)
  ]
  kinds = tf.VariableAggregation
  assert aggregations == [{kinds.MEAN}, {kinds.ONLY_FIRST_REPLICA}]


def test_the_optimizer_sees_the_query_encoder_alone(model):
  trained = {variable.ref() for variable in model.trainable_variables}
  assert trained == {variable.ref() for variable in model.query_encoder.trainable_weights}
  others = {variable.ref() for variable in model.non_trainable_variables}
  for variable in (*model.key_encoder.averages, model.queue.keys, model.queue.num_enqueued):
    assert variable.ref() in others
    # What the guard puts back after a step that is not finite.
    assert variable.synchronization == tf.VariableSynchronization.ON_READ


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_thousandth_of_the_gap(model, jit_compile):
  query, key = model.query_encoder, model.key_encoder
  rng = np.random.default_rng(3)
  for own, other in zip(key.averages, query.trainable_weights, strict=True):
    own.assign(rng.normal(size=own.shape))
    other.assign(rng.normal(size=own.shape))
  statistics = [variable.numpy() for variable in key.statistics]
  before = [own.numpy().astype(np.float64) for own in key.averages]
  tf.function(lambda: key.follow(query, 0.999), jit_compile=jit_compile, autograph=False)()
  for own, other, was in zip(key.averages, query.trainable_weights, before, strict=True):
    moved = own.numpy().astype(np.float64) - was
    np.testing.assert_allclose(moved, 0.001 * (other.numpy() - was), atol=3e-7)
    np.testing.assert_allclose(own, 0.999 * was + 0.001 * other.numpy(), atol=1e-6)
  # Moving statistics stay.
  for now, was in zip(key.statistics, statistics, strict=True):
    np.testing.assert_array_equal(now, was)


def test_momentum_of_0_and_1(model):
  query, key = model.query_encoder, model.key_encoder
  before = [own.numpy() for own in key.averages]
  key.follow(query, 1.0)
  for own, was in zip(key.averages, before, strict=True):
    np.testing.assert_array_equal(own, was)
  key.follow(query, 0.0)
  for own, other in zip(key.averages, query.trainable_weights, strict=True):
    np.testing.assert_allclose(own, other, atol=1e-6)


def test_keys_are_normalised_as_in_training():
  model = insloc_model.build(small.config())
  images, boxes = _inputs(1)
  key = model.key_encoder
  means = [v.numpy() for v in key.variables if v.name.endswith("moving_mean:0")]
  # Both encoders are alike, and their batches too.
  np.testing.assert_allclose(
    key(images, boxes, training=True), model.query_encoder(images, boxes, training=True), atol=1e-5
  )
  after = [v.numpy() for v in key.variables if v.name.endswith("moving_mean:0")]
  assert all(np.any(was != now) for was, now in zip(means, after, strict=True))


class TestQueue:
  def _queue(self, size=6):
    return momentum_encoder.KeyQueue(size, 2, seed=1)

  def test_begins_with_random_unit_vectors(self):
    queue = momentum_encoder.KeyQueue(2000, 16, seed=1)
    np.testing.assert_allclose(np.linalg.norm(queue.keys, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.mean(queue.keys, axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(np.std(queue.keys, axis=0), 0.25, atol=0.02)
    assert np.any(momentum_encoder.KeyQueue(2000, 16, seed=2).keys != queue.keys)

  @pytest.mark.parametrize("jit_compile", [False, True])
  def test_the_oldest_are_overwritten_and_the_ring_closes(self, jit_compile):
    queue = self._queue()
    put = tf.function(queue.enqueue, jit_compile=jit_compile, autograph=False)
    expected = queue.keys.numpy()
    for step in range(5):
      keys = np.array([[step, 1.0], [step, 2.0]], np.float32)
      put(tf.constant(keys))
      place = 2 * step % 6
      expected[place : place + 2] = keys
      np.testing.assert_array_equal(queue.keys, expected)
      assert int(queue.num_enqueued) == 2 * step + 2

  def test_age_and_share(self):
    queue = self._queue()
    found = []
    for _ in range(5):
      found.append((float(queue.mean_age(2)), float(queue.filled())))
      queue.enqueue(tf.zeros([2, 2]))
    # Of steps 1 ago; 1 and 2 ago; 1, 2 and 3 ago, and so on.
    expected = [(0, 0), (1, 1 / 3), (1.5, 2 / 3), (2, 1), (2, 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
