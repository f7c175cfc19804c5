import pytest
import tensorflow as tf
import tf_keras
from absl.testing import parameterized
from official.core import exp_factory
from official.modeling.optimization import optimizer_factory

from mtl_ssl_tf.configs import experiments  # noqa: F401
from mtl_ssl_tf.training import momentum

# How a step is run: as it is, in a graph, compiled.
_MODES = ({}, {"graph": True}, {"graph": True, "jit_compile": True})


def _train(optimizer, gradients, graph=False, **options):
  """Returns a variable that started at 0 after each of the steps."""
  variable = tf.Variable(tf.zeros_like(gradients[0]))

  def step(gradient):
    optimizer.apply_gradients([(gradient, variable)])

  if graph:
    step = tf.function(step, **options)
  values = []
  for gradient in gradients:
    step(tf.constant(gradient))
    values.append(variable.numpy())
  return values


class MomentumTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(*_MODES)
  def test_a_drop_of_the_rate_acts_at_once(self, **mode):
    rate = tf_keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.01])
    optimizer = momentum.Momentum(rate, momentum=0.9)
    values = _train(optimizer, [[1.0], [1.0], [1.0]], **mode)
    # Accumulator 1, 1.9, 2.71; the rate falls before the third step. Keras would keep 0.9 x 0.19
    # of its velocity and end at -0.471.
    self.assertAllClose(values, [[-0.1], [-0.29], [-0.3171]])

  @parameterized.parameters(*_MODES)
  def test_each_variable_is_clipped_by_itself(self, **mode):
    optimizer = momentum.Momentum(1.0, momentum=0.5, clipnorm=1.0)
    # (3, 4) becomes (0.6, 0.8); (0, 0.5) is short enough.
    values = _train(optimizer, [[3.0, 4.0], [0.0, 0.5], [0.0, 0.0]], **mode)
    self.assertAllClose(values, [[-0.6, -0.8], [-0.9, -1.7], [-1.05, -2.15]])

    short = _train(momentum.Momentum(1.0, momentum=0.5, clipnorm=1.0), [[0.5]], **mode)
    self.assertAllClose(short, [[-0.5]])

  def test_norms_are_not_added_up(self):
    optimizer = momentum.Momentum(1.0, momentum=0.5, clipnorm=1.0)
    variables = [tf.Variable([0.0]), tf.Variable([0.0])]
    optimizer.apply_gradients(zip([tf.constant([0.9]), tf.constant([9.0])], variables, strict=True))
    self.assertAllClose(variables, [[-0.9], [-1.0]])

  def test_no_momentum_is_plain_descent(self):
    values = _train(momentum.Momentum(0.5, momentum=0.0), [[1.0], [0.5]])
    self.assertAllClose(values, [[-0.5], [-0.75]])

  def test_accumulators_are_kept_in_checkpoints(self):
    variable = tf.Variable([1.0])
    optimizer = momentum.Momentum(0.1, momentum=0.9)
    optimizer.apply_gradients([(tf.constant([2.0]), variable)])
    path = tf.train.Checkpoint(v=variable, optimizer=optimizer).save(self.get_temp_dir() + "/c")

    other, restored = tf.Variable([0.0]), momentum.Momentum(0.1, momentum=0.9)
    tf.train.Checkpoint(v=other, optimizer=restored).restore(path)
    restored.apply_gradients([(tf.constant([0.0]), other)])
    # 1 - 0.1 x 2, then 0.1 x 1.8 more.
    self.assertAllClose(other, [0.62])


def test_model_garden_makes_it_from_the_configuration():
  config = exp_factory.get_exp_config("mtl_frcnn").trainer.optimizer_config
  factory = optimizer_factory.OptimizerFactory(config)
  optimizer = factory.build_optimizer(factory.build_learning_rate())
  assert type(optimizer) is momentum.Momentum
  assert optimizer.clipnorm == 10.0
  variable = tf.Variable([0.0])
  for _ in range(2):
    optimizer.apply_gradients([(tf.constant([1.0]), variable)])
  # The published rate, 1e-3, and momentum, 0.9.
  assert float(variable[0]) == pytest.approx(-2.9e-3)


def test_registering_again_changes_nothing():
  before = dict(optimizer_factory.LEGACY_OPTIMIZERS_CLS)
  momentum.register()
  assert before == optimizer_factory.LEGACY_OPTIMIZERS_CLS
  assert before["momentum"] is momentum.Momentum
