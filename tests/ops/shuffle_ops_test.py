"""Orders of rows and their inverses; over replicas: see tests/tasks/insloc_replicas_test.py."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.ops import shuffle_ops


def _order(seed: int, jit_compile: bool = False) -> np.ndarray:
  draw = tf.function(shuffle_ops.random_order, jit_compile=jit_compile, autograph=False)
  return draw(10, tf.constant([seed, 0])).numpy()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_every_row_once_and_another_order_for_each_seed(jit_compile):
  orders = [_order(seed, jit_compile) for seed in range(20)]
  for order in orders:
    assert sorted(order) == list(range(10))
  assert len({tuple(order) for order in orders}) == 20
  np.testing.assert_array_equal(_order(3, jit_compile), _order(3))


def test_every_row_comes_to_every_place():
  draw = tf.function(shuffle_ops.random_order, autograph=False)
  orders = np.array([draw(10, tf.constant([seed, 0])) for seed in range(300)])
  places = np.array([[np.sum(orders[:, place] == row) for place in range(10)] for row in range(10)])
  # 30 times each, with a standard deviation of 5.2.
  assert places.min() > 8
  assert places.max() < 55


@pytest.mark.parametrize("jit_compile", [False, True])
def test_there_and_back(jit_compile):
  values = tf.constant([[10, 11], [20, 21], [30, 31]])
  order = tf.constant([2, 0, 1])
  run = tf.function(
    lambda: (
      shuffle_ops.take_rows(values, order),
      shuffle_ops.take_rows(shuffle_ops.take_rows(values, order), shuffle_ops.inverse(order)),
    ),
    jit_compile=jit_compile,
    autograph=False,
  )
  mixed, back = run()
  assert mixed.numpy().tolist() == [[30, 31], [10, 11], [20, 21]]
  np.testing.assert_array_equal(back, values)
