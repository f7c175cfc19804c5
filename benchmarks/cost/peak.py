"""Measures this machine's best rate of convolution: one large 3 × 3 convolution."""

import numpy as np
import tensorflow as tf

from benchmarks.cost import measuring

BATCH, SIDE, DEPTH, KERNEL = 8, 64, 512, 3
SMALL_DEPTH = 32


def measure(precision: str, repeats: int, small: bool = False) -> dict:
  """Returns `gflops`, 10^9 FLOP a second at the median, and what `measuring.timed` returns."""
  depth = SMALL_DEPTH if small else DEPTH
  maps = tf.random.stateless_normal([BATCH, SIDE, SIDE, depth], [0, 0])
  kernel = tf.random.stateless_normal([KERNEL, KERNEL, depth, depth], [0, 1])
  maps, kernel = tf.cast(maps, precision), tf.cast(kernel, precision)

  @tf.function(autograph=False)
  def convolve(maps, kernel):
    return tf.nn.conv2d(maps, kernel, 1, "SAME")

  # One value is enough to wait for all.
  found = measuring.timed(lambda: convolve(maps, kernel)[0, 0, 0, 0].numpy(), repeats)
  flops = 2 * BATCH * SIDE * SIDE * depth * KERNEL * KERNEL * depth
  return {**found, "gflops": flops / float(np.median(found["seconds"])) / 1e9}
