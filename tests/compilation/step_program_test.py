"""Tests of what a step's program is reported to take, on a step of a few operations."""

import types

import pytest
import tensorflow as tf

from mtl_ssl_tf.compilation import step_program
from mtl_ssl_tf.configs import experiments, optimization
from mtl_ssl_tf.training import averaged_weights


class _Model(tf.Module):
  """One trained weight, one that is not, and a table too large to be part of a graph."""

  def __init__(self):
    super().__init__()
    self.kernel = tf.Variable([1.0, 2.0], name="kernel")
    self.mean = tf.Variable(0.0, trainable=False, name="mean")
    self.table = tf.range(1000.0)


def test_arguments_are_named_by_kind():
  model = _Model()
  rate = tf.Variable(0.5, name="rate")
  program = object.__new__(step_program.StepProgram)
  program.model = model
  averages = averaged_weights.AveragedWeights(optimization.AveragesConfig(), model)
  program.averages = averages
  program.optimizer = type("_Optimizer", (tf.Module,), {"variables": lambda self: [rate]})()

  def take(images, gt_classes):
    total = tf.reduce_sum(images) * tf.reduce_sum(model.table) + tf.cast(gt_classes[0], tf.float32)
    model.kernel.assign_sub(rate * model.kernel)
    averages.update(tf.constant(1))
    return {"loss": total + model.mean}

  program.function = tf.function(take, jit_compile=True, autograph=False)
  batch = tf.zeros([1, 4]), {"gt_classes": tf.zeros([3], tf.int32)}
  images, classes, *captured = program.arguments(batch)
  assert (images.name, images.kind, images.shape) == ("images", "batch", (1, 4))
  assert (classes.name, classes.dtype, classes.num_bytes) == ("gt_classes", tf.int32, 12)
  found = {argument.name: (argument.kind, argument.shape) for argument in captured}
  assert found.pop("kernel:0") == ("trained", (2,))
  assert found.pop("mean:0") == ("fixed", ())
  assert found.pop("rate:0") == ("optimizer", ())
  assert found.pop("kernel/average:0") == ("optimizer", (2,))
  assert list(found.values()) == [("fixed", (1000,))]
  (table,) = step_program.read([one for one in captured if one.shape == (1000,)])
  assert table[-1] == 999.0


@pytest.mark.parametrize("is_averaged", [False, True])
def test_a_step_of_training_takes_in_the_averages(is_averaged):
  model = tf.Module()
  model.kernel = kernel = tf.Variable([1.0])
  program = object.__new__(step_program.StepProgram)
  program.model, program._structure = model, (0, {})
  program.optimizer = types.SimpleNamespace(iterations=tf.constant(1))

  def train_step(batch, model, optimizer):
    kernel.assign([3.0])
    return {"loss": batch[0]}

  program.task = types.SimpleNamespace(train_step=train_step)
  config = optimization.AveragesConfig(average_decay=0.5, dynamic_decay=False)
  averages = averaged_weights.AveragedWeights(config, model)
  program.averages = averages if is_averaged else None
  assert program._train(tf.constant(7.0)) == {"loss": 7.0}
  assert float(averages.variables["kernel-0"][0]) == (2.0 if is_averaged else 1.0)


def test_weight_decay_in_optimizer_and_loss_is_refused():
  params = experiments.mtl_frcnn()
  optimizer = {"type": "adamw", "adamw": {"weight_decay_rate": 0.1}}
  params.override(
    {
      "task": {"label_map": "labels.txt"},
      "trainer": {"optimizer_config": {"optimizer": optimizer}},
    }
  )
  with pytest.raises(ValueError, match="as kernels would decay twice"):
    step_program.check(params)
