import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_ssl_tf.labels import foreground
from tests.labels import oracles

_PADDING = [-1.0, -1.0, -1.0, -1.0]


def _picture(*rows):
  return np.array([[float(cell == "#") for cell in row] for row in rows])


def _mask(boxes, classes, mask_size=64):
  return foreground.foreground_labels(boxes, classes, mask_size)


def _weights(boxes, classes, mask_size=64, weighting="inverse_area"):
  return foreground.foreground_weights(boxes, classes, mask_size, weighting)


class ForegroundTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_worked_mask(self, jit_compile):
    # Mask of 4 × 8, so 1 unit of y is 4 rows and 1 unit of x 8 columns. The first box goes from
    # row 0.4 to row 0.8 and column 1 to column 3: rows 0 … floor(1.79), columns 1 … floor(3.99).
    # The second goes from row 2.4 to the bottom and from column 6.2 to the right border.
    boxes = tf.constant([[[0.1, 1 / 8, 0.2, 3 / 8], [0.6, 6.2 / 8, 1.0, 1.0], _PADDING]])
    label_fn = tf.function(_mask, jit_compile=jit_compile)
    mask = label_fn(boxes, tf.constant([[3, 1, -1]]), (4, 8))
    self.assertAllEqual(mask, [_picture(".###....", ".###....", "......##", "......##")])

  @parameterized.parameters(False, True)
  def test_worked_weights(self, jit_compile):
    # A box of 16 × 16 of the 64 × 64 cells: rows floor(16.5) = 16 … floor(30.5 + 0.99) = 31. A
    # cell inside counts 1/256 and one outside 1/4096, which makes 1 + 3840/4096 = 1.9375 together.
    box = tf.constant([[[16.5 / 64, 8.5 / 64, 30.5 / 64, 22.5 / 64]]])
    weight_fn = tf.function(_weights, jit_compile=jit_compile)
    weights = weight_fn(box, tf.constant([[2]]))
    expected = np.full([64, 64], 1.0 / 1.9375)
    expected[16:32, 8:24] = 16.0 / 1.9375  # 8.26; outside 0.516, as the reference says
    self.assertAllClose(weights, [expected])

  def test_a_cell_of_two_boxes_weighs_as_in_the_smaller(self):
    # Mask of 4 × 4; the large box holds all 16 cells, the small one 4: 1/16 becomes 1/4.
    boxes = tf.constant([[0.0, 0.0, 1.0, 1.0], [0.3, 0.3, 0.4, 0.4]])
    weights = _weights(boxes, tf.constant([1, 1]), 4)
    small = _picture("....", ".##.", ".##.", "....")
    expected = 1.0 / 16.0 + small * 3.0 / 16.0
    self.assertAllClose(weights, expected / expected.mean())

  @parameterized.parameters(
    ([0.5, 0.5, 0.5, 0.5], (2, 2)), ([1.0, 0.0, 1.0, 0.0], (3, 0)), ([0.0, 1.0, 0.0, 1.0], (0, 3))
  )
  def test_a_box_without_area_holds_a_cell(self, box, cell):
    expected = np.zeros([4, 4])
    expected[cell] = 1.0
    boxes, classes = tf.constant([box]), tf.constant([1])
    self.assertAllEqual(_mask(boxes, classes, 4), expected)
    weights = _weights(boxes, classes, 4)
    self.assertEqual(np.unravel_index(np.argmax(weights), [4, 4]), cell)

  @parameterized.parameters(0, 3)
  def test_without_objects_the_mask_is_empty_and_weights_are_even(self, num_padding):
    boxes, classes = tf.fill([num_padding, 4], -1.0), tf.fill([num_padding], -1)
    for fn, expected in ((_mask, 0.0), (_weights, 1.0)):
      fn = tf.function(fn, jit_compile=True)
      self.assertAllEqual(fn(boxes, classes, 8), np.full([8, 8], expected))

  def test_batch_equals_one_by_one_with_less_padding(self):
    rng = np.random.default_rng(5)
    boxes = np.sort(rng.uniform(size=[2, 6, 2, 2]), axis=2).reshape(2, 6, 4).astype(np.float32)
    classes = rng.integers(1, 5, [2, 6]).astype(np.int32)
    boxes[1, 2:], classes[1, 2:] = -1.0, -1
    for fn in (_mask, _weights):
      batch = fn(boxes, classes, (16, 24))
      for image, count in enumerate((6, 2)):
        own = fn(boxes[image, :count], classes[image, :count], (16, 24))
        self.assertAllClose(own, batch[image], atol=1e-6)


class RegionsTest(parameterized.TestCase, tf.test.TestCase):
  # Mask of 4 × 4: an object in the top left quarter, a region in the second and third column of the
  # upper half, as boxes hold one cell more at the right and at the bottom: rows 0 … floor(1.59).
  BOXES = tf.constant([[[0.0, 0.0, 0.15, 0.25], [0.0, 0.3, 0.15, 0.5], _PADDING]])
  CLASSES = tf.constant([[2, 0, -1]])
  MASK = _picture("##..", "##..", "....", "....")
  COUNTED = _picture("##.#", "##.#", "####", "####")

  def _call(self, jit_compile, boxes, classes, weighting):
    fn = tf.function(_weights, jit_compile=jit_compile)
    return fn(boxes, classes, 4, weighting)

  @parameterized.product(jit_compile=[False, True], weighting=["uniform", "inverse_area"])
  def test_cells_of_regions_alone_carry_no_loss(self, jit_compile, weighting):
    fn = tf.function(_mask, jit_compile=jit_compile)
    self.assertAllEqual(fn(self.BOXES, self.CLASSES, 4), [self.MASK])
    weights = self._call(jit_compile, self.BOXES, self.CLASSES, weighting)
    expected = np.where(self.MASK > 0.0, 1 / 4, 1 / 16) if weighting == "inverse_area" else 1.0
    expected = expected * self.COUNTED
    self.assertAllClose(weights, [expected / expected.mean()])
    self.assertAllEqual(weights[0] > 0.0, self.COUNTED > 0.0)

  @parameterized.parameters("uniform", "inverse_area")
  def test_a_region_over_all_leaves_nothing_or_the_objects(self, weighting):
    everything = [0.0, 0.0, 1.0, 1.0]
    boxes = tf.constant([[everything, _PADDING], [everything, self.BOXES[0, 0].numpy()]])
    weights = self._call(True, boxes, tf.constant([[0, -1], [0, 1]]), weighting)
    self.assertAllClose(weights, [np.zeros([4, 4]), 4.0 * self.MASK])

  @parameterized.parameters(7, ((7, 9),), 64)
  def test_uniform_weights_without_regions_are_exactly_one(self, mask_size):
    fn = tf.function(_weights, jit_compile=True)
    weights = fn(self.BOXES, tf.constant([[2, 1, -1]]), mask_size, "uniform").numpy()
    self.assertAllEqual(weights, np.ones_like(weights))


@tf.function(jit_compile=True)
def _compiled(boxes, classes, mask_size, weighting):
  labels = _mask(boxes, classes, mask_size)
  return labels, _weights(boxes, classes, mask_size, weighting)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
  scene=oracles.scenes() | oracles.scenes(regions=True),
  mask_size=st.sampled_from([(64, 64), (38, 64)]),
  weighting=st.sampled_from(["uniform", "inverse_area"]),
)
def test_equals_the_oracle(scene, mask_size, weighting):
  boxes, classes = scene.padded(100)
  boxes_norm = (boxes / np.tile(scene.size, 2)).astype(np.float32)
  labels, weights = _compiled(boxes_norm, classes, mask_size, weighting)
  own = (boxes_norm[: len(scene.boxes)], scene.classes, *mask_size)
  np.testing.assert_array_equal(labels, oracles.foreground_labels(*own))
  expected = oracles.foreground_weights(*own, weighting)
  np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-5)
