"""Batches of pairs: order, resuming, workers, replicas, and their shapes."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.composites import reader
from tests import fixtures

OFF = insloc_config.Colors(jitter_probability=0.0, grey_probability=0.0, blur_probability=0.0)
NUM_IMAGES = 7


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> str:
  """Records of images that can be told by their grey values 20, 40, … of the numbers 0, 1, …"""
  examples = [
    fixtures.serialized_example(
      fixtures.solid_image(12 + number, 16, 20 * (number + 1)), source_id=f"image {number}"
    )
    for number in range(NUM_IMAGES)
  ]
  folder = tmp_path_factory.mktemp("records")
  return fixtures.write_records(folder / "train-00000-of-00001.tfrecord", examples)


def settings(records, **fields) -> insloc_config.InsLocData:
  values = {
    "input_path": records, "store_side": 0.0, "global_batch_size": 3, "is_training": True,
    "composite": insloc_config.Composite(size=16), "colors": OFF,
  }  # fmt: skip
  return insloc_config.InsLocData(**{**values, **fields})


def batches(data, count, **arguments) -> list[dict[str, np.ndarray]]:
  return list(reader.make_dataset(data, **arguments).take(count).as_numpy_iterator())


def assert_equal(found, expected):
  assert len(found) == len(expected)
  for one, other in zip(found, expected, strict=True):
    for name, value in one.items():
      np.testing.assert_array_equal(value, other[name])


def crop_value(batch, role, row) -> int:
  """Grey value of a pasted crop."""
  ymin, xmin, _, _ = batch[f"{role}_boxes"][row].astype(int)
  return int(batch[f"{role}_images"][row, ymin, xmin, 0])


def background_value(batch, role, row) -> int:
  # The last row is never covered.
  return int(batch[f"{role}_images"][row, -1, 0, 0])


def test_shapes_are_static_and_there_is_no_end(records):
  dataset = reader.make_dataset(settings(records))
  assert dataset.element_spec == {
    "query_images": tf.TensorSpec([3, 16, 16, 3], tf.uint8),
    "query_boxes": tf.TensorSpec([3, 4], tf.float32),
    "key_images": tf.TensorSpec([3, 16, 16, 3], tf.uint8),
    "key_boxes": tf.TensorSpec([3, 4], tf.float32),
    "source_index": tf.TensorSpec([3], tf.int64),
  }
  assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


@pytest.mark.parametrize("cache", [False, True])
def test_an_epoch_shows_each_image_once_in_each_part(records, cache):
  # Seven batches of three are three epochs of seven.
  found = batches(settings(records, cache=cache), 7)
  index = np.concatenate([batch["source_index"] for batch in found])
  rows = [(batch, row) for batch in found for row in range(3)]
  parts = [index]
  for role in ("query", "key"):
    values = np.array([crop_value(batch, role, row) for batch, row in rows])
    np.testing.assert_array_equal(values, 20 * (index + 1))
    parts.append([background_value(batch, role, row) // 20 - 1 for batch, row in rows])
  for part in parts:
    epochs = np.reshape(part, [3, 7])
    np.testing.assert_array_equal(np.sort(epochs), [range(7)] * 3)
  # The orders differ from each other.
  assert len({tuple(part) for part in parts}) == 3


def test_cached_images_are_read_once(tmp_path):
  images = [fixtures.solid_image(12, 16, value) for value in (20, 40, 60)]
  path = fixtures.write_records(
    tmp_path / "a.tfrecord", [fixtures.serialized_example(image) for image in images]
  )
  dataset = reader.make_dataset(settings(path, cache=True))
  os.remove(path)
  (batch,) = dataset.take(1).as_numpy_iterator()
  assert {crop_value(batch, "query", row) for row in range(3)} == {20, 40, 60}


def test_images_are_kept_as_large_as_the_composites_need_them(tmp_path):
  Image.fromarray(fixtures.noise_image(90, 120)).save(tmp_path / "a.png")
  data = settings(
    "", image_dir=str(tmp_path), store_dir=str(tmp_path / "store"), store_side=1.5
  )  # fmt: skip
  (content,) = tf.data.TFRecordDataset(reader.record_files(data)).as_numpy_iterator()
  feature = tf.train.Example.FromString(content).features.feature
  # The shorter side is one and a half sides of a composite, 16 pixels.
  assert feature[schema.IMAGE_HEIGHT].int64_list.value[0] == 24
  assert feature[schema.IMAGE_WIDTH].int64_list.value[0] == 32


def test_settings_can_be_changed_later_and_do_not_count_then(records):
  data = settings(records)
  dataset = reader.make_dataset(data)
  expected = batches(settings(records), 1)
  data.composite.flip_probability = 1.0 - data.composite.flip_probability
  data.seed = 9
  assert_equal(list(dataset.take(1).as_numpy_iterator()), expected)


def test_a_run_can_begin_at_any_batch_and_leave_some_out(records):
  data = settings(records, colors=insloc_config.Colors())
  whole = batches(data, 8)
  assert_equal(batches(data, 3, first_batch=5), whole[5:])
  left = batches(data, 3, first_batch=2, skipped_batches=[3, 5])
  assert_equal(left, [whole[2], whole[4], whole[6]])


def test_the_iterator_of_a_run_is_repeated_and_another_seed_differs(records):
  data = settings(records, colors=insloc_config.Colors())
  assert_equal(batches(data, 3), batches(data, 3))
  other = batches(data.replace(seed=1), 3)
  assert any(
    np.any(one["query_boxes"] != two["query_boxes"])
    for one, two in zip(batches(data, 3), other, strict=True)
  )
  drawn = [batches(data.replace(seed=None), 3) for _ in range(2)]
  assert np.any(drawn[0][0]["query_boxes"] != drawn[1][0]["query_boxes"])


def test_an_image_is_shown_differently_in_each_epoch(records):
  boxes = {}
  for batch in batches(settings(records), 7):
    for row, number in enumerate(batch["source_index"]):
      boxes.setdefault(int(number), set()).add(tuple(batch["query_boxes"][row]))
  assert all(len(drawn) == 3 for drawn in boxes.values())


def test_workers_share_the_rows_of_each_batch(records):
  data = settings(records, global_batch_size=4)
  whole = batches(data, 3)
  parts = [
    batches(data, 3, input_context=tf.distribute.InputContext(2, worker, 2)) for worker in range(2)
  ]
  for batch, first, second in zip(whole, *parts, strict=True):
    for name, value in batch.items():
      np.testing.assert_array_equal(value, np.concatenate([first[name], second[name]]))


def test_without_training_there_is_about_one_epoch(records):
  data = settings(records, is_training=False)
  found = batches(data, -1)
  assert_equal(found, batches(settings(records), 2))
  # Fewer images than a batch fill one.
  assert len(batches(data.replace(global_batch_size=9), -1)) == 1
  # Two replicas of one worker, and one replica of each of two workers.
  assert len(batches(data.replace(global_batch_size=2), -1)) == 3
  for context, count in (((1, 0, 2), 6), ((2, 1, 2), 3)):
    context = tf.distribute.InputContext(*context)
    assert len(batches(data.replace(global_batch_size=2), -1, input_context=context)) == count


def test_image_ids_are_those_of_the_batch(records):
  data = settings(records)
  for number, batch in enumerate(batches(data, 3)):
    assert reader.image_ids(data, number) == [f"image {i}" for i in batch["source_index"]]
  with pytest.raises(ValueError, match="seed is None; accepted: a number"):
    reader.image_ids(data.replace(seed=None), 0)


def test_a_folder_of_images(tmp_path):
  for number in range(3):
    image = fixtures.solid_image(40, 60, 20 * (number + 1))
    Image.fromarray(image).save(tmp_path / f"{number}.png")
  (tmp_path / "1.png").write_bytes(b"broken")
  data = settings(
    "", image_dir=str(tmp_path), store_dir=str(tmp_path / "store"), store_side=1.0,
    global_batch_size=2,
  )  # fmt: skip
  assert reader.num_images(data) == 2
  (batch,) = batches(data, 1)
  assert {crop_value(batch, "key", row) for row in range(2)} == {20, 60}
  assert reader.image_ids(data, 0) == [f"{2 * number}.png" for number in batch["source_index"]]


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"input_path": ""}, "data.image_dir is '' and data.input_path ''; accepted: one of them"),
    ({"global_batch_size": 0}, "data.global_batch_size is 0; accepted: 1 to 1,000,000"),
    ({"input_path": "nowhere"}, "input_path: no record files match 'nowhere'"),
  ],
)
def test_settings_are_checked(records, fields, message):
  with pytest.raises(ValueError, match=message):
    reader.make_dataset(settings(records, **fields))


def test_records_that_hold_nothing_are_refused(tmp_path):
  path = fixtures.write_records(tmp_path / "a.tfrecord", [])
  with pytest.raises(ValueError, match=r"no records in .*a\.tfrecord; accepted: at least one"):
    reader.make_dataset(settings(path))


def test_names_that_are_no_text_are_shown(tmp_path):
  example = tf.train.Example.FromString(fixtures.serialized_example(fixtures.solid_image(4, 4)))
  example.features.feature[schema.IMAGE_SOURCE_ID].bytes_list.value[:] = [b"a\xff"]
  path = fixtures.write_records(tmp_path / "a.tfrecord", [example.SerializeToString()])
  assert reader.image_ids(settings(path, global_batch_size=1), 0) == ["a\ufffd"]


@pytest.mark.parametrize(
  ("fields", "arguments", "message"),
  [
    ({}, {"first_batch": -1}, r"^first_batch is \[-1\]; accepted: batches are numbered from 0"),
    ({}, {"skipped_batches": [-2]}, r"^skipped_batches is \[-2\]; accepted: batches are"),
    ({"is_training": False}, {"first_batch": 1}, "as evaluation takes all batches"),
    (
      {"global_batch_size": 3},
      {"input_context": tf.distribute.InputContext(num_replicas_in_sync=2)},
      "^global_batch_size is 3; accepted: a multiple of the 2 replicas",
    ),
  ],
)
def test_batches_are_checked(records, fields, arguments, message):
  with pytest.raises(ValueError, match=message):
    reader.make_dataset(settings(records, **fields), **arguments)


_REPLICAS = """
import json, sys
import tensorflow as tf
from tests.data.composites import reader_test
from mtl_ssl_tf.data.composites import reader

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
data = reader_test.settings(sys.argv[1], global_batch_size=4)
batches = strategy.distribute_datasets_from_function(
  lambda context: reader.make_dataset(data, first_batch=1, input_context=context)
)
batch = next(iter(batches))
print(json.dumps([
  [value.numpy().tolist() for value in strategy.experimental_local_results(batch[name])]
  for name in ("source_index", "query_boxes")
]))
"""


def test_replicas_share_each_batch(records):
  done = subprocess.run(
    [sys.executable, "-c", _REPLICAS, records],
    cwd=pathlib.Path(__file__).parents[3],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  indices, boxes = json.loads(done.stdout.splitlines()[-1])
  whole = batches(settings(records, global_batch_size=4), 2)[1]
  assert [len(part) for part in indices] == [2, 2]
  np.testing.assert_array_equal(np.concatenate(indices), whole["source_index"])
  np.testing.assert_array_equal(np.concatenate(boxes), whole["query_boxes"])
