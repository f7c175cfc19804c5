"""Tests of the batches that a step is examined with."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.compilation import step_inputs
from mtl_ssl_tf.tasks import mtl_detection
from tests.tasks import tiny


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records")
  tiny.write_records(folder)
  return folder


@pytest.fixture(name="task", scope="module")
def _task(folder):
  return mtl_detection.MtlDetectionTask(tiny.experiment(folder).task)


def test_the_runs_own_batches_have_one_signature(task):
  dataset = step_inputs.batches(task, task.task_config.train_data, 3)
  counts, specs = step_inputs.count_signatures(dataset, 5)
  ((signature, count),) = counts.items()
  assert count == 5
  assert ("images", (3, 64, 96, 3), "float32") in signature
  assert ("gt_classes", (3, 4), "int32") in signature
  images, labels = specs[signature]
  assert images == tf.TensorSpec([3, 64, 96, 3])
  assert labels["gt_boxes_px"] == tf.TensorSpec([3, 4, 4])


def test_signatures_differ_by_shape_and_type():
  labels = {"gt_classes": tf.zeros([1, 4], tf.int32)}
  batch = tf.zeros([1, 8, 8, 3]), labels
  same = tf.ones([1, 8, 8, 3]), labels
  other_shape = tf.zeros([1, 8, 9, 3]), labels
  other_type = tf.zeros([1, 8, 8, 3]), {"gt_classes": tf.zeros([1, 4], tf.int64)}
  signatures = [step_inputs.signature(one) for one in (batch, same, other_shape, other_type)]
  assert signatures[0] == signatures[1]
  assert len(set(signatures)) == 3


def test_a_made_up_batch_is_like_the_runs(task):
  data = task.task_config.train_data
  (own,) = step_inputs.count_signatures(step_inputs.batches(task, data, 2), 1)[0]
  images, labels = step_inputs.made_up_batch(task, data, 2)
  assert step_inputs.signature((images, labels)) == own
  assert np.ptp(images.numpy()) > 200  # Noise.
  classes = labels["gt_classes"].numpy()
  assert set(classes.ravel()) == {1, 2}
  boxes = labels["gt_boxes_px"].numpy()
  sizes = labels["image_size_px"].numpy()[:, np.newaxis]
  assert (boxes[..., 2:] - boxes[..., :2] > 0.15 * sizes).all()


def test_made_up_records_have_both_orientations(task):
  data = task.task_config.train_data
  with step_inputs.made_up_records(task.class_names) as path:
    _, labels = next(iter(step_inputs.batches(task, data, 2, path)))
  heights, widths = labels["image_info"].numpy()[:, 0].T
  assert sorted(heights < widths) == [False, True]


def test_whether_records_are_there(task, tmp_path):
  data = task.task_config.train_data
  assert step_inputs.is_there(data)
  assert not step_inputs.is_there(data.replace(input_path=str(tmp_path / "none-*")))
  assert not step_inputs.is_there(data.replace(input_path=""))


def test_a_field_is_named_that_does_not_suit(task):
  data = task.task_config.train_data
  with pytest.raises(ValueError, match=r"^task\.train_data\.scale_min is "):
    step_inputs.batches(task, data.replace(scale_min=2.0), 2)


def test_a_damaged_record_is_reported(task, folder, tmp_path):
  whole = (folder / "train.tfrecord").read_bytes()
  path = tmp_path / "damaged.tfrecord"
  # The last bytes but the checksum belong to the last record.
  path.write_bytes(whole[:-12] + bytes(8) + whole[-4:])
  dataset = step_inputs.batches(task, task.task_config.train_data, 2, str(path))
  with pytest.raises(ValueError, match=r"^task\.train_data\.input_path: ") as caught:
    step_inputs.count_signatures(dataset, 5)
  assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_short_is_reported(task, folder, tmp_path):
  path = tmp_path / "short.tfrecord"
  path.write_bytes((folder / "train.tfrecord").read_bytes()[:-9])
  with pytest.raises(ValueError, match=r"^task\.train_data\.input_path: .*short\.tfrecord: is cut"):
    step_inputs.batches(task, task.task_config.train_data, 2, str(path))
