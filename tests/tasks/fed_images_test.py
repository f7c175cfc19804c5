"""Training images to be shown: they are those of the input pipeline, with the labels of a step."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import reader
from mtl_ssl_tf.labels import mining
from mtl_ssl_tf.tasks import co_mining, fed_images
from mtl_ssl_tf.training import task as task_lib
from tests import fixtures
from tests.tasks import tiny

FIRST = 3  # Of batches of two.


def test_they_are_what_training_is_fed(task):
  data = task.task_config.train_data
  found = list(fed_images.fed_images(task, 3, FIRST))
  batches = task.build_inputs(data, first_batch=FIRST).take(2)
  row = 0
  for number, (images, labels) in enumerate(batches, start=FIRST):
    targets = task.auxiliary_targets(labels, tf.constant(number))
    for i, name in enumerate(reader.image_ids(data, number)[: 3 - row]):
      image = found[row]
      assert (image.name, image.place) == (name, f"batch {number}, row {i}")
      height, width = np.int32(np.round(labels["image_size_px"][i]))
      assert image.image.shape == (height, width, 3) == (60, 80, 3)
      assert image.input_size == (64, 96)
      np.testing.assert_allclose(image.image, images[i, :height, :width], atol=0.51)
      np.testing.assert_array_equal(image.boxes_px, labels["gt_boxes_px"][i])
      np.testing.assert_array_equal(image.classes, labels["gt_classes"][i])
      assert image.flipped == bool(labels["flipped"][i])
      np.testing.assert_array_equal(image.window_labels, targets.window_labels[i])
      for name in ("windows_px", "closeness_labels", "foreground_mask"):
        np.testing.assert_array_equal(getattr(image, name), getattr(targets, name)[i])
      assert image.views == []
      row += 1
  assert row == len(found) == 3


def test_they_come_in_the_order_of_the_seed_of_training(folder):
  task = make_task(folder, "mtl_frcnn", {"train_data": {"seed": 7}})
  data = task.task_config.train_data
  names = [image.name for image in fed_images.fed_images(task, 4)]
  assert names == [*reader.image_ids(data, 0), *reader.image_ids(data, 1)]
  assert names[:2] != reader.image_ids(data.replace(seed=0), 0)


def test_without_a_seed_they_have_names_all_the_same(folder):
  task = make_task(folder, "mtl_frcnn", {"train_data": {"seed": None}})
  data = task.task_config.train_data
  assert data.seed is None
  names = [image.name for image in fed_images.fed_images(task, 4)]
  known = data.replace(seed=0)
  assert names == [*reader.image_ids(known, 0), *reader.image_ids(known, 1)]


def test_crowds_are_told_apart(folder, monkeypatch):
  task = make_task(folder, "mtl_frcnn", {})
  images, labels = next(iter(task.build_inputs(task.task_config.train_data)))
  is_crowd = [[False, True, False, False], [True, False, False, False]]
  batch = (images, labels | {"gt_is_crowd": tf.constant(is_crowd)})
  monkeypatch.setattr(task, "build_inputs", lambda data, first_batch: [batch])
  found = list(fed_images.fed_images(task, 2))
  assert [image.is_crowd.tolist() for image in found] == is_crowd


def test_windows_without_label_and_tasks_without_weight_are_left_out(folder, monkeypatch):
  fields = {"auxiliary": {"closeness": {"loss_weight": 0.0}, "foreground": {"loss_weight": 0.0}}}
  task = make_task(folder, "mtl_frcnn", fields)

  def targets(labels, step):
    made = type(task).auxiliary_targets(task, labels, step)
    return made._replace(window_weights=tf.constant([[1.0, 0.0, 1.0, 0.0]] * 2))

  monkeypatch.setattr(task, "auxiliary_targets", targets)
  (image,) = fed_images.fed_images(task, 1)
  assert image.windows_px.shape == (2, 4) and image.window_labels.shape == (2, 3)
  assert image.closeness_labels is None and image.foreground_mask is None


def make_task(folder, experiment, fields):
  config = tiny.experiment(folder, {"task": fields}, experiment).task
  return task_lib.class_of(config)(config)


@pytest.fixture(name="co_mining_task")
def _co_mining_task(folder):
  return make_task(folder, experiments.CO_MINING, {"mining": {"num_slots": 3}})


def test_a_task_that_mines_shows_its_second_view(co_mining_task):
  (image,) = fed_images.fed_images(co_mining_task, 1)
  first, second = image.views
  np.testing.assert_array_equal(first.image, image.image)
  assert second.image.shape == image.image.shape
  assert (second.image != image.image).any()  # Its colours are others.
  assert (first.classes < 0).all() and (second.classes < 0).all()


def test_mined_boxes_are_those_of_the_model_in_the_step(co_mining_task, monkeypatch):
  asked = []

  def mined_views(model, inputs, step):
    asked.append((model, int(step)))
    images, labels = inputs
    pseudo = mining.PseudoBoxes(
      tf.tile([[[0.0, 0.0, 9.0, 9.0]]], [4, 1, 1]),
      tf.constant([[1], [2], [0], [-1]]),
      tf.constant([[0.1], [0.2], [0.3], [0.0]]),
      tf.constant([[True], [True], [False], [False]]),
    )
    counts = mining.nothing_mined(4, 1)[1]
    views = tf.concat([images, 255.0 - images], axis=0)
    return co_mining.MinedViews(views, labels, None, pseudo, counts)

  monkeypatch.setattr(co_mining_task, "mined_views", mined_views)
  found = list(fed_images.fed_images(co_mining_task, 2, FIRST, "the model"))
  assert asked == [("the model", FIRST)]
  # Rows of the first view, then those of the second.
  assert [[view.classes.tolist() for view in image.views] for image in found] == [
    [[1], [0]],
    [[2], [-1]],
  ]
  np.testing.assert_allclose(found[0].views[1].image, 255 - found[0].image, atol=1)


def test_the_classes_that_an_image_is_annotated_for(tmp_path):
  tiny.write_records(tmp_path)
  records = [
    tf.train.Example.FromString(record)
    for record in tf.data.TFRecordDataset([str(tmp_path / "train.tfrecord")]).as_numpy_iterator()
  ]
  for record in records[:4]:
    record.features.feature[schema.ANNOTATED_CLASSES].int64_list.value.append(2)
  fixtures.write_records(
    tmp_path / "train.tfrecord", [record.SerializeToString() for record in records]
  )
  task = make_task(tmp_path, experiments.DEFAULT, {})
  stated = {
    image.name: image.annotated_classes for image in fed_images.fed_images(task, len(records))
  }
  assert [stated[str(number)] is None for number in range(8)] == [False] * 4 + [True] * 4
  assert stated["0"].tolist() == [2]
