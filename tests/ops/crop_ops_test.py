import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.ops import crop_ops

# Every cell of this map holds 10 · row + column, so that a bilinear sample at (y, x) of it is
# 10 · y + x.
_ROWS, _COLUMNS = 4, 5


def _ramp(rows=_ROWS, columns=_COLUMNS):
  row, column = np.indices([rows, columns]).astype(np.float32)
  return tf.constant(10.0 * row + column)[tf.newaxis, ..., tf.newaxis]


def _padded(features, rows, columns, filling=1000.0):
  _, h, w, _ = features.shape
  return tf.pad(
    features, [[0, 0], [0, rows - h], [0, columns - w], [0, 0]], constant_values=filling
  )


def _crop(features, boxes_px, image_size_px, stride, crop_size):
  boxes_norm = boxes_px / tf.tile(image_size_px, [1, 2])[:, tf.newaxis]
  return crop_ops.crop_and_resize(
    features, boxes_norm, image_size_px, stride, crop_size, "native", keep_border=True
  )


class CropAndResizeTest(tf.test.TestCase):
  def test_worked_case(self):
    # 64x80 image, stride 16. The whole image reaches from cell (0, 0) to cell (3, 4), a third
    # sample lies half-way. Half of it reaches from (0, 0) to (1.5, 2).
    crops = _crop(
      _ramp(),
      tf.constant([[[0.0, 0.0, 64.0, 80.0], [0.0, 0.0, 32.0, 40.0]]]),
      tf.constant([[64.0, 80.0]]),
      16,
      (2, 3),
    )
    self.assertEqual(crops.shape, (1, 2, 2, 3, 1))
    self.assertAllClose(crops[0, 0, ..., 0], [[0, 2, 4], [30, 32, 34]], atol=1e-4)
    self.assertAllClose(crops[0, 1, ..., 0], [[0, 1, 2], [15, 16, 17]], atol=1e-4)

  def test_content_that_ends_within_a_cell(self):
    # 50x70 pixels also have 4x5 cells, and fraction 1 still means the last of them.
    crops = _crop(
      _ramp(), tf.constant([[[0.0, 0.0, 50.0, 70.0]]]), tf.constant([[50.0, 70.0]]), 16, (2, 2)
    )
    self.assertAllClose(crops[0, 0, ..., 0], [[0, 4], [30, 34]], atol=1e-4)

  def test_one_sample_is_the_centre(self):
    # The centre of the second box is past the end of the image, though on the padded map.
    crops = _crop(
      _padded(_ramp(), 8, 8),
      tf.constant([[[0.0, 0.0, 64.0, 40.0], [40.0, 0.0, 100.0, 40.0]]]),
      tf.constant([[64.0, 80.0]]),
      16,
      (1, 1),
    )
    self.assertAllClose(crops[0, ..., 0], [[[16.0]], [[0.0]]], atol=1e-4)

  def test_size_of_the_padded_map_changes_nothing(self):
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=[2, 13, 16, 3]), tf.float32)
    size = tf.constant([[200.0, 250.0], [193.0, 256.0]])
    corners = np.sort(rng.uniform(-0.2, 1.2, [2, 40, 2, 2]), axis=2).reshape(2, 40, 4)
    corners[:, :10] = np.clip(corners[:, :10], 0.0, 1.0)  # with sides right on the border
    boxes_px = tf.constant(corners, tf.float32) * tf.concat([size, size], -1)[:, tf.newaxis]
    alone = tf.stack(
      [
        tf.image.crop_and_resize(
          features[image : image + 1],
          boxes_px[image] / tf.concat([size[image]] * 2, -1),
          [0] * 40,
          (7, 6),
        )
        for image in range(2)
      ]
    )
    for rows, columns in ((13, 16), (14, 16), (20, 31)):
      crops = _crop(_padded(features, rows, columns), boxes_px, size, 16, (7, 6))
      # A padded cell of 1000 has a say of the size of a rounding error.
      self.assertAllClose(crops, alone, atol=1e-2)
      self.assertAllEqual(crops == 0.0, alone == 0.0)

  def test_outside_and_padding_are_zero(self):
    crops = _crop(
      _padded(_ramp() + 1.0, 8, 8),
      tf.constant([[[70.0, 0.0, 90.0, 80.0], [0.0, -80.0, 64.0, 80.0], [-1.0] * 4]]),
      tf.constant([[64.0, 80.0]]),
      16,
      (2, 2),
    )
    self.assertAllClose(crops[0, ..., 0], [np.zeros([2, 2]), [[0, 5], [0, 35]], np.zeros([2, 2])])

  def test_map_of_one_cell(self):
    for features in (_ramp(1, 1) + 7.0, _padded(_ramp(1, 1) + 7.0, 3, 2)):
      crops = _crop(
        features, tf.constant([[[2.0, 3.0, 9.0, 10.0]]]), tf.constant([[10.0, 10.0]]), 16, (2, 2)
      )
      self.assertAllClose(crops[0, 0, ..., 0], [[7, 7], [7, 7]], atol=1e-3)

  def test_images_of_a_batch_of_unknown_size_do_not_mix(self):
    crop_fn = tf.function(
      lambda *arguments: _crop(*arguments, 16, (2, 2)),
      input_signature=[
        tf.TensorSpec([None, 4, 5, 1]),
        tf.TensorSpec([None, None, 4]),
        tf.TensorSpec([None, 2]),
      ],
    )
    features = tf.concat([_ramp(), 100.0 + _ramp()], axis=0)
    boxes_px = tf.constant([[[0.0, 0.0, 64.0, 80.0]], [[0.0, 0.0, 32.0, 32.0]]])
    crops = crop_fn(features, boxes_px, tf.constant([[64.0, 80.0], [32.0, 32.0]]))
    self.assertAllClose(crops[0, 0, ..., 0], [[0, 4], [30, 34]], atol=1e-4)
    self.assertAllClose(crops[1, 0, ..., 0], [[100, 101], [110, 111]])

  def test_gradient_reaches_only_cells_that_were_sampled(self):
    features = _padded(_ramp(), 6, 6)
    with tf.GradientTape() as tape:
      tape.watch(features)
      crops = _crop(
        features, tf.constant([[[0.0, 0.0, 96.0, 80.0]]]), tf.constant([[64.0, 80.0]]), 16, (2, 2)
      )
      total = tf.reduce_sum(crops)
    # The second row of samples lies beyond the image: row 4.5 of rows 0 … 3.
    gradient = np.zeros([6, 6])
    gradient[0, [0, 4]] = 1.0
    self.assertAllClose(tape.gradient(total, features)[0, ..., 0], gradient, atol=1e-5)


class MethodsTest(parameterized.TestCase, tf.test.TestCase):
  """The two methods, and the compiled one, give the same crops and gradients."""

  @parameterized.product(
    map_size=((20, 31), (31, 20), (1, 1)), crop_size=((7, 6), (1, 1), (3, 14)), stride=(1, 16)
  )
  def test_equal(self, map_size, crop_size, stride):
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=[2, *map_size, 3]), tf.float32)
    whole = np.array(map_size, np.float32) * stride
    size = tf.constant([whole, np.ceil(0.6 * whole)])
    boxes = np.sort(rng.uniform(-0.3, 1.3, [2, 50, 2, 2]), axis=2).reshape(2, 50, 4)
    boxes[:, 3] = -1.0
    boxes[:, 4] = [0.25, 0.5, 0.25, 0.5]
    boxes = tf.constant(boxes, tf.float32)
    upstream = tf.constant(rng.normal(size=[2, 50, *crop_size, 3]), tf.float32)

    def crops_and_gradient(method):
      with tf.GradientTape() as tape:
        tape.watch(features)
        crops = crop_ops.crop_and_resize(features, boxes, size, stride, crop_size, method, True)
        total = tf.reduce_sum(crops * upstream)
      return crops, tape.gradient(total, features)

    native = crops_and_gradient("native")
    self.assertEqual(native[0].shape, (2, 50, *crop_size, 3))
    compiled = tf.function(crops_and_gradient, jit_compile=True)("matmul")
    for others in (crops_and_gradient("matmul"), compiled):
      for found, expected in zip(others, native, strict=True):
        # Of the largest: a place of 30 cells is known to 2e-6 of a cell.
        scale = np.max(np.abs(expected))
        self.assertAllClose(found, expected, atol=1e-5 * scale, rtol=0.0)
      self.assertAllEqual(others[0] == 0.0, native[0] == 0.0)

  @parameterized.parameters(*crop_ops.METHODS)
  def test_boxes_keep_the_samples_at_the_border(self, method):
    # Of a map of ones, and boxes that all end at the lower right corner. Without `keep_border` some
    # lose their last samples, on a map of the image's own size and on a larger one.
    rng = np.random.default_rng(1)
    low = rng.uniform(0.0, 0.99, [1, 500, 2]).astype(np.float32)
    boxes = tf.constant(np.concatenate([low, np.ones_like(low)], axis=-1))
    size = tf.constant([[300.0, 500.0]])
    for map_size in ((19, 32), (25, 40)):
      features = tf.ones([1, *map_size, 1])
      lost, kept = (
        crop_ops.crop_and_resize(features, boxes, size, 16, (7, 7), method, keep_border)
        for keep_border in (False, True)
      )
      self.assertAllClose(kept, tf.ones_like(kept), atol=1e-4)
      self.assertGreater(np.sum(lost == 0.0), 0)

  @parameterized.product(method=crop_ops.METHODS, dtype=(tf.bfloat16, tf.float16))
  def test_crops_have_the_type_of_the_map(self, method, dtype):
    # Every number of the map fits the types; so do the samples, on cells and half-way.
    features = tf.cast(_ramp(), dtype)
    boxes = tf.constant([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.25, 1.0, 0.75]]])
    with tf.GradientTape() as tape:
      tape.watch(features)
      crops = crop_ops.crop_and_resize(
        features, boxes, tf.constant([[64.0, 80.0]]), 16, (2, 3), method, keep_border=True
      )
    gradient = tape.gradient(crops, features)
    self.assertEqual((crops.dtype, gradient.dtype), (dtype, dtype))
    crops = tf.cast(crops, tf.float32)[0, ..., 0]
    self.assertAllClose(crops, [[[0, 2, 4], [30, 32, 34]], [[1, 2, 3], [31, 32, 33]]], atol=0.01)

  def test_unknown_method(self):
    with self.assertRaisesRegex(ValueError, "crop method is 'fast'; accepted: native, matmul"):
      crop_ops.crop_and_resize(
        _ramp(), tf.zeros([1, 1, 4]), tf.ones([1, 2]), 16, (2, 2), "fast", keep_border=True
      )

  def test_content_beside_the_image_plays_no_part(self):
    features = _padded(_ramp(), 8, 8, filling=1e6)
    crops = crop_ops.crop_and_resize(
      features,
      tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
      tf.constant([[64.0, 80.0]]),
      16,
      (2, 3),
      "matmul",
      keep_border=True,
    )
    # Boxes are drawn in by a millionth, and the products are rounded.
    self.assertAllClose(crops[0, 0, ..., 0], [[0, 2, 4], [30, 32, 34]], rtol=3e-6, atol=1e-6)


if __name__ == "__main__":
  tf.test.main()
