"""InfoNCE against loops over queries and keys, and the spread of vectors."""

import math

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.losses import contrastive_losses


def _unit(rows) -> np.ndarray:
  rows = np.asarray(rows, np.float32)
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _oracle(queries, keys, negatives, temperature) -> tuple[float, list[bool]]:
  losses, firsts = [], []
  for query, key in zip(queries.astype(np.float64), keys.astype(np.float64), strict=True):
    own = math.exp(float(query @ key) / temperature)
    others = [
      math.exp(float(query @ other) / temperature) for other in negatives.astype(np.float64)
    ]
    losses.append(-math.log(own / (own + sum(others))))
    firsts.append(all(own > other for other in others))
  return sum(losses) / len(losses), firsts


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_as_the_definition_has_it(jit_compile, temperature):
  rng = np.random.default_rng(0)
  queries, negatives = _unit(rng.normal(size=[5, 4])), _unit(rng.normal(size=[7, 4]))
  keys = _unit(queries + 0.5 * rng.normal(size=[5, 4]))
  function = tf.function(contrastive_losses.info_nce, jit_compile=jit_compile, autograph=False)
  found = function(tf.constant(queries), tf.constant(keys), tf.constant(negatives), temperature)
  loss, firsts = _oracle(queries, keys, negatives, temperature)
  assert float(found.loss) == pytest.approx(loss, rel=1e-5)
  assert found.is_first.numpy().tolist() == firsts
  assert len(set(firsts)) == 2  # Both kinds are in the case.


def test_three_vectors_by_hand():
  # The query is its own key, and the two others are at right angles and opposite.
  query, others = tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0], [-1.0, 0.0]])
  found = contrastive_losses.info_nce(query, query, others, 0.5)
  assert float(found.loss) == pytest.approx(math.log(1.0 + math.exp(-2.0) + math.exp(-4.0)))
  assert bool(found.is_first[0])


def test_keys_get_no_gradient():
  rng = np.random.default_rng(1)
  queries, keys, negatives = (tf.constant(_unit(rng.normal(size=[3, 4]))) for _ in range(3))
  with tf.GradientTape() as tape:
    tape.watch([queries, keys, negatives])
    loss = contrastive_losses.info_nce(queries, keys, negatives, 0.2).loss
  by_queries, *others = tape.gradient(loss, [queries, keys, negatives])
  assert others == [None, None]
  assert float(tf.norm(by_queries)) > 0.1


def test_an_equal_vector_is_not_first():
  query = tf.constant([[1.0, 0.0]])
  assert not bool(contrastive_losses.info_nce(query, query, query, 0.2).is_first[0])


def test_spread():
  same = tf.constant([[0.6, 0.8]] * 4)
  assert float(contrastive_losses.spread(same)) == pytest.approx(0.0, abs=1e-4)
  # The deviation of +1, -1, 0, 0 is the root of a half, in both dimensions.
  cross = tf.constant([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
  assert float(contrastive_losses.spread(cross)) == pytest.approx(1.0)
  everywhere = tf.constant(_unit(np.random.default_rng(0).normal(size=[5000, 16])))
  assert float(contrastive_losses.spread(everywhere)) == pytest.approx(1.0, abs=0.02)
