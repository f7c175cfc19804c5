"""Averages worked by hand, in the model's place and in checkpoints."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.modeling import optimization as official_optimization

from mtl_ssl_tf.configs import optimization
from mtl_ssl_tf.training import averaged_weights


def config(decay=0.5, start_step=0, dynamic=False):
  return optimization.AveragesConfig(
    average_decay=decay, start_step=start_step, dynamic_decay=dynamic
  )


class Weights(tf.Module):
  """Weights of two entries each, the second the first one's negative."""

  def __init__(self, *values: float):
    super().__init__()
    self.part = {"w": [tf.Variable([value, -value]) for value in values]}


def make(*values: float, **settings):
  """Weights and their averages."""
  model = Weights(*values)
  return model.part["w"], averaged_weights.AveragedWeights(config(**settings), model)


def averages_of(averages) -> list[float]:
  """The first entry of each."""
  return [float(variable[0]) for variable in averages.variables.values()]


def model_of(value: float) -> tf_keras.Model:
  """A kernel and a bias that are trained, both `value`, and statistics that are not."""
  start = tf_keras.initializers.Constant(value)
  dense = tf_keras.layers.Dense(
    2, kernel_initializer=start, bias_initializer=start, input_shape=[2]
  )
  norm = tf_keras.layers.BatchNormalization(scale=False, center=False)
  return tf_keras.Sequential([dense, norm])


def largest(averages) -> list[float]:
  """The largest entry of each average."""
  return [float(tf.reduce_max(value)) for value in averages.variables.values()]


def kernel_of(model) -> float:
  return float(model.trainable_variables[0][0, 0])


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_an_average_moves_towards_its_weight(jit_compile):
  weights, averages = make(1.0, 10.0, decay=0.75)
  update = averages.update
  if jit_compile is not None:
    update = tf.function(update, jit_compile=jit_compile)
  weights[0].assign([5.0, -5.0])
  update(tf.constant(1), tf.constant(False))
  # A quarter of the way from 1 to 5.
  assert averages_of(averages) == [2.0, 10.0]
  update(tf.constant(2), tf.constant(False))
  assert averages_of(averages) == [2.75, 10.0]
  # Nothing after a step that was not applied.
  update(tf.constant(3), tf.constant(True))
  assert averages_of(averages) == [2.75, 10.0]
  assert float(weights[0][0]) == 5.0


def test_up_to_the_first_step_averages_are_the_weights():
  weights, averages = make(0.3, start_step=2)
  for step, value in ((0, 0.1), (1, 1e-9)):
    weights[0].assign([value, 0.0])
    averages.update(tf.constant(step))
    # Without any rounding: 0.3 - (0.3 - 1e-9) would be 0.
    assert averages_of(averages) == [np.float32(value)]
  weights[0].assign([0.3, 0.0])
  averages.update(tf.constant(2))
  assert averages_of(averages) == pytest.approx([0.15])


def test_decay_grows_to_its_value():
  _, averages = make(0.0, decay=0.9, start_step=5, dynamic=True)
  found = [float(averages.decay(tf.constant(step, tf.int64))) for step in (4, 5, 14, 1000)]
  # 1/10 at the beginning, 10/19 nine steps later.
  assert found == pytest.approx([0.0, 0.1, 10 / 19, 0.9])
  _, averages = make(0.0, decay=0.9, start_step=5)
  assert [float(averages.decay(tf.constant(step))) for step in (4, 5)] == pytest.approx([0.0, 0.9])


@pytest.mark.parametrize("dynamic", [True, False])
def test_the_rule_is_model_gardens(dynamic):
  settings = {"average_decay": 0.3, "start_step": 2, "dynamic_decay": dynamic}
  model = model_of(1.0)
  optimizer = official_optimization.ExponentialMovingAverage(
    tf_keras.optimizers.legacy.SGD(0.1), **settings
  )
  optimizer.shadow_copy(model)
  ours = averaged_weights.AveragedWeights(optimization.AveragesConfig(**settings), model)
  random = np.random.default_rng(0)
  for step in range(1, 7):
    gradients = [
      tf.constant(random.normal(size=weight.shape), tf.float32)
      for weight in model.trainable_variables
    ]
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    ours.update(tf.constant(step))
  for weight, average in zip(model.trainable_variables, ours.variables.values(), strict=True):
    np.testing.assert_allclose(average, optimizer.get_slot(weight, "average"), atol=1e-6)
    assert np.abs(average.numpy() - weight.numpy()).max() > 0.01


def test_mixed_precision_averages_in_float32():
  policy = tf_keras.mixed_precision.Policy("mixed_bfloat16")
  layer = tf_keras.layers.Dense(1, use_bias=False, dtype=policy)
  layer.build([None, 1])
  layer.kernel.assign([[1.0]])
  averages = averaged_weights.AveragedWeights(config(0.75), layer)
  layer.kernel.assign([[1.0 + 2.0**-12]])
  averages.update(tf.constant(1))
  (average,) = averages.variables.values()
  assert average.dtype == tf.float32
  assert float(average[0, 0]) == 1.0 + 2.0**-14


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_the_weights_come_back_however_an_evaluation_ends(error):
  weights, averages = make(0.1, 0.7)
  weights[0].assign([1e-9, 0.3])
  before = [weight.numpy().tobytes() for weight in weights]
  with contextlib.suppress(*([error] if error else [])), averages.in_place():
    assert [float(weight[0]) for weight in weights] == [np.float32(0.1), np.float32(0.7)]
    if error is not None:
      raise error
  assert [weight.numpy().tobytes() for weight in weights] == before
  assert averages_of(averages) == [np.float32(0.1), np.float32(0.7)]


def test_the_weights_come_back_if_an_average_cannot_be_put_in_place(monkeypatch):
  weights, averages = make(1.0, 2.0)
  weights[0].assign([5.0, 5.0])
  assign, calls = averaged_weights._assign, []

  def interrupted(variables, values):
    calls.append(None)
    if len(calls) == 1:
      variables[0].assign(values[0])
      raise KeyboardInterrupt
    assign(variables, values)

  monkeypatch.setattr(averaged_weights, "_assign", interrupted)
  with pytest.raises(KeyboardInterrupt), averages.in_place():
    pass
  assert [float(weight[0]) for weight in weights] == [5.0, 2.0]


def test_restart():
  weights, averages = make(1.0)
  weights[0].assign([4.0, 5.0])
  averages.restart()
  assert averages_of(averages) == [4.0]


class TestCheckpoint:
  def write(self, tmp_path, in_place=False):
    """A kernel and a bias of 3 whose averages are 1; returns the path."""
    model = model_of(1.0)
    averages = averaged_weights.AveragedWeights(config(), model)
    for weight in model.trainable_variables:
      weight.assign(3.0 * tf.ones_like(weight))
    checkpoint = averaged_weights.Checkpoint(averages, model=model)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=3)
    if in_place:
      with averages.in_place():
        path = manager.save()
    else:
      path = manager.save()
    # Training continues as if nothing had been saved.
    assert kernel_of(model) == 3.0
    assert largest(averages) == [1.0, 1.0]
    return path

  @pytest.mark.parametrize("in_place", [False, True])
  def test_the_model_in_it_is_the_averaged_one(self, tmp_path, in_place):
    path = self.write(tmp_path, in_place)
    model = model_of(0.0)
    tf.train.Checkpoint(model=model).read(path).assert_existing_objects_matched()
    assert kernel_of(model) == 1.0
    assert averaged_weights.are_in(path)
    keys = dict(tf.train.list_variables(path))
    stored = [key for key in keys if key.startswith("training_weights/")]
    assert len(stored) == 2
    assert all(np.all(tf.train.load_variable(path, key) == 3.0) for key in stored)

  def test_both_come_back(self, tmp_path):
    path = self.write(tmp_path)
    model = model_of(0.0)
    averages = averaged_weights.AveragedWeights(config(), model)
    averaged_weights.Checkpoint(averages, model=model).restore(path)
    assert kernel_of(model) == 3.0
    assert largest(averages) == [1.0, 1.0]

  def test_of_a_run_without_averages_they_begin_with_its_weights(self, tmp_path):
    path = averaged_weights.Checkpoint(None, model=model_of(3.0)).write(str(tmp_path / "x"))
    assert not averaged_weights.are_in(path)
    assert not [key for key, _ in tf.train.list_variables(path) if "training_weights" in key]
    model = model_of(0.0)
    averages = averaged_weights.AveragedWeights(config(), model)
    averaged_weights.Checkpoint(averages, model=model).read(path)
    assert kernel_of(model) == 3.0
    assert largest(averages) == [3.0, 3.0]

  def test_a_weight_that_was_frozen_before(self, tmp_path):
    model = model_of(1.0)
    frozen = tf_keras.layers.Dense(2, kernel_initializer="ones", use_bias=False)
    frozen.trainable = False
    model.add(frozen)
    averages = averaged_weights.AveragedWeights(config(), model)
    for weight in model.trainable_variables:
      weight.assign(3.0 * tf.ones_like(weight))
    path = averaged_weights.Checkpoint(averages, model=model).write(str(tmp_path / "x"))
    other = model_of(0.0)
    other.add(tf_keras.layers.Dense(2, use_bias=False))
    averages = averaged_weights.AveragedWeights(config(), other)
    averaged_weights.Checkpoint(averages, model=other).read(path)
    found = [float(tf.reduce_max(weight)) for weight in other.trainable_variables]
    assert found == [3.0, 3.0, 1.0]
    assert largest(averages) == [1.0, 1.0, 1.0]


def test_names_are_places_in_the_model():
  first, second = (
    averaged_weights.AveragedWeights(config(), model_of(value)) for value in (1.0, 2.0)
  )
  assert len(first.variables) == 2
  # Keras has called the second one's layers otherwise.
  assert list(first.variables) == list(second.variables)
  _, averages = make(1.0, 2.0)
  assert list(averages.variables) == ["part_w_0-0", "part_w_1-0"]


def test_names_that_come_out_alike():
  model = tf.Module()
  model.a = {"b": tf.Variable(1.0)}
  model.a_b = tf.Variable(2.0)
  averages = averaged_weights.AveragedWeights(config(), model)
  assert list(averages.variables) == ["a_b-0", "a_b-1"]


def test_none_are_made_where_none_are_configured():
  assert averaged_weights.create(None, tf.Module()) is None


def test_description():
  _, averages = make(1.0, decay=0.99, start_step=7, dynamic=True)
  assert averages.describe() == (
    "averaged weights: decay 0.99, less at the beginning, from step 7 on; they are evaluated, kept "
    "and exported"
  )
