"""Tests of what a step's program is reported to take, on a step of a few operations."""

import tensorflow as tf

from mtl_ssl_tf.compilation import step_program


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
  program.optimizer = type("_Optimizer", (tf.Module,), {"variables": lambda self: [rate]})()

  def take(images, gt_classes):
    total = tf.reduce_sum(images) * tf.reduce_sum(model.table) + tf.cast(gt_classes[0], tf.float32)
    model.kernel.assign_sub(rate * model.kernel)
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
  assert list(found.values()) == [("fixed", (1000,))]
  (table,) = step_program.read([one for one in captured if one.shape == (1000,)])
  assert table[-1] == 999.0
