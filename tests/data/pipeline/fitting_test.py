"""Tests of fitting.py."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.data.pipeline import fitting
from tests import fixtures


class FittedSizeTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.named_parameters(
    # PASCAL VOC's common shapes: 600 / 375 = 1.6, and 1.6 × 500 = 800.
    ("landscape", (375, 500), (1024, 1024), (600, 800)),
    ("portrait", (500, 375), (1024, 1024), (800, 600)),
    # 600 / 200 = 3 would make the long side 1500; 1024 / 500 = 2.048, × 200 = 409.6.
    ("long", (200, 500), (1024, 1024), (410, 1024)),
    ("tiny", (1, 1), (1024, 1024), (600, 600)),
    ("thread", (1, 2000), (1024, 1024), (1, 1024)),
    # The input holds 800 × 600 landscape only: 600 / 500 = 1.2, × 375 = 450.
    ("input_size", (500, 375), (600, 800), (600, 450)),
    ("larger", (1200, 1600), (1024, 1024), (600, 800)),
  )
  def test_size(self, original, input_size, expected):
    size = fitting.fitted_size(tf.constant(original, tf.float32), input_size, 600, 1024)
    self.assertAllEqual(size, expected)


class PadToInputTest(tf.test.TestCase):
  def test_cut_and_padding(self):
    # 2 × 3 doubles to 4 × 6; of that, 2 × 4 pixels from row 1 and column 2 on.
    image = tf.constant([[[0.0], [6.0], [12.0]], [[24.0], [30.0], [36.0]]])
    image = tf.repeat(image, 3, axis=-1)  # [2, 3, 3]
    padded = fitting.pad_to_input(image, [4.0, 6.0], [1.0, 2.0], [2.0, 4.0], (3, 5))
    # Half-pixel centres: columns lie at -0.25, 0.25, 0.75 ... of the source, rows likewise.
    expected = [[10.5, 13.5, 16.5, 18.0, 0], [22.5, 25.5, 28.5, 30.0, 0], [0] * 5]
    self.assertAllClose(padded[..., 0], expected)

  def test_a_batch_is_its_images_one_by_one(self):
    images = np.stack([fixtures.noise_image(7, 9, seed) for seed in range(3)])
    where = ([14.0, 18.0], [0.0, 0.0], [14.0, 18.0], (20, 20))
    batch = fitting.pad_to_input(tf.constant(images), *where)
    for padded, image in zip(batch, images, strict=True):
      self.assertAllEqual(padded, fitting.pad_to_input(tf.constant(image), *where))
