"""Steps of training and evaluation through the trainer, compiled and not."""

import numpy as np
import pytest
import tensorflow as tf
from official.core import train_utils

from mtl_ssl_tf.tasks import mtl_detection
from mtl_ssl_tf.training import trainer
from tests.modeling import small_backbones
from tests.tasks import tiny


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
