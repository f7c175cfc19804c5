"""Tests of the checks of a traced step, on functions with one fault each."""

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from mtl_ssl_tf.compilation import findings, graph_checks
from mtl_ssl_tf.ops import crop_ops


def _graph(function, *specs):
  return tf.function(function, autograph=False).get_concrete_function(*specs).graph


_ROWS = tf.TensorSpec([3, 2])


def _positive_rows(rows):
  return tf.boolean_mask(rows, rows[:, 0] > 0.0)


def test_nothing_to_tell_of_a_static_graph_with_a_loop():
  def halve(rows):
    return tf.while_loop(lambda x: tf.reduce_max(x) > 1.0, lambda x: [x / 2.0], [rows])[0]

  assert graph_checks.check(_graph(halve, _ROWS)) == []


def test_an_input_of_unknown_shape():
  (found,) = graph_checks.check(_graph(lambda rows: rows[0, 0], tf.TensorSpec([None, 2])))
  assert (found.level, found.kind) == (findings.FAILURE, "dynamic_shape")
  assert found.field == "task.train_data.input_size"
  assert "(None, 2)" in found.value


def test_a_shape_that_the_values_decide():
  found = graph_checks.check(_graph(_positive_rows, _ROWS))
  assert {one.level for one in found} == {findings.WARNING}
  assert any("Where" in one.value and "(None, 1)" in one.value for one in found)


def test_such_a_shape_in_a_branch_inside_a_loop():
  def body(rows):
    rows = tf.cond(
      rows[0, 0] > 0.0,
      lambda: rows + tf.reduce_sum(_positive_rows(rows)),
      lambda: rows,
    )
    return [rows]

  def loop(rows):
    return tf.while_loop(lambda x: tf.reduce_max(x) < 1.0, body, [rows])[0]

  found = graph_checks.check(_graph(loop, _ROWS))
  assert any("Where" in one.value for one in found)


def test_what_batch_normalisation_reserves_is_no_dynamic_shape():
  def normalise(images):
    with tf.GradientTape() as tape:
      tape.watch(images)
      outputs = tf.compat.v1.nn.fused_batch_norm(images, [1.0], [0.0], epsilon=1e-3)
    return tape.gradient(outputs[0], images)

  assert graph_checks.check(_graph(normalise, tf.TensorSpec([1, 4, 4, 1]))) == []


def test_a_host_op_is_reported_with_place_and_field():
  def crop(features, boxes, size):
    return crop_ops.crop_and_resize(features, boxes, size, 16, (7, 7), "native", True)

  graph = _graph(crop, tf.TensorSpec([1, 8, 8, 2]), tf.TensorSpec([1, 3, 4]), tf.TensorSpec([1, 2]))
  (found,) = graph_checks.host_ops(graph)
  assert (found.level, found.kind) == (findings.FAILURE, "host_op")
  assert found.field == "runtime.crop_method"
  assert found.value.startswith("CropAndResize at mtl_ssl_tf/ops/crop_ops.py:")
  assert found.accepted == "auto or matmul"


def test_a_host_op_in_the_body_of_a_loop_without_a_field():
  def shout(x):
    text = tf.strings.as_string(x)
    return [x / 2.0 + 0.0 * tf.cast(tf.strings.length(text), tf.float32)]

  def loop(rows):
    return tf.while_loop(lambda x: x > 1.0, shout, [rows[0, 0]])[0]

  found = graph_checks.host_ops(_graph(loop, _ROWS))
  assert {one.value.split(" at ")[0] for one in found} == {"AsString", "StringLength"}
  assert {one.field for one in found} == {""}


def test_ops_are_counted_by_place():
  def twice(images, boxes, indices):
    crops = [tf.image.crop_and_resize(images, boxes, indices, (2, 2)) for _ in range(2)]
    return tf.add_n(crops)

  graph = _graph(
    twice, tf.TensorSpec([1, 4, 4, 1]), tf.TensorSpec([3, 4]), tf.TensorSpec([3], tf.int32)
  )
  # Nobody of this package made them, so each is reported by its own name.
  found = graph_checks.host_ops(graph)
  assert len(found) == 2
  assert {one.value.split(" runs")[0] for one in found} == {
    f"CropAndResize at {name}" for name in ("CropAndResize", "CropAndResize_1")
  }
  crop = tf.function(twice, autograph=False)
  loops = _graph(
    lambda *inputs: crop(*inputs) + crop(*inputs), *graph.structured_input_signature[0]
  )
  assert len(graph_checks.host_ops(loops)) == 2  # Each function is checked once.


def test_sizes_that_change_in_the_compiled_program():
  compiled = tf.function(_positive_rows, jit_compile=True, autograph=False)
  text = compiled.experimental_get_compiler_ir(_ROWS)(stage="hlo_serialized")
  program = hlo_pb2.HloProto(hlo_module=hlo_pb2.HloModuleProto.FromString(text))
  found = graph_checks.dynamic_dimensions(program)
  assert found
  assert {one.level for one in found} == {findings.FAILURE}

  static = tf.function(lambda rows: rows + 1.0, jit_compile=True, autograph=False)
  text = static.experimental_get_compiler_ir(_ROWS)(stage="hlo_serialized")
  program = hlo_pb2.HloProto(hlo_module=hlo_pb2.HloModuleProto.FromString(text))
  assert graph_checks.dynamic_dimensions(program) == []
