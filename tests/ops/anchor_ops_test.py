import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.ops import anchor_ops

# Scales and aspect ratios of the published detector.
_PUBLISHED = ((0.25, 0.5, 1.0, 2.0), (0.5, 1.0, 2.0))


class GridAnchorsTest(tf.test.TestCase):
  def test_square_anchors_of_a_small_grid(self):
    # Two rows, one column; a centre every 10 px, the first one at the origin.
    anchors = anchor_ops.grid_anchors((2, 1), 10, 8.0, scales=(0.5, 1.0), aspect_ratios=(1.0,))
    self.assertAllEqual(anchors, [[-2, -2, 2, 2], [-4, -4, 4, 4], [8, -2, 12, 2], [6, -4, 14, 4]])

  def test_aspect_ratio_is_width_over_height(self):
    (anchor,) = anchor_ops.grid_anchors((1, 1), 16, 10.0, scales=(1.0,), aspect_ratios=(4.0,))
    self.assertAllEqual(anchor, [-2.5, -10.0, 2.5, 10.0])

  def test_released_anchors(self):
    # Anchors of the released detector at row 8, column 10 of a 16x20 map; the others of that cell
    # stick out of the image, and only clipped ones are published.
    anchors = anchor_ops.grid_anchors((16, 20), 16, 256.0, *_PUBLISHED)
    self.assertEqual(anchors.shape, (16 * 20 * 12, 4))
    self.assertEqual(anchors.dtype, np.float32)
    cell = anchors[(8 * 20 + 10) * 12 :][:12]
    released = {
      0: [82.7452, 137.3726, 173.2548, 182.6274],
      1: [37.4903, 114.7452, 218.5097, 205.2548],
      4: [96.0, 128.0, 160.0, 192.0],
      5: [64.0, 96.0, 192.0, 224.0],
      8: [105.3726, 114.7452, 150.6274, 205.2548],
      9: [82.7452, 69.4903, 173.2548, 250.5097],
    }
    self.assertAllClose(cell[list(released)], list(released.values()), atol=1e-4)


class AnchorMaskTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_inside_image(self, jit_compile):
    anchors = tf.constant(
      [[0, 0, 20, 30], [-1, 0, 20, 30], [0, -1, 20, 30], [0, 0, 21, 30], [0, 0, 20, 31]], tf.float32
    )
    inside_fn = tf.function(anchor_ops.inside_image, jit_compile=jit_compile)
    inside = inside_fn(anchors, tf.constant([[20.0, 30.0], [21.0, 31.0]]))
    self.assertAllEqual(
      inside, [[True, False, False, False, False], [True, False, False, True, True]]
    )

  @parameterized.parameters(False, True)
  def test_on_content(self, jit_compile):
    # A 32x48 input has 2x3 cells. A 16x33 image fills one row of three cells, a 17x32 image two
    # rows of two.
    on_content_fn = tf.function(
      lambda size: anchor_ops.on_content((2, 3), size, 16, anchors_per_cell=2),
      jit_compile=jit_compile,
    )
    on_content = on_content_fn(tf.constant([[16.0, 33.0], [17.0, 32.0]]))
    cells = tf.constant([[1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 0]])
    self.assertAllEqual(on_content, tf.repeat(cells, 2, axis=1) == 1)

  def test_content_as_large_as_the_input_has_every_anchor(self):
    on_content = anchor_ops.on_content((2, 3), tf.constant([[32.0, 48.0]]), 16, 12)
    self.assertAllEqual(on_content, tf.ones([1, 2 * 3 * 12], tf.bool))


if __name__ == "__main__":
  tf.test.main()
