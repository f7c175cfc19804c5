"""Tests of reader.py."""

import itertools
import os
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import detection_parser, reader
from mtl_ssl_tf.data.records import paths as record_paths
from tests import fixtures

SETTINGS = {"input_size": (16, 16), "short_side": 12, "long_side": 16, "max_num_boxes": 2}


def numbered_example(number):
  """A record that can be told by its grey value, and its flip by the place of its box."""
  image = fixtures.solid_image(12, 16, number)
  return fixtures.serialized_example(image, [[0, 0, 6, 4]], [1], source_id=str(number))


class ReaderTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enterContext(tempfile.TemporaryDirectory())

  def _write(self, *shard_sizes, split="train"):
    """Shards of images numbered 1, 2, … through all of them; returns their pattern."""
    number = 1
    for shard, size in enumerate(shard_sizes):
      name = schema.shard_file(split, shard, len(shard_sizes))
      examples = [numbered_example(number + i) for i in range(size)]
      fixtures.write_records(os.path.join(self.folder, name), examples)
      number += size
    return os.path.join(self.folder, f"{split}-*.tfrecord")

  def _read(self, path, num_batches=None, **settings):
    """Image numbers [n, B] (0 is a blank) and the batches' labels, stacked likewise."""
    dataset = fixtures.make_dataset(path, **{**SETTINGS, **settings})
    if num_batches:
      dataset = dataset.take(num_batches)
    batches = list(dataset.as_numpy_iterator())
    numbers = np.stack([images[:, 0, 0, 0] for images, _ in batches]).astype(int)
    return numbers, tf.nest.map_structure(
      lambda *x: np.stack(x), *[labels for _, labels in batches]
    )


class EvaluationTest(ReaderTest):
  @parameterized.parameters(1, 2, 3, 4, 5, 7)
  def test_each_image_once_in_order_and_blanks_at_the_end(self, batch_size):
    numbers, labels = self._read(self._write(2, 3), global_batch_size=batch_size, is_training=False)
    self.assertEqual(numbers.shape, (-(-5 // batch_size), batch_size))
    numbers = numbers.flatten()
    self.assertAllEqual(numbers[:5], [1, 2, 3, 4, 5])
    self.assertAllEqual(numbers[5:], np.zeros(len(numbers) - 5))
    self.assertAllEqual(labels["example_valid"].flatten(), numbers > 0)
    # Its place in the files, from 0; a blank has none.
    self.assertAllEqual(labels["example_index"].flatten(), numbers - 1)
    blank_classes = labels["gt_classes"][~labels["example_valid"]]
    self.assertAllEqual(blank_classes, -np.ones_like(blank_classes))
    self.assertFalse(labels["flipped"].any())

  def test_shapes_are_static(self):
    dataset = fixtures.make_dataset(
      self._write(3), global_batch_size=2, is_training=False, **SETTINGS
    )
    images, labels = dataset.element_spec
    self.assertEqual(images, tf.TensorSpec([2, 16, 16, 3], tf.float32))
    self.assertEqual(
      labels,
      {
        "gt_boxes_px": tf.TensorSpec([2, 2, 4], tf.float32),
        "gt_classes": tf.TensorSpec([2, 2], tf.int32),
        "gt_difficult": tf.TensorSpec([2, 2], tf.bool),
        "gt_boxes_orig": tf.TensorSpec([2, 2, 4], tf.float32),
        "gt_is_crowd": tf.TensorSpec([2, 2], tf.bool),
        "gt_area_orig": tf.TensorSpec([2, 2], tf.float32),
        "image_size_px": tf.TensorSpec([2, 2], tf.float32),
        "image_info": tf.TensorSpec([2, 4, 2], tf.float32),
        "num_dropped_boxes": tf.TensorSpec([2], tf.int32),
        "flipped": tf.TensorSpec([2], tf.bool),
        "image_key": tf.TensorSpec([2], tf.int32),
        "example_valid": tf.TensorSpec([2], tf.bool),
        "example_index": tf.TensorSpec([2], tf.int32),
      },
    )

  def test_workers_share_the_images_and_get_equally_many_batches(self):
    pattern = self._write(5, 4)
    read = [
      self._read(
        pattern,
        global_batch_size=4,
        is_training=False,
        input_context=tf.distribute.InputContext(2, worker, num_replicas_in_sync=2),
      )
      for worker in range(2)
    ]
    numbers = [worker_numbers for worker_numbers, _ in read]
    for worker_numbers, labels in read:
      self.assertAllEqual(labels["example_index"], worker_numbers - 1)
    # Nine images and three blanks are three steps of two images a worker.
    self.assertAllEqual(numbers[0], [[1, 3], [5, 7], [9, 0]])
    self.assertAllEqual(numbers[1], [[2, 4], [6, 8], [0, 0]])

  def test_cached_passes_are_equal(self):
    dataset = fixtures.make_dataset(
      self._write(3), global_batch_size=2, is_training=False, cache=True, **SETTINGS
    )
    passes = [[images[:, 0, 0, 0] for images, _ in dataset.as_numpy_iterator()] for _ in range(2)]
    self.assertAllEqual(passes[0], [[1, 2], [3, 0]])
    self.assertAllEqual(passes[1], passes[0])


class TrainingTest(ReaderTest):
  @parameterized.parameters(False, True)
  def test_every_epoch_holds_each_image_once_in_another_order(self, cache):
    numbers, _ = self._read(
      self._write(4, 3, 1), 8, global_batch_size=4, is_training=True, cache=cache
    )
    epochs = numbers.reshape([4, 8])
    for epoch in epochs:
      self.assertAllEqual(np.sort(epoch), range(1, 9))
    self.assertEqual(len({tuple(epoch) for epoch in epochs}), 4)

  def test_same_seed_same_batches_and_another_seed_others(self):
    settings = {"global_batch_size": 4, "is_training": True, "scale_min": 0.5, "scale_max": 2.0}
    pattern = self._write(5, 5, 5)

    def draw(seed):
      dataset = fixtures.make_dataset(pattern, seed=seed, **settings, **SETTINGS)
      return [tf.nest.flatten(batch) for batch in dataset.take(8)]

    first, again, other = draw(1), draw(1), draw(2)
    for one, two in zip(first, again, strict=True):
      for x, y in zip(one, two, strict=True):
        self.assertAllEqual(x, y)
    self.assertNotAllEqual(first[0][0], other[0][0])

  def test_without_a_seed_each_run_differs(self):
    settings = {"global_batch_size": 30, "is_training": True, "seed": None}
    pattern = self._write(30)
    runs = [self._read(pattern, 1, **settings)[0] for _ in range(2)]
    self.assertNotAllEqual(runs[0], runs[1])

  def test_an_image_is_flipped_in_some_epochs_and_its_box_with_it(self):
    numbers, labels = self._read(self._write(2), 40, global_batch_size=1, is_training=True)
    flipped = labels["flipped"].flatten()
    boxes = labels["gt_boxes_px"][:, 0, 0]
    for number in (1, 2):
      # Of 20 fair coins 3 to 17 are heads but once in 2500 times, and the seed is fixed.
      self.assertBetween(flipped[numbers.flatten() == number].sum(), 3, 17)
    self.assertAllClose(boxes[flipped], np.broadcast_to([0, 12, 6, 16], boxes[flipped].shape))
    self.assertAllClose(boxes[~flipped], np.broadcast_to([0, 0, 6, 4], boxes[~flipped].shape))

  @parameterized.parameters(
    (1, 2, (18,)), (2, 1, (18,)), (3, 1, (7, 11)), (2, 2, (7, 11)), (3, 1, (1, 9, 0, 3, 5))
  )
  def test_workers_and_replicas_share_the_batches_of_one(self, workers, replicas, shard_sizes):
    pattern = self._write(*shard_sizes)
    settings = {"global_batch_size": 12, "is_training": True, "scale_min": 0.5, "scale_max": 2.0}
    numbers, labels = self._read(pattern, 3, **settings)
    for epoch in numbers.reshape([2, 18]):
      self.assertAllEqual(np.sort(epoch), range(1, 19))
    shares = []
    for worker in range(workers):
      context = tf.distribute.InputContext(workers, worker, workers * replicas)
      share, share_labels = self._read(pattern, 3 * replicas, input_context=context, **settings)
      # A batch for each replica, one after the other.
      self.assertEqual(share.shape, (3 * replicas, 12 // workers // replicas))
      shares.append({"number": share, **share_labels})
    for name, whole in {"number": numbers, **labels}.items():
      parts = [share[name].reshape([3, -1]) for share in shares]
      self.assertAllEqual(np.concatenate(parts, axis=1), whole.reshape([3, -1]))

  def test_a_batch_may_be_larger_than_the_data(self):
    numbers, _ = self._read(self._write(2), 1, global_batch_size=6, is_training=True)
    self.assertAllEqual(np.bincount(numbers.flatten()), [0, 3, 3])


class PositionTest(ReaderTest):
  """A run that resumes sees the batches that it would have seen."""

  def setUp(self):
    super().setUp()
    self.settings = {
      "global_batch_size": 4,
      "is_training": True,
      "seed": 3,
      "scale_min": 0.5,
      "scale_max": 2.0,
    }
    # 7 images in batches of 4: epochs end within batches.
    self.pattern = self._write(5, 2)

  def _batches(self, num_batches, **settings):
    dataset = fixtures.make_dataset(self.pattern, **self.settings, **SETTINGS, **settings)
    return [tf.nest.flatten(batch) for batch in dataset.take(num_batches).as_numpy_iterator()]

  def _assert_equal(self, batches, expected):
    self.assertLen(batches, len(expected))
    for batch, other in zip(batches, expected, strict=True):
      for values, other_values in zip(batch, other, strict=True):
        np.testing.assert_array_equal(values, other_values)

  @parameterized.parameters(0, 1, 2, 5, 7)
  def test_begins_with_a_batch(self, first_batch):
    whole = self._batches(9)
    self._assert_equal(self._batches(9 - first_batch, first_batch=first_batch), whole[first_batch:])

  def test_leaves_out_batches(self):
    whole = self._batches(9)
    expected = [whole[i] for i in (2, 4, 6, 7)]
    skipped = [0, 8, 3, 5]
    self._assert_equal(self._batches(4, first_batch=2, skipped_batches=skipped), expected)

  def test_of_a_worker_with_two_replicas(self):
    context = tf.distribute.InputContext(2, 1, 4)
    whole = self._batches(10, input_context=context)
    begun = self._batches(4, first_batch=2, skipped_batches=[3], input_context=context)
    self._assert_equal(begun, whole[4:6] + whole[8:])

  def test_depends_neither_on_the_global_seed_nor_on_the_cache(self):
    tf.random.set_seed(1)
    whole = self._batches(5)
    tf.random.set_seed(2)
    self._assert_equal(self._batches(5), whole)
    self._assert_equal(self._batches(3, first_batch=2, cache=True), whole[2:])

  def test_with_every_augmentation(self):
    augmentation = {
      "mosaic": 0.5,
      "copy_paste": 0.5,
      "rotate_90": 0.5,
      "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    }
    settings = {"augmentation": data_config.Augmentation(), "scale_crop": "input"}
    settings["augmentation"].override(augmentation)
    plain = self._batches(5)
    whole = self._batches(5, **settings)
    assert not any(np.array_equal(one[0], two[0]) for one, two in zip(plain, whole, strict=True))
    self._assert_equal(self._batches(3, first_batch=2, **settings), whole[2:])
    self._assert_equal(
      self._batches(2, first_batch=1, skipped_batches=[2, 3], cache=True, **settings),
      [whole[1], whole[4]],
    )
    shares = [
      self._batches(5, input_context=tf.distribute.InputContext(2, worker, 2), **settings)
      for worker in range(2)
    ]
    joined = [
      [np.concatenate(rows) for rows in zip(*parts, strict=True)]
      for parts in zip(*shares, strict=True)
    ]
    self._assert_equal(joined, whole)

  def test_partners_are_other_records(self):
    augmentation = data_config.Augmentation(mosaic=1.0)
    dataset = fixtures.make_dataset(
      self.pattern,
      **{**self.settings, **SETTINGS, "scale_min": 1.0, "scale_max": 1.0},
      augmentation=augmentation,
      flip_probability=0.0,
    )
    images = np.concatenate([images for images, _ in dataset.take(7).as_numpy_iterator()])
    # Four images that each fill a corner; the first is the record of the row.
    corners = images[:, [0, 0, 11, 11], [0, 11, 0, 11], 0]
    own = np.concatenate([
      reader.image_ids(
        data_config.Data(input_path=self.pattern, global_batch_size=4, seed=3), batch
      )
      for batch in range(7)
    ])  # fmt: skip
    self.assertAllEqual(corners[:, 0], own.astype(float))
    for partner in corners[:, 1:].T:
      # 28 rows are 4 epochs, each with every record once, in another order.
      self.assertAllEqual(np.sort(partner.reshape([4, 7])), [range(1, 8)] * 4)
      self.assertLess(np.mean(partner == corners[:, 0]), 0.5)
    for one, other in itertools.combinations(corners[:, 1:].T, 2):
      self.assertLess(np.mean(one == other), 0.5)

  def test_far_ahead(self):
    (batch,) = self._batches(1, first_batch=10**9)
    self._assert_equal(self._batches(2, first_batch=10**9 - 1)[1:], [batch])

  def test_image_ids(self):
    numbers, _ = self._read(self.pattern, 6, **self.settings)
    data = data_config.Data(input_path=self.pattern, global_batch_size=4, seed=3)
    for batch in range(6):
      expected = [str(number) for number in numbers[batch]]
      self.assertEqual(reader.image_ids(data, batch), expected)

  def test_no_image_ids_without_a_seed(self):
    with self.assertRaisesRegex(ValueError, "^seed is None; accepted: a number"):
      data = data_config.Data(input_path=self.pattern, global_batch_size=4, seed=None)
      reader.image_ids(data, 0)

  def test_no_image_ids_of_a_batch_that_there_is_not(self):
    data = data_config.Data(input_path=self.pattern, global_batch_size=4, seed=3)
    with self.assertRaisesRegex(ValueError, r"^first_batch is \[-1\]; accepted: batches are"):
      reader.image_ids(data, -1)

  def test_remote_files_give_the_same(self):
    whole = self._batches(3)
    self.pattern = f"file://{self.pattern}"
    self._assert_equal(self._batches(2, first_batch=1), whole[1:])


class CacheTest(ReaderTest):
  @parameterized.product(is_training=(False, True), input_layout=("single", "by_orientation"))
  def test_cached_records_are_read_once(self, is_training, input_layout):
    pattern = self._write(3, 1)
    settings = {**SETTINGS, "input_layout": input_layout, "input_size": (12, 16)}
    dataset = fixtures.make_dataset(
      pattern, global_batch_size=4, is_training=is_training, cache=True, **settings
    )
    if not is_training:  # Evaluation reads them when it first needs them.
      list(dataset)
    for file in record_paths.match_files(pattern):
      os.remove(file)
    images, _ = next(iter(dataset))
    self.assertAllEqual(np.sort(images[:, 0, 0, 0]), [1, 2, 3, 4])


class FilesTest(ReaderTest):
  def test_every_setting_of_an_image_reaches_the_parser(self):
    settings = {
      "input_size": (32, 48),
      "short_side": 10,
      "long_side": 11,
      "max_num_boxes": 12,
      "flip_probability": 0.1,
      "vertical_flip_probability": 0.2,
      "scale_min": 0.3,
      "scale_max": 0.4,
      "scale_crop": "input",
      "augmentation": data_config.Augmentation(mosaic=0.5),
      "difficult": "drop",
      "crowd": "keep",
    }
    parser = detection_parser.DetectionParser
    with mock.patch.object(detection_parser, "DetectionParser", side_effect=parser) as make:
      fixtures.make_dataset(self._write(2), global_batch_size=1, is_training=True, **settings)
    (data, input_size, is_training, with_erased, num_classes), _ = make.call_args
    assert {name: getattr(data, name) for name in settings} == settings
    assert (tuple(input_size), is_training) == (settings["input_size"], True)
    assert not with_erased and num_classes is None
    with self.assertRaisesRegex(ValueError, "locked"):
      data.short_side = 20

  def test_remote_files_are_read(self):
    numbers, _ = self._read(f"file://{self._write(3)}", global_batch_size=3, is_training=False)
    self.assertAllEqual(numbers, [[1, 2, 3]])


class FaultsTest(ReaderTest):
  def _assert_refused(self, path, expected):
    for is_training in (False, True):
      with self.assertRaisesRegex(ValueError, expected):
        fixtures.make_dataset(path, global_batch_size=1, is_training=is_training, **SETTINGS)

  def _write_one(self, content):
    return fixtures.write_records(os.path.join(self.folder, "one.tfrecord"), [content])

  def test_text_file(self):
    path = os.path.join(self.folder, "notes.txt")
    with open(path, "w") as file:
      file.write("no records in here, only words")
    self._assert_refused(path, r"notes\.txt: is no TFRecord file")

  def test_cut_short_in_a_later_record(self):
    path = fixtures.write_noise_records(
      os.path.join(self.folder, "cut.tfrecord"), 3, [[0, 0, 9, 9]], [1]
    )
    os.truncate(path, os.path.getsize(path) - 100)
    self._assert_refused(path, r"cut\.tfrecord: is cut short in record 2")

  def test_cut_short_within_a_header(self):
    pattern = self._write(2)
    (path,) = record_paths.match_files(pattern)
    with open(path, "ab") as file:
      file.write(b"\0" * 7)
    self._assert_refused(path, "is cut short in record 2")

  def test_no_example(self):
    self._assert_refused(self._write_one(b"\xff"), r"one\.tfrecord: record 0: tf\.Example: 1 byte")

  def test_a_later_file(self):
    pattern = self._write(1)
    self._assert_refused([pattern, self._write_one(b"\xff")], r"one\.tfrecord: record 0: tf\.Exam")

  @parameterized.parameters(schema.IMAGE_ENCODED, schema.IMAGE_SOURCE_ID)
  def test_a_feature_is_missing(self, name):
    example = tf.train.Example.FromString(numbered_example(1))
    del example.features.feature[name]
    path = self._write_one(example.SerializeToString())
    self._assert_refused(path, rf"one\.tfrecord: record 0: {name}: missing or empty")

  def test_classes_that_count_from_zero(self):
    content = fixtures.serialized_example(
      fixtures.noise_image(4, 4), [[0, 0, 2, 2], [1, 1, 2, 2]], [1, 0]
    )
    self._assert_refused(
      self._write_one(content), "object 2 image/object/class/label: 0; accepted: classes"
    )

  def test_empty_files(self):
    self._assert_refused(self._write(0, 0), "no records in .*train-00000-of-00002")

  def test_batch_without_images(self):
    with self.assertRaisesRegex(ValueError, "global_batch_size is 0; accepted: at least 1"):
      fixtures.make_dataset(self._write(1), global_batch_size=0, is_training=True)

  def test_batch_that_replicas_cannot_share(self):
    with self.assertRaisesRegex(
      ValueError, "^global_batch_size is 5; accepted: a multiple of the 2"
    ):
      fixtures.make_dataset(
        self._write(1),
        global_batch_size=5,
        is_training=True,
        input_context=tf.distribute.InputContext(num_replicas_in_sync=2),
      )

  @parameterized.parameters(
    ({"first_batch": -1}, r"^first_batch is \[-1\]; accepted: batches are numbered from 0"),
    ({"skipped_batches": [3, -2]}, r"^skipped_batches is \[3, -2\]; accepted: batches are"),
  )
  def test_batches_that_there_are_not(self, settings, message):
    with self.assertRaisesRegex(ValueError, message):
      fixtures.make_dataset(self._write(1), global_batch_size=1, is_training=True, **settings)

  @parameterized.parameters(({"first_batch": 1},), ({"skipped_batches": [0]},))
  def test_evaluation_leaves_nothing_out(self, settings):
    with self.assertRaisesRegex(ValueError, "evaluation takes all batches"):
      fixtures.make_dataset(self._write(1), global_batch_size=1, is_training=False, **settings)
