"""Tests of decoder.py."""

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import decoder
from tests import fixtures

BOXES = [[0, 0, 2, 4], [1, 2, 4, 8]]


class DetectionDecoderTest(tf.test.TestCase):
  def test_image_boxes_classes_and_flags(self):
    image = fixtures.noise_image(4, 8)
    serialized = fixtures.serialized_example(image, BOXES, [2, 1], [0, 1], source_id="cat_7")
    decoded = decoder.DetectionDecoder().decode(serialized)
    np.testing.assert_array_equal(decoded["image"], image)
    self.assertAllClose(decoded["groundtruth_boxes"], [[0, 0, 0.5, 0.5], [0.25, 0.25, 1, 1]])
    self.assertAllEqual(decoded["groundtruth_classes"], [2, 1])
    self.assertAllEqual(decoded["groundtruth_difficult"], [False, True])
    self.assertEqual(decoded["source_id"], b"cat_7")

  def test_no_flags_means_none_is_difficult(self):
    serialized = fixtures.serialized_example(fixtures.noise_image(4, 8), BOXES, [2, 1])
    decoded = decoder.DetectionDecoder().decode(serialized)
    self.assertAllEqual(decoded["groundtruth_difficult"], [False, False])

  def test_regions_to_be_ignored(self):
    serialized = fixtures.serialized_example(fixtures.noise_image(4, 8), BOXES, [2, 1])
    example = tf.train.Example.FromString(serialized)
    for key, value in zip(schema.IGNORED_BOX, ([0.1], [0.2], [0.3], [0.4]), strict=True):
      example.features.feature[key].float_list.value.extend(value)
    decoded = decoder.DetectionDecoder().decode(example.SerializeToString())
    self.assertAllClose(decoded["ignored_boxes"], [[0.1, 0.2, 0.3, 0.4]])
    decoded = decoder.DetectionDecoder().decode(serialized)
    self.assertEqual(decoded["ignored_boxes"].shape, [0, 4])

  def test_no_objects(self):
    decoded = decoder.DetectionDecoder().decode(
      fixtures.serialized_example(fixtures.noise_image(4, 8))
    )
    self.assertEqual(decoded["groundtruth_boxes"].shape, [0, 4])
    self.assertEqual(decoded["groundtruth_difficult"].shape, [0])
