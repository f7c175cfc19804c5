"""What is kept of record files within a process is not kept of files that were written again."""

import os

import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import features
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import sizes as record_sizes
from tests import fixtures


def _write(path: str, sizes, annotated_class: int | None = None) -> None:
  records = []
  for size in sizes:
    image = fixtures.noise_image(*size)
    example = tf.train.Example.FromString(fixtures.serialized_example(image, [[0, 0, 2, 2]], [1]))
    if annotated_class is not None:
      feature = example.features.feature[schema.ANNOTATED_CLASSES]
      feature.int64_list.value.append(annotated_class)
    records.append(example.SerializeToString())
  fixtures.write_records(path, records)


def _found(path: str) -> tuple:
  index = record_index.scan([path])
  partly = features.state_annotated_classes([path])
  return record_sizes.image_sizes(index).tolist(), len(index), partly


def test_sizes_places_and_features_are_those_of_the_new_file(tmp_path):
  path = str(tmp_path / "a.tfrecord")
  _write(path, [(3, 5), (200, 100)])
  assert _found(path) == ([[3, 5], [200, 100]], 2, False)
  _write(path, [(7, 2), (20, 30), (4, 4)], annotated_class=1)
  assert _found(path) == ([[7, 2], [20, 30], [4, 4]], 3, True)


def test_a_file_of_the_same_length_is_told_by_its_time(tmp_path):
  path = str(tmp_path / "a.tfrecord")
  lengths = set()
  for height in (30, 31):
    example = tf.train.Example.FromString(
      fixtures.serialized_example(fixtures.noise_image(3, 5), [[0, 0, 2, 2]], [1])
    )
    example.features.feature[schema.IMAGE_HEIGHT].int64_list.value[:] = [height]
    fixtures.write_records(path, [example.SerializeToString()])
    os.utime(path, (0, height))  # TensorFlow tells whole seconds.
    lengths.add(os.path.getsize(path))
    assert record_sizes.image_sizes(record_index.scan([path])).tolist() == [[height, 5]]
  assert len(lengths) == 1
