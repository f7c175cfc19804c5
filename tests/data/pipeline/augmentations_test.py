"""Tests of augmentations.py."""

import collections

import tensorflow as tf

from mtl_ssl_tf.data.pipeline import augmentations


class RandomHorizontalFlipTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.image = tf.constant([[[0], [1], [2], [3]]], tf.uint8)
    self.boxes = tf.constant([[0.0, 0.1, 0.5, 0.4], [0.2, 0.0, 1.0, 1.0]])

  def test_pixels_and_boxes_change_sides(self):
    image, boxes, flipped = augmentations.random_horizontal_flip(
      self.image, self.boxes, [0, 0], probability=1.0
    )
    self.assertTrue(flipped)
    self.assertAllEqual(tf.squeeze(image), [3, 2, 1, 0])
    self.assertAllClose(boxes, [[0.0, 0.6, 0.5, 0.9], [0.2, 0.0, 1.0, 1.0]])

  def test_probability_zero_changes_nothing(self):
    image, boxes, flipped = augmentations.random_horizontal_flip(
      self.image, self.boxes, [0, 0], probability=0.0
    )
    self.assertFalse(flipped)
    self.assertAllEqual(image, self.image)
    self.assertAllEqual(boxes, self.boxes)

  def test_an_image_without_boxes_stays(self):
    image, _, flipped = augmentations.random_horizontal_flip(
      self.image, self.boxes[:0], [0, 0], probability=1.0
    )
    self.assertFalse(flipped)
    self.assertAllEqual(image, self.image)

  def test_half_of_the_seeds_flip(self):
    def flip(index):
      seed = tf.stack([7, index])
      return augmentations.random_horizontal_flip(self.image, self.boxes, seed, 0.5)[2]

    flips = tf.map_fn(flip, tf.range(1000), fn_output_signature=tf.bool)
    # Four standard deviations of 1000 fair coins are 63.
    self.assertNear(tf.math.count_nonzero(flips).numpy(), 500, 63)


class RandomVerticalFlipTest(tf.test.TestCase):
  def test_pixels_and_boxes_turn_upside_down(self):
    image = tf.constant([[[0], [1]], [[2], [3]], [[4], [5]]], tf.uint8)
    boxes = tf.constant([[0.0, 0.1, 0.5, 0.4], [0.2, 0.0, 1.0, 1.0]])
    image, boxes, flipped = augmentations.random_vertical_flip(image, boxes, [0, 0], 1.0)
    self.assertTrue(flipped)
    self.assertAllEqual(tf.squeeze(image), [[4, 5], [2, 3], [0, 1]])
    self.assertAllClose(boxes, [[0.5, 0.1, 1.0, 0.4], [0.0, 0.0, 0.8, 1.0]])


class RandomQuarterTurnsTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    #  0 1 2
    #  3 4 5, and a box around 1 and 2.
    self.image = tf.constant([[[0], [1], [2]], [[3], [4], [5]]], tf.uint8)
    self.boxes = tf.constant([[0.0, 1 / 3, 0.5, 1.0]])

  def _turn(self, seed, probability=1.0):
    return augmentations.random_quarter_turns(self.image, self.boxes, [0, seed], probability)

  def test_pixels_and_boxes_turn_together(self):
    expected = {
      (3, 2): {  # The first column: counterclockwise 2 5, 1 4, 0 3, clockwise 3 0, 4 1, 5 2.
        2: ([[2, 5], [1, 4], [0, 3]], [0.0, 0.0, 2 / 3, 0.5]),
        3: ([[3, 0], [4, 1], [5, 2]], [1 / 3, 0.5, 1.0, 1.0]),
      },
      (2, 3): {5: ([[5, 4, 3], [2, 1, 0]], [0.5, 0.0, 1.0, 2 / 3])},
    }
    counts = collections.Counter()
    for seed in range(60):
      image, boxes = self._turn(seed)
      corner = int(image[0, 0, 0])
      counts[corner] += 1
      pixels, box = expected[tuple(image.shape[:2])][corner]
      self.assertAllEqual(image[..., 0], pixels)
      self.assertAllClose(boxes, [box])
    # 20 each, give or take four deviations.
    self.assertEqual(set(counts), {2, 3, 5})
    self.assertAllInRange(list(counts.values()), 6, 34)

  def test_probability_zero_changes_nothing(self):
    for seed in range(5):
      image, boxes = self._turn(seed, 0.0)
      self.assertAllEqual(image, self.image)
      self.assertAllEqual(boxes, self.boxes)

  def test_the_probability_is_that_of_any_turn(self):
    turned = sum(int(self._turn(seed, 0.5)[0][0, 0, 0]) != 0 for seed in range(100))
    self.assertBetween(turned, 30, 70)

  def test_an_image_without_boxes(self):
    _, boxes = augmentations.random_quarter_turns(self.image, self.boxes[:0], [0, 0], 1.0)
    self.assertEqual(boxes.shape, [0, 4])


class RandomZoomWindowTest(tf.test.TestCase):
  def _draw(self, scale_min, scale_max, num_draws=300, window_size=(10.0, 20.0)):
    def draw(index):
      return augmentations.random_zoom_window(
        tf.constant([10.0, 20.0]),
        tf.constant(window_size),
        tf.stack([3, index]),
        scale_min,
        scale_max,
      )

    return tf.map_fn(draw, tf.range(num_draws), fn_output_signature=(tf.float32, tf.float32))

  def test_zooming_out_keeps_the_whole_image(self):
    sizes, offsets = self._draw(0.5, 1.0)
    self.assertAllInRange(sizes[:, 0], 5, 10)
    self.assertAllInRange(sizes[:, 1], 10, 20)
    self.assertAllEqual(offsets, tf.zeros_like(offsets))

  def test_zooming_in_cuts_anywhere_inside(self):
    sizes, offsets = self._draw(1.5, 1.5)
    self.assertAllEqual(sizes, tf.broadcast_to([15.0, 30.0], sizes.shape))
    self.assertAllEqual(tf.sort(tf.unique(offsets[:, 0]).y), range(6))
    self.assertAllEqual(tf.sort(tf.unique(offsets[:, 1]).y), range(11))

  def test_a_window_larger_than_the_image(self):
    # At scale 2 of 10 x 20 the image is 20 x 40; of that the window is 15 x 45.
    sizes, offsets = self._draw(2.0, 2.0, window_size=(15.0, 45.0))
    self.assertAllEqual(sizes, tf.broadcast_to([20.0, 40.0], sizes.shape))
    self.assertAllEqual(tf.sort(tf.unique(offsets[:, 0]).y), range(6))
    self.assertAllEqual(offsets[:, 1], tf.zeros_like(offsets[:, 1]))

  def test_a_side_never_vanishes(self):
    sizes, _ = self._draw(0.001, 0.001, num_draws=1)
    self.assertAllEqual(sizes, [[1.0, 1.0]])


class CropBoxesTest(tf.test.TestCase):
  def test_cuts_and_drops_what_is_mostly_outside(self):
    #  window 10 high, 20 wide; the boxes keep all, 6/10, exactly half, 4/10 and nothing.
    boxes = tf.constant(
      [[0, 0, 10, 20], [4, 5, 14, 8], [-5, 0, 5, 4], [1, -6, 3, 4], [2, 30, 4, 40]], tf.float32
    )
    visible, keep = augmentations.crop_boxes(boxes, tf.constant([10.0, 20.0]))
    self.assertAllEqual(keep, [True, True, True, False, False])
    self.assertAllEqual(visible[:4], [[0, 0, 10, 20], [4, 5, 10, 8], [0, 0, 5, 4], [1, 0, 3, 4]])
