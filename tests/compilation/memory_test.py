"""Tests of reading XLA's assignment of memory, on programs small enough to count by hand."""

import pytest
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from mtl_ssl_tf.compilation import memory, step_program

# A square matrix of this side takes 256 KiB.
_SIDE = 256
_MATRIX = 4 * _SIDE * _SIDE


def _compile(function, *specs):
  compiled = tf.function(function, jit_compile=True, autograph=False)
  ir = compiled.experimental_get_compiler_ir(*specs)
  return hlo_pb2.HloProto.FromString(ir(stage="optimized_hlo_proto_serialized"))


def _argument(kind, shape=(_SIDE, _SIDE)):
  return step_program.Argument(kind, kind, shape, tf.float32)


_SPEC = tf.TensorSpec([_SIDE, _SIDE])


def test_two_products_at_a_time():
  # Neither product can be given up before the other is there, and their sum is a result.
  def sum_of_products(weights, inputs):
    first = inputs @ weights
    second = first @ weights
    return tf.reduce_sum(second @ first)

  program = _compile(sum_of_products, _SPEC, _SPEC)
  found = memory.measure(program, [_argument(step_program.FIXED), _argument(step_program.BATCH)])
  assert (found.parameters, found.batch, found.optimizer) == (_MATRIX, _MATRIX, 0)
  assert found.results == pytest.approx(4, abs=64)
  # `first`, `second` and their product, of which the first two are there at the same time.
  assert found.activations == pytest.approx(3 * _MATRIX, rel=0.01)
  assert found.gradients == 0
  assert found.total == pytest.approx(5 * _MATRIX, rel=0.01)
  assert [holder.num_bytes for holder in found.holders[:3]] == 3 * [_MATRIX]
  assert found.holders[0].shape == f"f32[{_SIDE},{_SIDE}]"
  assert found.holders[0].op.startswith("MatMul matmul")


def test_a_chain_takes_no_more_than_two_links():
  def chain(weights, inputs):
    for _ in range(8):
      inputs = inputs @ weights
    return tf.reduce_sum(inputs)

  program = _compile(chain, _SPEC, _SPEC)
  found = memory.measure(program, [_argument(step_program.FIXED), _argument(step_program.BATCH)])
  assert found.activations == pytest.approx(2 * _MATRIX, rel=0.01)


def _gradient(weights, inputs):
  with tf.GradientTape() as tape:
    tape.watch(weights)
    loss = tf.reduce_sum(tf.square(inputs @ weights))
  gradient = tape.gradient(loss, weights)
  return loss, tf.norm(gradient)


def test_gradients_are_reported_from_activations():
  rows = 8
  program = _compile(_gradient, _SPEC, tf.TensorSpec([rows, _SIDE]))
  arguments = [_argument(step_program.TRAINED), _argument(step_program.BATCH, (rows, _SIDE))]
  found = memory.measure(program, arguments)
  assert (found.parameters, found.batch) == (_MATRIX, 4 * rows * _SIDE)
  assert found.gradients == _MATRIX
  # Eight rows of products and their gradients, and what the norm is made of.
  assert 4 * rows * _SIDE <= found.activations < 1.2 * _MATRIX


def test_cores_that_add_gradients_up_hold_all_of_them():
  def nothing_to_keep(weights, inputs):
    return tf.reduce_sum(weights) + tf.reduce_sum(inputs)

  program = _compile(nothing_to_keep, _SPEC, _SPEC)
  arguments = [_argument(step_program.TRAINED), _argument(step_program.BATCH)]
  assert memory.measure(program, arguments, num_cores=1).gradients == 0
  assert memory.measure(program, arguments, num_cores=8).gradients == _MATRIX


def test_updated_variables_take_their_own_place():
  weights, slot = tf.Variable(tf.ones([_SIDE, _SIDE])), tf.Variable(tf.ones([_SIDE, _SIDE]))

  def update(inputs):
    slot.assign(0.9 * slot + inputs)
    weights.assign_sub(0.1 * slot)
    return tf.reduce_sum(inputs)

  found = memory.measure(
    _compile(update, _SPEC),
    [
      _argument(step_program.BATCH),
      _argument(step_program.OPTIMIZER),
      _argument(step_program.TRAINED),
    ],
  )
  assert (found.parameters, found.optimizer, found.batch) == (_MATRIX, _MATRIX, _MATRIX)
  assert found.results < 100
  assert found.total < 4.1 * _MATRIX


def test_another_number_of_arguments_is_refused():
  program = _compile(lambda weights: weights + 1.0, _SPEC)
  with pytest.raises(ValueError, match="has 1 arguments; accepted: 2"):
    memory.measure(program, [_argument(step_program.FIXED), _argument(step_program.BATCH)])


@pytest.mark.parametrize(
  ("num_bytes", "words"),
  [(3, "3 B"), (2048, "2.00 KiB"), (1.5 * 2**20, "1.50 MiB"), (16e9, "14.90 GiB")],
)
def test_units(num_bytes, words):
  assert memory.gib(num_bytes) == words
