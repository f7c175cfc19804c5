import numpy as np
import tensorflow as tf

from mtl_ssl_tf.ops import crop_ops, psroi_ops


def naive_pool(maps, boxes, num_bins, crop_size):
  """Region by region, bin by bin, sample by sample; [R, d] of maps [h, w, bins d]."""
  h, w, channels = maps.shape
  depth, samples = channels // num_bins**2, crop_size // num_bins
  pooled = np.zeros([len(boxes), depth])
  for r, (ymin, xmin, ymax, xmax) in enumerate(boxes):
    for by, bx in np.ndindex(num_bins, num_bins):
      k = by * num_bins + bx
      group = maps[..., k * depth : (k + 1) * depth]
      ys = (ymin + (by + np.linspace(0, 1, samples)) * (ymax - ymin) / num_bins) * (h - 1)
      xs = (xmin + (bx + np.linspace(0, 1, samples)) * (xmax - xmin) / num_bins) * (w - 1)
      for y in ys:
        for x in xs:
          y0, x0 = min(int(y), h - 2), min(int(x), w - 2)
          fy, fx = y - y0, x - x0
          pooled[r] += (1 - fy) * (1 - fx) * group[y0, x0] + (1 - fy) * fx * group[y0, x0 + 1]
          pooled[r] += fy * (1 - fx) * group[y0 + 1, x0] + fy * fx * group[y0 + 1, x0 + 1]
  return pooled / crop_size**2


class PositionSensitivePoolTest(tf.test.TestCase):
  def test_worked_case(self):
    # 2 x 2 bins: the k-th group of channels holds k everywhere, and 10 k in its second channel.
    maps = np.concatenate([np.full([1, 3, 3, 2], [k, 10 * k]) for k in range(4)], axis=-1)
    boxes = tf.constant([[[0.0, 0.0, 1.0, 1.0], [0.25, 0.0, 0.5, 0.25]]])
    pooled = psroi_ops.position_sensitive_pool(
      tf.constant(maps, tf.float32), boxes, tf.constant([[3.0, 3.0]]), 2, 4, "native", True
    )
    self.assertAllClose(pooled, [[[1.5, 15.0], [1.5, 15.0]]])

  def test_a_bin_sees_its_part_of_the_box_in_its_own_channels(self):
    # Only the group of the lower right bin is not zero, and it is 1 in the lower right cell alone.
    maps = np.zeros([1, 5, 5, 4], np.float32)
    maps[0, 4, 4, 3] = 1.0
    whole = tf.constant([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]])
    pooled = psroi_ops.position_sensitive_pool(
      tf.constant(maps), whole, tf.constant([[5.0, 5.0]]), 2, 4, "native", True
    )
    # Its four samples lie at cells 2 and 4; one of sixteen samples in all hits the cell.
    self.assertAllClose(pooled, [[[1 / 16], [0.0]]])

  def test_against_loops(self):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=[2, 6, 8, 9 * 4]).astype(np.float32)
    low = rng.uniform(0.0, 0.5, [2, 7, 2])
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.45, [2, 7, 2])], axis=-1)
    pooled = psroi_ops.position_sensitive_pool(
      tf.constant(maps), tf.constant(boxes, tf.float32), tf.constant([[6.0, 8.0]] * 2), 3, 18
    )
    expected = [naive_pool(m, b, 3, 18) for m, b in zip(maps, boxes, strict=True)]
    self.assertAllClose(pooled, expected, atol=1e-5)

  def test_padding_of_the_map_changes_nothing(self):
    rng = np.random.default_rng(1)
    maps = rng.normal(size=[1, 4, 5, 9 * 2]).astype(np.float32)
    boxes = tf.constant([[[0.1, 0.2, 0.9, 0.8], [0.0, 0.0, 1.0, 1.0]]])
    size = tf.constant([[4.0, 5.0]])
    alone = psroi_ops.position_sensitive_pool(tf.constant(maps), boxes, size, 3, 6, "native", True)
    padded = np.pad(maps, [[0, 0], [0, 3], [0, 2], [0, 0]], constant_values=99.0)
    on_padded = psroi_ops.position_sensitive_pool(
      tf.constant(padded), boxes, size, 3, 6, "native", True
    )
    self.assertAllClose(alone, on_padded, atol=1e-5)

  def test_padding_yields_zeros(self):
    pooled = psroi_ops.position_sensitive_pool(
      tf.ones([1, 4, 4, 9]), -tf.ones([1, 1, 4]), tf.constant([[4.0, 4.0]]), 3, 6, "native", True
    )
    self.assertAllEqual(pooled, [[[0.0]]])

  def test_eager_and_graph_agree_on_the_border(self):
    # A last bin that sticks out by a rounding error loses samples: both must say so alike.
    rng = np.random.default_rng(2)
    low = rng.uniform(0.0, 0.9, [1, 200, 2]).astype(np.float32)
    boxes = tf.constant(np.concatenate([low, np.ones_like(low)], axis=-1))
    maps, size = tf.ones([1, 20, 20, 9]), tf.constant([[20.0, 20.0]])

    def pool(boxes):
      return psroi_ops.position_sensitive_pool(maps, boxes, size, 3, 18, "native", True)

    self.assertAllClose(pool(boxes), tf.function(pool)(boxes), atol=1e-6)

  def test_methods_are_equal(self):
    rng = np.random.default_rng(3)
    maps = tf.constant(rng.normal(size=[2, 9, 14, 9 * 4]), tf.float32)
    size = tf.constant([[9.0, 14.0], [6.0, 11.0]])
    boxes = np.sort(rng.uniform(-0.2, 1.2, [2, 40, 2, 2]), axis=2).reshape(2, 40, 4)
    boxes[:, 7] = -1.0
    boxes = tf.constant(boxes, tf.float32)
    upstream = tf.constant(rng.normal(size=[2, 40, 4]), tf.float32)

    def pool(method):
      with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = psroi_ops.position_sensitive_pool(maps, boxes, size, 3, 18, method, False)
        total = tf.reduce_sum(pooled * upstream)
      return pooled, tape.gradient(total, maps)

    native = pool("native")
    for others in (pool("matmul"), tf.function(pool, jit_compile=True)("matmul")):
      for found, expected in zip(others, native, strict=True):
        scale = np.max(np.abs(expected))
        self.assertAllClose(found, expected, atol=1e-5 * scale, rtol=0.0)

  def test_unknown_method(self):
    with self.assertRaisesRegex(ValueError, "crop method is 'fast'"):
      psroi_ops.position_sensitive_pool(
        tf.ones([1, 4, 4, 9]), tf.ones([1, 1, 4]), tf.ones([1, 2]), 3, 6, "fast", True
      )

  def test_bins_keep_the_samples_at_the_border(self):
    rng = np.random.default_rng(4)
    low = rng.uniform(0.0, 0.99, [1, 500, 2]).astype(np.float32)
    boxes = tf.constant(np.concatenate([low, np.ones_like(low)], axis=-1))
    maps, size = tf.ones([1, 19, 32, 9]), tf.constant([[19.0, 32.0]])
    for method in crop_ops.METHODS:
      lost, kept = (
        psroi_ops.position_sensitive_pool(maps, boxes, size, 3, 18, method, keep_border)
        for keep_border in (False, True)
      )
      self.assertAllClose(kept, tf.ones_like(kept), atol=1e-4)
      self.assertGreater(np.sum(lost < 0.99), 0)
