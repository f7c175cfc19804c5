import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.ops import resize_ops


def _resize(maps, content_size, output_size, half_pixel_centers=False, jit_compile=False):
  resize_fn = tf.function(
    lambda maps, content_size: resize_ops.bilinear_resize(
      maps, content_size, output_size, half_pixel_centers
    ),
    jit_compile=jit_compile,
  )
  return resize_fn(maps, content_size)


class LegacyBilinearResizeTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    # Output columns at 0, 0.5, 1 and 1.5, the last of which has nothing to its right.
    (False, [0.0, 5.0, 10.0, 10.0]),
    # Output columns at -0.25, 0.25, 0.75 and 1.25.
    (True, [0.0, 2.5, 7.5, 10.0]),
  )
  def test_two_columns_to_four(self, half_pixel_centers, expected):
    maps = tf.constant([0.0, 10.0], shape=[1, 1, 2, 1])
    resized = _resize(maps, tf.constant([[1, 2]]), (1, 4), half_pixel_centers)
    self.assertAllClose(resized[0, 0, :, 0], expected)

  @parameterized.product(
    size=[(13, 16), (64, 64), (70, 5), (1, 1)],
    half_pixel_centers=[False, True],
    jit_compile=[False, True],
  )
  def test_equals_tensorflow(self, size, half_pixel_centers, jit_compile):
    maps = tf.constant(np.random.default_rng(0).normal(size=[2, *size, 3]), tf.float32)
    resized = _resize(maps, tf.constant([size] * 2), (64, 48), half_pixel_centers, jit_compile)
    expected = tf.raw_ops.ResizeBilinear(
      images=maps,
      size=(64, 48),
      align_corners=False,
      half_pixel_centers=half_pixel_centers,
    )
    self.assertAllClose(resized, expected, atol=1e-5)

  @parameterized.product(half_pixel_centers=[False, True], jit_compile=[False, True])
  def test_each_image_of_a_batch_has_its_own_content(self, half_pixel_centers, jit_compile):
    rng = np.random.default_rng(0)
    sizes = [(7, 9), (10, 4)]
    contents = [rng.normal(size=[1, *size, 2]).astype(np.float32) for size in sizes]
    padded = np.full([2, 12, 9, 2], 1e6, np.float32)
    for image, (rows, columns) in enumerate(sizes):
      padded[image, :rows, :columns] = contents[image]
    resized = _resize(
      tf.constant(padded), tf.constant(sizes, tf.float32), (8, 8), half_pixel_centers, jit_compile
    )
    for image, (size, content) in enumerate(zip(sizes, contents, strict=True)):
      alone = _resize(tf.constant(content), tf.constant([size]), (8, 8), half_pixel_centers)
      self.assertAllClose(resized[image], alone[0], atol=1e-5)


if __name__ == "__main__":
  tf.test.main()
