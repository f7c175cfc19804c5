"""The count of FLOP and bytes, compared with layers worked by hand."""

import pytest
import tensorflow as tf

from benchmarks.cost import operations


def _graph(function, *shapes, dtype=tf.float32):
  specs = [tf.TensorSpec(shape, dtype) for shape in shapes]
  return tf.function(function, autograph=False).get_concrete_function(*specs).graph


def _convolve(images, kernel):
  return tf.nn.conv2d(images, kernel, 2, "SAME")


# 2 images of 8 × 6 × 3 become 4 × 3 × 5: each of the 2 · 60 values takes 3 · 3 · 3 multiply-adds.
CONVOLUTION = 2 * (2 * 60) * 27


def test_convolution():
  found = operations.count(_graph(_convolve, [2, 8, 6, 3], [3, 3, 3, 5]))
  assert found.flops == CONVOLUTION
  assert found.num_bytes == 4 * (2 * 8 * 6 * 3 + 3 * 3 * 3 * 5 + 2 * 60)
  assert found.num_ops == 1


def test_half_precision_halves_the_bytes():
  found = operations.count(_graph(_convolve, [2, 8, 6, 3], [3, 3, 3, 5], dtype=tf.bfloat16))
  assert found.num_bytes == 2 * (2 * 8 * 6 * 3 + 3 * 3 * 3 * 5 + 2 * 60)


def test_gradients_of_a_convolution_cost_as_much_each():
  def both(images, kernel):
    with tf.GradientTape() as tape:
      tape.watch([images, kernel])
      loss = tf.reduce_sum(_convolve(images, kernel) ** 2)
    return tape.gradient(loss, [images, kernel])

  found = operations.count(_graph(both, [2, 8, 6, 3], [3, 3, 3, 5]))
  assert found == (3 * CONVOLUTION, found.num_bytes, 3)


def test_a_gradient_that_nobody_wants_does_not_count():
  def of_the_kernel(images, kernel):
    with tf.GradientTape() as tape:
      tape.watch([images, kernel])
      loss = tf.reduce_sum(_convolve(images, kernel) ** 2)
    return tape.gradient(loss, [images, kernel])[1]

  assert operations.count(_graph(of_the_kernel, [2, 8, 6, 3], [3, 3, 3, 5])).num_ops == 2


def test_depthwise_convolution_and_its_gradients():
  def both(images, kernel):
    with tf.GradientTape() as tape:
      tape.watch([images, kernel])
      maps = tf.nn.depthwise_conv2d(images, kernel, [1, 2, 2, 1], "SAME")
      loss = tf.reduce_sum(maps**2)
    return tape.gradient(loss, [images, kernel])

  # 4 × 3 cells of 3 · 2 channels, of 9 taps each.
  found = operations.count(_graph(both, [1, 8, 6, 3], [3, 3, 3, 2]))
  assert found.flops == 3 * 2 * (4 * 3 * 6) * 9
  assert found.num_ops == 3


@pytest.mark.parametrize("transpose", [False, True])
def test_matrix_product(transpose):
  def product(first, second):
    return tf.matmul(first, second, transpose_a=transpose)

  first = [7, 5] if transpose else [5, 7]
  assert operations.count(_graph(product, first, [7, 4])).flops == 2 * 5 * 7 * 4


@pytest.mark.parametrize("transpose", [False, True])
def test_batch_of_matrix_products(transpose):
  def product(first, second):
    return tf.matmul(first, second, transpose_a=transpose)

  first = [3, 7, 5] if transpose else [3, 5, 7]
  assert operations.count(_graph(product, first, [3, 7, 4])).flops == 3 * 2 * 5 * 7 * 4


@pytest.mark.parametrize(
  ("equation", "first", "second", "products"),
  [
    ("bij,bjk->bik", [2, 3, 4], [2, 4, 5], 2 * 3 * 4 * 5),
    ("...ij,jk->...ik", [6, 2, 3, 4], [4, 5], 6 * 2 * 3 * 4 * 5),
  ],
)
def test_einsum(equation, first, second, products):
  graph = _graph(lambda a, b: tf.einsum(equation, a, b), first, second)
  assert [op.type for op in operations.of_type(graph, "Einsum")] == ["Einsum"]
  assert operations.count(graph).flops == 2 * products


def test_dense_layer_in_a_function_of_its_own():
  inner = tf.function(lambda x, w: tf.nn.relu(tf.matmul(x, w)))
  graph = _graph(lambda x, w: inner(x, w) + 1.0, [2, 3], [3, 4])
  assert operations.count(graph).flops == 2 * 2 * 3 * 4
  assert len(operations.of_type(graph, "MatMul")) == 1


def test_part_between_two_tensors():
  held = {}

  def layers(images, first, second):
    held["middle"] = tf.nn.relu(tf.matmul(images, first))
    held["end"] = tf.matmul(held["middle"], second)
    return held["end"]

  graph = _graph(layers, [2, 3], [3, 4], [4, 5])
  assert operations.count(graph).flops == 2 * (2 * 3 * 4 + 2 * 4 * 5)
  assert operations.count(graph, outputs=[held["middle"]]).flops == 2 * 2 * 3 * 4
  assert operations.count(graph, [held["middle"]], [held["end"]]).flops == 2 * 2 * 4 * 5


def test_unknown_shape_is_refused():
  with pytest.raises(ValueError, match=r"has shape \(None, 3\); accepted: a static shape"):
    operations.count(_graph(tf.matmul, [None, 3], [3, 4]))


def test_product_in_a_loop_is_refused():
  def loop(x):
    return tf.while_loop(lambda x: tf.reduce_sum(x) < 9.0, lambda x: (tf.matmul(x, x),), (x,))

  with pytest.raises(ValueError, match=r"holds 1 counted ops; accepted: none in loops"):
    operations.count(_graph(loop, [2, 2]))


def test_xla_counts_the_same():
  jax = pytest.importorskip("jax", reason="JAX is not installed (requirements.txt has it)")

  def layer(images, kernel):
    # No padding: XLA leaves out the taps that fall on it.
    return jax.lax.conv_general_dilated(
      images, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  shapes = [2, 9, 7, 3], [3, 3, 3, 5]
  arguments = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
  analysis = jax.jit(layer).lower(*arguments).cost_analysis()
  graph = _graph(lambda x, w: tf.nn.conv2d(x, w, 2, "VALID"), *shapes)
  assert operations.count(graph).flops == analysis["flops"]
