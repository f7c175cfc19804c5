"""Whether weights are finite, wherever in a model they lie."""

import math

import pytest
import tensorflow as tf

from mtl_ssl_tf.checkpoints import finite_weights
from mtl_ssl_tf.modeling.pretraining import insloc_model
from tests.modeling.pretraining import small


class Model(tf.Module):
  def __init__(self):
    super().__init__()
    self.kernel = tf.Variable([1.0, 2.0])
    self.again = self.kernel
    self.count = tf.Variable(3, dtype=tf.int64)
    self.parts = [tf.Variable(4.0, dtype=tf.bfloat16, trainable=False)]


def test_finite():
  assert finite_weights.FiniteWeights(model=Model()).fault() is None
  assert finite_weights.FiniteWeights(model=tf.Module()).fault() is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite(value):
  model = Model()
  weights = finite_weights.FiniteWeights(model=model)
  model.parts[0].assign(value)
  assert weights.fault() == (
    "1 of 2 variables hold numbers that are not finite, such as model/parts/0"
  )
  model.kernel.assign([value, 0.0])
  assert weights.fault().startswith("2 of 2 variables hold numbers that are not finite, such as ")
  model.kernel.assign([0.0, 0.0])
  model.parts[0].assign(0.0)
  assert weights.fault() is None


def test_of_a_pretraining_all_that_is_saved():
  model = insloc_model.build(small.config())
  weights = finite_weights.FiniteWeights(model=model)
  for variable, place in (
    (model.query_encoder.trainable_variables[0], "stage1"),  # Its shorter name.
    (model.key_encoder.averages[0], "key_encoder"),
    (model.key_encoder.statistics[0], "key_encoder"),
    (model.queue.keys, "queue/keys"),
  ):
    before = variable.read_value()
    variable.assign(tf.fill(variable.shape, math.nan))
    assert f"1 of 39 variables hold numbers that are not finite, such as model/{place}" in (
      weights.fault()
    )
    variable.assign(before)
  assert weights.fault() is None
