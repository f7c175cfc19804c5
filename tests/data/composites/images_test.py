"""Images by the numbers of their records, decoded each time and kept in memory."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data.composites import images
from mtl_ssl_tf.data.records import index as record_index
from tests import fixtures


@pytest.mark.parametrize("cache", [False, True])
def test_each_number_gives_its_image(tmp_path, cache):
  # Of different sizes, in two files.
  stored = [fixtures.noise_image(6 + number, 9, number) for number in range(5)]
  examples = [fixtures.serialized_example(image) for image in stored]
  paths = [
    fixtures.write_records(tmp_path / name, part)
    for name, part in (("a.tfrecord", examples[:2]), ("b.tfrecord", examples[2:]))
  ]
  read = tf.function(images.image_reader(record_index.scan(paths), cache))
  for number in (3, 0, 4, 1, 2):
    np.testing.assert_array_equal(read(tf.constant(number, tf.int64)), stored[number])
  assert read.get_concrete_function(tf.constant(0, tf.int64)).output_shapes.as_list() == [
    None, None, 3
  ]  # fmt: skip


def test_a_cached_image_is_read_once(tmp_path):
  path = fixtures.write_records(
    tmp_path / "a.tfrecord", [fixtures.serialized_example(fixtures.noise_image(4, 4))]
  )
  read = images.image_reader(record_index.scan([path]), cache=True)
  (tmp_path / "a.tfrecord").unlink()
  np.testing.assert_array_equal(read(tf.constant(0, tf.int64)), fixtures.noise_image(4, 4))
