import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling.acceleration import fourier_conv


def by_fourier(maps, kernel):
  """The convolution of maps [R, n, n, c], cell by cell."""
  spectrum = fourier_conv.spectrum(kernel, maps.shape[1])
  return fourier_conv.convolve(fourier_conv.to_cells(maps), spectrum)


def test_cells_come_row_by_row():
  maps = tf.reshape(tf.range(2 * 2 * 2 * 3), [2, 2, 2, 3])
  cells = fourier_conv.to_cells(maps)
  assert cells.shape == [4, 2, 1, 3]
  for cell, (row, column) in enumerate(np.ndindex(2, 2)):
    np.testing.assert_array_equal(cells[cell, :, 0], maps[:, row, column])


def test_worked_case():
  # A map of one row of ones and a kernel that looks to the right: the last column sees zeros.
  maps = tf.constant([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])[
    tf.newaxis, ..., tf.newaxis
  ]
  kernel = tf.constant([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
  found = by_fourier(maps, kernel[..., tf.newaxis, tf.newaxis])
  np.testing.assert_allclose(
    tf.reshape(found, [3, 3]), [[0.0] * 3, [2.0, 2.0, 0.0], [0.0] * 3], atol=1e-6
  )


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("side", [1, 2, 4, 7, 14])
def test_values_and_gradients_are_those_of_a_convolution(side, jit_compile):
  rng = np.random.default_rng(side)
  maps = tf.constant(rng.normal(size=[3, side, side, 6]), tf.float32)
  kernel = tf.constant(rng.normal(size=[3, 3, 6, 4]), tf.float32)
  weights = tf.constant(rng.normal(size=[side**2, 3, 1, 4]), tf.float32)

  def direct(maps, kernel):
    # In float64, so that all the rounding is ours.
    convolved = tf.nn.conv2d(tf.cast(maps, tf.float64), tf.cast(kernel, tf.float64), 1, "SAME")
    return fourier_conv.to_cells(tf.cast(convolved, tf.float32))

  found = []
  for convolution in (direct, tf.function(by_fourier, jit_compile=jit_compile)):
    with tf.GradientTape() as tape:
      tape.watch([maps, kernel])
      values = convolution(maps, kernel)
      loss = tf.reduce_sum(values * weights)
    found.append([values, *tape.gradient(loss, [maps, kernel])])
  for expected, ours in zip(*found, strict=True):
    np.testing.assert_allclose(ours, expected, atol=3e-6 * np.max(np.abs(expected)))


@pytest.mark.parametrize(("side", "products"), [(7, 94), (14, 337)])
def test_real_products_of_channels(side, products):
  # Of the 64 frequencies of 8 x 8, four are their own conjugates; the others make 30 pairs. Of 225,
  # one is, and 112 pairs.
  assert fourier_conv.spectrum(tf.zeros([3, 3, 2, 5]), side).shape == [products, 2, 5]
