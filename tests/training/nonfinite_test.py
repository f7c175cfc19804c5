"""Steps that are not applied, on a weight of two entries whose loss is worked out by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.training import momentum, nonfinite, recovery


class Model(tf_keras.layers.Layer):
  """A weight, and a statistic that each step adds one to."""

  def __init__(self):
    super().__init__()
    self.w = self.add_weight(name="w", shape=[2], initializer="ones")
    self.statistic = self.add_weight(
      name="statistic",
      shape=[],
      initializer="zeros",
      trainable=False,
      synchronization=tf.VariableSynchronization.ON_READ,
      aggregation=tf.VariableAggregation.MEAN,
    )
    self.constant = self.add_weight(name="constant", shape=[], initializer="zeros", trainable=False)


class Task:
  """Loss: the sum of batch x w."""

  def __init__(self, guard=None):
    self.guard = guard

  def train_step(self, batch, model, optimizer, metrics=None):
    del metrics
    with tf.GradientTape() as tape:
      linear = tf.reduce_sum(batch * model.w)
      square = tf.reduce_sum(tf.zeros_like(batch) * model.w**2)
      total = linear + square
    model.statistic.assign_add(1.0)
    pairs = [(tape.gradient(total, model.w), model.w)]
    nonfinite.apply_gradients(self.guard, optimizer, pairs, total)
    return {"loss": total, "linear": linear, "square": square}


class Run:
  """Steps under a guard, compiled or not."""

  def __init__(self, jit_compile=False, optimizer=None, loss_upper_bound=1e6, bound_begins=0):
    self.model = Model()
    self.optimizer = optimizer or momentum.Momentum(0.5, momentum=0.5)
    self.optimizer._create_all_weights([self.model.w])
    self.step = tf.Variable(0, dtype=tf.int64)
    self.guard = nonfinite.Guard(self.step, loss_upper_bound, bound_begins)
    self.task = Task(self.guard)
    statistics = nonfinite.running_statistics(self.model)

    def step_fn(batch):
      before = [variable.read_value() for variable in statistics]
      self.task.train_step(batch, self.model, self.optimizer)
      self.guard.put_back_if_bad(statistics, before)

    self._step_fn = tf.function(step_fn, jit_compile=jit_compile, autograph=False)

  def take(self, *batches):
    for batch in batches:
      self._step_fn(tf.constant(batch, tf.float32))
      self.step.assign_add(1)

  def state(self):
    variables = [*self.model.variables, *self.optimizer.variables()]
    return [np.asarray(variable).tolist() for variable in variables]


@pytest.mark.parametrize("jit_compile", [False, True])
class TestGuard:
  def test_good_steps_are_those_without_a_guard(self, jit_compile):
    run, free = Run(jit_compile), Run(jit_compile)
    free.task.guard = None
    for one in (run, free):
      one.take([1.0, 2.0], [0.5, -1.0])
    run.guard.check()
    assert run.state() == free.state()
    # 1 - 0.5 · 1 - 0.5 · (0.5 · 1 + 0.5), and with 2 and -1.
    np.testing.assert_allclose(run.model.w, [0.0, 0.0], atol=1e-7)
    assert float(run.model.statistic) == 2.0

  @pytest.mark.parametrize(("bad", "num_good"), [(math.nan, 1), (math.inf, 1), (1e7, 0)])
  def test_a_bad_step_and_all_after_it_change_nothing(self, jit_compile, bad, num_good):
    run = Run(jit_compile)
    run.take(*[[1.0, 2.0]] * num_good)
    before = run.state()
    assert not run.guard.is_bad()
    run.take([bad, 0.0], [1.0, 1.0], [math.nan, 1.0])
    assert run.state() == before
    assert run.guard.is_bad()
    with pytest.raises(nonfinite.NonFiniteError) as error:
      run.guard.check()
    assert error.value.step == num_good
    run.guard.reset()
    run.guard.check()
    run.take([1.0, 1.0])
    assert run.state() != before

  def test_gradient_alone(self, jit_compile):
    run = Run(jit_compile)
    before = run.state()
    run._step_fn = tf.function(self._root_step(run), jit_compile=jit_compile, autograph=False)
    run.take([0.0, 0.0])
    assert run.state() == before
    with pytest.raises(nonfinite.NonFiniteError):
      run.guard.check()

  @staticmethod
  def _root_step(run):
    def step(batch):
      # The derivative of a root at 0.
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sqrt(batch * run.model.w))
      pairs = [(tape.gradient(loss, run.model.w), run.model.w)]
      nonfinite.apply_gradients(run.guard, run.optimizer, pairs, loss)

    return step

  def test_bound_begins_later(self, jit_compile):
    run = Run(jit_compile, loss_upper_bound=10.0, bound_begins=1)
    run.take([100.0, 0.0])
    run.guard.check()
    run.take([-100.0, 0.0])
    with pytest.raises(nonfinite.NonFiniteError):
      run.guard.check()


def test_dynamic_loss_scale_takes_care_of_infinite_gradients():
  inner = tf_keras.optimizers.legacy.SGD(0.5)
  optimizer = tf_keras.mixed_precision.LossScaleOptimizer(inner, initial_scale=4.0)
  run = Run(optimizer=optimizer)

  def step(batch):
    gradient = tf.constant([math.inf, 1.0])
    nonfinite.apply_gradients(run.guard, optimizer, [(gradient, run.model.w)], tf.reduce_sum(batch))

  run._step_fn = tf.function(step, autograph=False)
  run.take([1.0, 1.0], [1.0, 1.0])
  run.guard.check()
  assert float(optimizer.loss_scale) == 1.0
  assert run.model.w.numpy().tolist() == [1.0, 1.0]
  # Nothing is left to lower.
  run.take([1.0, 1.0])
  with pytest.raises(nonfinite.NonFiniteError) as error:
    run.guard.check()
  assert error.value.step == 2


@pytest.mark.parametrize("jit_compile", [False, True])
def test_take_apart(jit_compile):
  run = Run()
  before = run.state()
  losses, gradients = nonfinite.take_apart(
    run.task, run.model, run.optimizer, tf.constant([math.nan, 2.0]), jit_compile
  )
  assert math.isnan(losses["linear"])
  assert math.isnan(losses["loss"])
  assert losses["square"] == 0.0
  assert gradients == {"w:0": 1}
  assert run.state() == before
  assert run.task.guard is run.guard


class TestSkippedBatches:
  def test_batches_of_steps(self):
    skipped = recovery.SkippedBatches()
    assert [skipped.batch_of_step(step) for step in (0, 5)] == [0, 5]
    skipped.assign([3, 1, 4])
    # 0, 2, 5, 6 are left.
    assert [skipped.batch_of_step(step) for step in range(4)] == [0, 2, 5, 6]
    assert skipped.numbers() == [1, 3, 4]

  def test_a_checkpoint_holds_them(self, tmp_path):
    before = recovery.SkippedBatches()
    before.assign([7])
    path = tf.train.Checkpoint(skipped=before).save(str(tmp_path / "x"))
    after = recovery.SkippedBatches()
    after.assign([1, 2, 3])
    tf.train.Checkpoint(skipped=after).restore(path)
    assert after.numbers() == [7]
