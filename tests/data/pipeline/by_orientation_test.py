"""Batches of inputs of two orientations."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.pipeline import reader
from tests import fixtures

SETTINGS = {
  "input_layout": "by_orientation",
  "input_size": (12, 16),
  "short_side": 12,
  "long_side": 16,
  "max_num_boxes": 2,
}
TALL = [2, 5, 6]  # Of the images numbered 1 … 8.


def _example(number):
  height, width = (16, 12) if number in TALL else (12, 16)
  image = fixtures.solid_image(height, width, number)
  return fixtures.serialized_example(image, [[0, 0, 6, 4]], [1], source_id=str(number))


@pytest.fixture(name="path", scope="module")
def _path(tmp_path_factory):
  path = str(tmp_path_factory.mktemp("records") / "train.tfrecord")
  return fixtures.write_records(path, [_example(number) for number in range(1, 9)])


def read(path, num_batches=None, **settings):
  dataset = fixtures.make_dataset(path, **{**SETTINGS, **settings})
  return list((dataset.take(num_batches) if num_batches else dataset).as_numpy_iterator())


def numbers(images):
  """The images' numbers; in an input without padding, all of an image is its grey value."""
  assert np.all(images == images[:, :1, :1])
  return images[:, 0, 0, 0].astype(int)


def test_each_batch_is_of_one_input_size(path):
  batches = read(path, 16, global_batch_size=2, is_training=True)
  seen = {True: [], False: []}
  for images, labels in batches:
    standing = images.shape[1:3] == (16, 12)
    assert standing or images.shape[1:3] == (12, 16)
    seen[standing].extend(numbers(images))
    np.testing.assert_array_equal(labels["image_size_px"], [images.shape[1:3]] * 2)
  # 32 rows are 4 epochs of both.
  assert sorted(seen[True]) == sorted(4 * TALL)
  assert sorted(seen[False]) == sorted(4 * [1, 3, 4, 7, 8])


def test_position(path):
  settings = {"global_batch_size": 2, "is_training": True, "scale_min": 0.5, "scale_max": 2.0}
  whole = read(path, 9, **settings)
  begun = read(path, 4, first_batch=3, skipped_batches=[1, 5, 6], **settings)
  assert len({images.shape for images, _ in begun}) == 2
  for batch, expected in zip(begun, [whole[i] for i in (3, 4, 7, 8)], strict=True):
    for values, other in zip(tf.nest.flatten(batch), tf.nest.flatten(expected), strict=True):
      np.testing.assert_array_equal(values, other)


def test_mosaics_and_turns_keep_to_the_orientation_of_their_batch(path):
  augmentation = data_config.Augmentation(mosaic=1.0, copy_paste=0.5, rotate_90=0.5)
  settings = {"global_batch_size": 2, "is_training": True, "augmentation": augmentation}
  whole = read(path, 8, **settings)
  shapes = set()
  for images, _ in whole:
    shapes.add(images.shape[1:3])
    members = TALL if images.shape[1:3] == (16, 12) else [1, 3, 4, 7, 8]
    # Bilinear between images of even grey is between their values; padding is 0.
    shown = images[images > 0]
    assert min(members) <= shown.min() and shown.max() <= max(members)
  assert shapes == {(16, 12), (12, 16)}
  begun = read(path, 4, first_batch=4, **settings)
  for batch, expected in zip(begun, whole[4:], strict=True):
    for values, other in zip(tf.nest.flatten(batch), tf.nest.flatten(expected), strict=True):
      np.testing.assert_array_equal(values, other)


def test_workers_and_replicas_of_a_step_have_one_input_size(path):
  settings = {"global_batch_size": 4, "is_training": True}
  whole = read(path, 6, **settings)
  shares = [
    read(path, 12, input_context=tf.distribute.InputContext(2, worker, 4), **settings)
    for worker in range(2)
  ]
  for step, (images, _) in enumerate(whole):
    parts = [share[2 * step + replica][0] for share in shares for replica in range(2)]
    assert {part.shape for part in parts} == {(1, *images.shape[1:])}
    np.testing.assert_array_equal(np.concatenate(parts), images)


def test_image_ids(path):
  data = data_config.Data(input_path=path, global_batch_size=3, input_layout="by_orientation")
  for batch, (images, _) in enumerate(read(path, 5, global_batch_size=3, is_training=True)):
    ids = reader.image_ids(data, batch)
    assert ids == [str(number) for number in numbers(images)]


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_evaluation_holds_each_image_once(path, num_workers, cache):
  found, shapes = {}, []
  for worker in range(num_workers):
    context = tf.distribute.InputContext(num_workers, worker, num_workers)
    batches = read(path, global_batch_size=4, is_training=False, cache=cache, input_context=context)
    shapes.append([images.shape for images, _ in batches])
    for images, labels in batches:
      for i, index in enumerate(labels["example_index"]):
        assert labels["example_valid"][i] == (index >= 0)
        if index >= 0:
          assert index not in found
          found[index] = images[i, 0, 0, 0]
  assert found == {i: i + 1 for i in range(8)}
  # Five images that lie in two batches, and three that stand in one.
  size = 4 // num_workers
  assert shapes == [[(size, 12, 16, 3), (size, 12, 16, 3), (size, 16, 12, 3)]] * num_workers


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize(("orientation", "input_size"), [(TALL, (16, 12)), ([1, 3], (12, 16))])
def test_of_one_orientation_there_is_one_input_size(tmp_path, orientation, input_size, is_training):
  path = str(tmp_path / "a.tfrecord")
  fixtures.write_records(path, [_example(number) for number in orientation])
  dataset = fixtures.make_dataset(path, global_batch_size=2, is_training=is_training, **SETTINGS)
  assert dataset.element_spec[0].shape == [2, *input_size, 3]


def test_training_has_no_end(path):
  dataset = fixtures.make_dataset(path, global_batch_size=2, is_training=True, **SETTINGS)
  assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
