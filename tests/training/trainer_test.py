"""Steps of training and evaluation through the trainer, compiled and not."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.core import train_utils

from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import nonfinite, trainer
from tests.modeling import small_backbones
from tests.tasks import tiny
from tests.training import nonfinite_test, toy_task


@pytest.fixture(name="backbones", autouse=True, scope="module")
def _backbones():
  with small_backbones.registered():
    yield


@pytest.fixture(name="trainers", scope="module")
def _trainers(folder):
  """An uncompiled and a compiled trainer of the same detector."""
  made = []
  for enable_xla in (False, True):
    override = {
      "task": {"backbone": {"type": "blocks"}},
      "runtime": {"enable_xla": enable_xla},
    }
    params = tiny.experiment(folder, override)
    task = mtl_detection.MtlDetectionTask(
      params.task, crop_method=params.runtime.compiled_crop_method
    )
    optimizer = train_utils.create_optimizer(task, params)
    made.append(trainer.TaskTrainer(params, task, task.build_model(), optimizer))
  return made


def test_evaluation(trainers):
  logs = []
  for each in trainers:
    data = iter(each.task.build_inputs(each.task.task_config.validation_data))
    logs.append(tf.function(each.eval_step)(data))
  plain, compiled = logs
  assert "auxiliary/window_probabilities" in plain
  assert set(compiled) == set(plain)
  for name, (value,) in plain.items():
    np.testing.assert_allclose(compiled[name][0], value, atol=1e-4, err_msg=name)


def test_training(trainers):
  plain, compiled = (each.train(tf.constant(2)) for each in trainers)
  assert set(compiled) == set(plain)
  for name, value in plain.items():
    np.testing.assert_allclose(compiled[name], value, atol=1e-4, err_msg=name)
  for each in trainers:
    assert int(each.global_step) == int(each.optimizer.iterations) == 2


def test_the_compiled_steps_are_xla_programs(trainers):
  _, compiled = trainers
  for step in (compiled._guarded_step, compiled._evaluation_step):
    assert step._jit_compile
  assert compiled.train(tf.constant(3))
  # Variables are made in a first trace, and used in the second.
  assert compiled._guarded_step.experimental_get_tracing_count() <= 2


class Counted(nonfinite_test.Model):
  """Passes its inputs on; a statistic counts the calls, as normalisation learns from each."""

  def call(self, inputs):
    self.statistic.assign_add(1.0)
    return inputs * self.w[0]


@pytest.mark.parametrize("num_good", [0, 1])
def test_a_step_that_is_not_applied_leaves_no_trace(tmp_path, num_good):
  toy_task.write_records(tmp_path)
  # From the step `num_good` on no loss is small enough.
  settings = {"loss_upper_bound": 0.0, "recovery_begin_steps": num_good}
  settings |= {"optimizer_config": {"ema": {"average_decay": 0.5}}}
  params = toy_task.experiment(tmp_path, {"trainer": settings})
  task = toy_task.ToyTask(params.task)
  model = tf_keras.Sequential([Counted(), tf_keras.layers.Dense(1)])
  model.build([None, toy_task.NUM_FEATURES])
  made = trainer.TaskTrainer(params, task, model, train_utils.create_optimizer(task, params))
  for average in made.averages.variables.values():
    average.assign_add(tf.ones_like(average))
  if num_good:
    made.train(tf.constant(num_good))
  state = [*model.variables, *made.optimizer.variables(), *made.averages.variables.values()]
  before = [variable.numpy() for variable in state]
  with pytest.raises(nonfinite.NonFiniteError) as error:
    made.train(tf.constant(2))
  assert error.value.step == num_good
  for variable, value in zip(state, before, strict=True):
    np.testing.assert_array_equal(variable, value, err_msg=variable.name)
  assert model.layers[0].statistic.numpy() == num_good
