import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.modeling import window_evidence


class ExpandedWindowsTest(tf.test.TestCase):
  def test_five_windows_in_equal_steps(self):
    #   0   0.2    0.6   1
    #   +---------------+ 0
    #   |   +------+    | 0.4
    #   |   |      |    |
    #   |   +------+    | 0.8
    #   +---------------+ 1
    windows = window_evidence.expanded_windows(tf.constant([[[0.4, 0.2, 0.8, 0.6]]]), 5)
    self.assertAllClose(
      windows,
      [
        [
          [
            [0.4, 0.2, 0.8, 0.6],
            [0.3, 0.15, 0.85, 0.7],
            [0.2, 0.1, 0.9, 0.8],
            [0.1, 0.05, 0.95, 0.9],
            [0.0, 0.0, 1.0, 1.0],
          ]
        ]
      ],
    )

  def test_two_windows_are_the_box_and_the_image(self):
    boxes = tf.constant([[[0.4, 0.2, 0.8, 0.6], [0.0, 0.5, 0.5, 1.0]], [[0.1, 0.1, 0.2, 0.2]] * 2])
    windows = window_evidence.expanded_windows(boxes, 2)
    self.assertEqual(windows.shape, [2, 2, 2, 4])
    self.assertAllEqual(windows[:, :, 0], boxes)
    self.assertAllClose(windows[:, :, 1], tf.broadcast_to([0.0, 0.0, 1.0, 1.0], [2, 2, 4]))

  def test_a_side_on_the_border_stays_there_to_the_last_bit(self):
    places = np.random.default_rng(0).uniform(0.0, 1.0, [1, 200]).astype(np.float32)
    zeros, ones = np.zeros_like(places), np.ones_like(places)
    boxes = tf.constant(np.stack([zeros, zeros, places, places], axis=-1))
    self.assertAllEqual(
      window_evidence.expanded_windows(boxes, 5)[..., :2], np.zeros([1, 200, 5, 2])
    )
    boxes = tf.constant(np.stack([places, places, ones, ones], axis=-1))
    self.assertAllEqual(
      window_evidence.expanded_windows(boxes, 5)[..., 2:], np.ones([1, 200, 5, 2])
    )


class PredictSelectedTest(parameterized.TestCase, tf.test.TestCase):
  SELECTED = np.array([[False, True, False, True, True], [False, False, True, False, False]])

  @parameterized.product(chunk_size=(1, 2, 3, 5, 9), compiled=(False, True))
  def test_logits_of_those_that_are_selected(self, chunk_size, compiled):
    windows = tf.random.stateless_uniform([2, 5, 4], [0, 1])

    @tf.function(jit_compile=compiled, autograph=False)
    def compute(selected):
      return window_evidence.predict_selected(
        lambda boxes: boxes[..., :2] + 1.0, windows, selected, 2, chunk_size
      )

    for selected in (self.SELECTED, np.ones_like(self.SELECTED), np.zeros_like(self.SELECTED)):
      logits = compute(tf.constant(selected)).numpy()
      self.assertEqual(logits.shape, (2, 5, 2))
      self.assertAllClose(logits[selected], windows.numpy()[..., :2][selected] + 1.0)

  def test_chunks_are_those_of_the_image_with_the_most(self):
    seen = []

    def predict(boxes):
      seen.append(tuple(boxes.shape))
      return boxes[..., :2]

    window_evidence.predict_selected(predict, tf.zeros([2, 5, 4]), tf.constant(self.SELECTED), 2, 2)
    self.assertEqual(seen, [(2, 2, 4)] * 2)
