"""3 x 3 convolutions of small square maps by way of their Fourier transform.

A map of n x n cells with one row and column of zeros behind it is its own padding when it is taken
for periodic, so a SAME convolution is a product of transforms of (n + 1) x (n + 1) frequencies. The
transform of real numbers has half as many, and a complex product takes three real ones: for crops
of 7 x 7 cells 94 products of channels by channels in place of 441. The transforms before and after
are themselves products with small matrices, and cost a fifth of that with 512 channels.

Maps come cell by cell, [n^2, R, ...], so that all of it is matrix products without a transposition.

References: Mathieu, Henaff and LeCun, "Fast Training of Convolutional Networks through FFTs", 2013,
for the idea; three real products for a complex one are Gauss'.
"""

import functools
import itertools

import numpy as np
import tensorflow as tf

KERNEL_SIZE = 3


def to_cells(maps: tf.Tensor) -> tf.Tensor:
  """Returns maps [R, n, n, c] cell by cell, [n^2, R, 1, c].

  A layer that treats cells one by one, or normalises over all but the channels, does the same to
  either.
  """
  height, width, channels = maps.shape[1:]
  cells = tf.transpose(tf.reshape(maps, [-1, height * width, channels]), [1, 0, 2])
  return cells[:, :, tf.newaxis]  # [n^2, R, 1, c]


def spectrum(kernel: tf.Tensor, side: int) -> tf.Tensor:
  """Returns the form of a kernel that `convolve` takes: [F, c, d].

  Args:
    kernel: float [3, 3, c, d], of the maps' type; half precision loses more here than elsewhere.
    side: n, of the maps.
  """
  _, of_kernel, _ = _matrices(side, kernel.dtype)
  flat = tf.reshape(kernel, [KERNEL_SIZE**2, -1])  # [9, c d]
  return tf.reshape(tf.matmul(of_kernel, flat), [-1, *kernel.shape[2:]])  # [F, c, d]


def convolve(cells: tf.Tensor, spectrum: tf.Tensor) -> tf.Tensor:
  """Returns the SAME convolution of stride 1, as of `tf.nn.conv2d`, of maps cell by cell.

  Args:
    cells: float [n^2, R, 1, c], as `to_cells` puts them.
    spectrum: [F, c, d] of the same type, of `spectrum` for this n.

  Returns:
    [n^2, R, 1, d].
  """
  num_cells, channels = cells.shape[0], cells.shape[-1]
  side = round(num_cells**0.5)
  of_map, _, to_map = _matrices(side, spectrum.dtype)
  flat = tf.reshape(cells, [num_cells, -1])  # [n^2, R c]
  forward = tf.reshape(tf.matmul(of_map, flat), [of_map.shape[0], -1, channels])  # [F, R, c]
  products = tf.matmul(forward, spectrum)  # [F, R, d]
  flat = tf.reshape(products, [of_map.shape[0], -1])  # [F, R d]
  convolved = tf.matmul(to_map, flat)  # [n^2, R d]
  return tf.reshape(convolved, [num_cells, -1, 1, spectrum.shape[-1]])


@functools.cache
def _matrices(side: int, dtype: tf.DType) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Matrices from a map [F, n^2], from a kernel [F, 9], and to a map [n^2, F].

  Frequencies come in pairs, one the conjugate of the other; one of each pair is enough. With map
  a + bi and kernel c + di, the three products are c (a + b), a (d - c) and b (c + d). The real part
  is the first less the third, the imaginary part the sum of the first two.
  """
  size = side + 1
  cells = np.array(list(itertools.product(range(side), repeat=2)))  # [n^2, 2]
  # The middle of the kernel lies on the cell itself.
  places = np.array(list(itertools.product(range(-1, 2), repeat=2)))  # [9, 2]
  of_map, of_kernel, to_map = [], [], []
  for frequency in itertools.product(range(size), repeat=2):
    conjugate = tuple(-step % size for step in frequency)
    if conjugate < frequency:
      continue
    angles = 2.0 * np.pi / size * (cells @ frequency)  # [n^2]
    a, b = np.cos(angles), -np.sin(angles)
    # A kernel is laid over a map unturned, which is the conjugate of a convolution's transform.
    angles = 2.0 * np.pi / size * (places @ frequency)  # [9]
    c, d = np.cos(angles), np.sin(angles)
    if conjugate == frequency:  # Real: a sum of cells, each with its sign.
      of_map.append(a)
      of_kernel.append(c)
      to_map.append(a / size**2)
    else:
      of_map += [a + b, a, b]
      of_kernel += [c, d - c, c + d]
      to_map += [2.0 / size**2 * weights for weights in (a + b, b, -a)]
  matrices = (np.array(of_map), np.array(of_kernel), np.array(to_map).T)
  return tuple(matrix.astype(dtype.as_numpy_dtype) for matrix in matrices)
