"""Sizes of images are read from records, past the images."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import sizes as record_sizes
from tests import fixtures


def record(height, width, **settings):
  image = fixtures.noise_image(height, width)
  return fixtures.serialized_example(image, [[0, 0, 2, 2]], [1], **settings)


def without(content, name):
  example = tf.train.Example.FromString(content)
  del example.features.feature[name]
  return example.SerializeToString()


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_all_files(tmp_path, prefix):
  parts = [[record(3, 5), record(200, 100)], [], [record(7, 2)]]
  paths = [
    prefix + fixtures.write_records(str(tmp_path / f"{i}.tfrecord"), part)
    for i, part in enumerate(parts)
  ]
  sizes = record_sizes.image_sizes(record_index.scan(paths))
  np.testing.assert_array_equal(sizes, [[3, 5], [200, 100], [7, 2]])


def test_a_size_that_was_declared_otherwise_counts(tmp_path):
  example = tf.train.Example.FromString(record(3, 5))
  example.features.feature[schema.IMAGE_HEIGHT].int64_list.value[:] = [300]
  path = fixtures.write_records(str(tmp_path / "a.tfrecord"), [example.SerializeToString()])
  np.testing.assert_array_equal(record_sizes.image_sizes(record_index.scan([path])), [[300, 5]])


def _zero_width():
  example = tf.train.Example.FromString(record(3, 5))
  example.features.feature[schema.IMAGE_WIDTH].int64_list.value[:] = [0]
  return example.SerializeToString()


@pytest.mark.parametrize(
  "content",
  [
    without(record(3, 5), schema.IMAGE_HEIGHT),
    without(record(3, 5), schema.IMAGE_WIDTH),
    _zero_width(),
    b"\xff\xff",
    b"",
    record(3, 5)[:40],
  ],
  ids=["no_height", "no_width", "zero_width", "no_record", "nothing", "cut_short"],
)
def test_no_size(tmp_path, content):
  path = fixtures.write_records(str(tmp_path / "a.tfrecord"), [record(3, 5), content])
  with pytest.raises(ValueError, match=r"a\.tfrecord: record 1 has no image/height and image/wid"):
    record_sizes.image_sizes(record_index.scan([path]))
