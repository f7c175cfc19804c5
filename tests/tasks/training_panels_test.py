"""Panels of a training batch, with a stand-in for the detector, which need not be right."""

import types

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.labels import mining
from mtl_ssl_tf.tasks import training_panels
from mtl_ssl_tf.visualization import draw

STEP = 12


class Detector:
  """Finds one cat in the corner of every image."""

  multi_object_head = closeness_head = foreground_head = True

  def __call__(self, images, image_size_px):
    del image_size_px
    num_images = tf.shape(images)[0]
    return {
      "detection_boxes_px": tf.tile([[[0.0, 0.0, 20.0, 20.0]]], [num_images, 1, 1]),
      "detection_classes": tf.ones([num_images, 1], tf.int32),
      "detection_scores": tf.ones([num_images, 1]),
    }


class BareDetector(Detector):
  """The same without auxiliary heads."""

  multi_object_head = closeness_head = foreground_head = None


@pytest.fixture(name="panels")
def _panels(task):
  config = task.task_config
  return training_panels.TrainingPanels(
    config.pictures,
    task.class_names,
    lambda: task.build_inputs(config.train_data),
    task.auxiliary_targets,
  )


def drawn(monkeypatch, panels, model) -> list[dict]:
  """What `draw` hands to each panel."""
  calls = []

  def panel(image, gt_boxes_px, gt_classes, class_names, **others):
    calls.append({"image": image, "gt_boxes_px": gt_boxes_px, "gt_classes": gt_classes, **others})
    return np.zeros([4, 4, 3], np.uint8)

  monkeypatch.setattr(draw, "training_panel", panel)
  panels.draw(model, STEP)
  return calls


def test_panels(panels):
  drawn = panels.draw(Detector(), STEP)
  assert len(drawn) == 3
  for panel in drawn:
    assert panel.dtype == np.uint8
    height, width, channels = panel.shape
    # Several views of a 60 × 80 image beside or below each other.
    assert channels == 3
    assert height * width > 4 * 60 * 80
    assert panel.std() > 0.0


def test_panels_show_the_labels_of_the_step(panels, monkeypatch, task):
  calls = drawn(monkeypatch, panels, Detector())
  # The stream of pictures begins like that of training.
  data = task.task_config.train_data
  row = 0
  for images, labels in task.build_inputs(data).take(2):
    targets = task.auxiliary_targets(labels, tf.constant(STEP))
    for i in range(len(images)):
      call = calls[row]
      np.testing.assert_array_equal(call["image"], np.round(images[i]))
      np.testing.assert_array_equal(call["gt_boxes_px"], labels["gt_boxes_px"][i])
      np.testing.assert_array_equal(call["gt_classes"], labels["gt_classes"][i])
      np.testing.assert_array_equal(call["image_size_px"], labels["image_size_px"][i])
      for name in (
        "windows_px",
        "window_labels",
        "window_weights",
        "closeness_labels",
        "foreground_mask",
      ):
        np.testing.assert_array_equal(call[name], getattr(targets, name)[i])
      np.testing.assert_array_equal(call["detection_boxes_px"], [[0.0, 0.0, 20.0, 20.0]])
      row += 1
  assert row == len(calls)


def test_the_next_pictures_are_of_the_next_images(panels, monkeypatch, task):
  calls = drawn(monkeypatch, panels, Detector()) + drawn(monkeypatch, panels, Detector())
  batches = task.build_inputs(task.task_config.train_data)
  images = [image for batch, _ in batches.take(4) for image in batch]
  assert len(calls) == len(images) == 8  # Three of four are shown each time.
  for call, image in zip(calls, images, strict=True):
    np.testing.assert_array_equal(call["image"], np.round(image))


def test_values_beyond_those_of_a_byte_are_cut():
  found = training_panels.as_bytes(tf.constant([-3.0, -0.4, 0.6, 254.6, 255.6, 300.0]))
  assert found.dtype == np.uint8
  assert found.tolist() == [0, 0, 1, 255, 255, 255]


def test_detections_are_shown_from_the_configured_score_on(monkeypatch, task):
  config = task.task_config
  panels = training_panels.TrainingPanels(
    config.pictures.replace(score_threshold=0.21, num_images=1),
    task.class_names,
    lambda: task.build_inputs(config.train_data),
    lambda labels, step: None,
  )
  call = drawn(monkeypatch, panels, BareDetector())[0]
  assert call["min_score"] == 0.21
  assert call["detection_classes"].tolist() == [1]
  assert call["detection_scores"].tolist() == [1.0]


def test_heads_that_are_not_there_are_not_shown(panels, monkeypatch):
  call = drawn(monkeypatch, panels, BareDetector())[0]
  assert not {"windows_px", "closeness_labels", "foreground_mask"} & set(call)


def test_views_are_those_of_their_image(monkeypatch, task):
  config, asked = task.task_config, []

  def mined_views(model, inputs, step):
    images, labels = inputs
    asked.append((model, labels, int(step)))
    # Two images and then their copies, which are darker; the box of each row tells the row.
    rows = tf.range(4.0)[:, tf.newaxis, tf.newaxis]
    pseudo = mining.PseudoBoxes(
      tf.add(rows, [[[0.0, 0.0, 9.0, 9.0]]]),
      tf.ones([4, 1], tf.int32),
      rows[..., 0] / 10,
      rows[..., 0] >= 0,
    )
    return types.SimpleNamespace(images=tf.concat([images, images / 2], 0), pseudo=pseudo)

  panels = training_panels.TrainingPanels(
    config.pictures,
    task.class_names,
    lambda: task.build_inputs(config.train_data),
    task.auxiliary_targets,
    mined_views,
  )
  model = Detector()
  calls = drawn(monkeypatch, panels, model)
  assert [(who, step) for who, _, step in asked] == [(model, STEP)] * 2
  for number, call in enumerate(calls):
    original, copy = call["mined_views"]
    np.testing.assert_array_equal(original.image, call["image"])
    np.testing.assert_allclose(copy.image, call["image"] / 2.0, atol=1.0)
    row = number % 2
    assert [view.boxes_px[0, 0] for view in (original, copy)] == [row, row + 2]
    np.testing.assert_allclose([original.scores[0], copy.scores[0]], [row / 10, row / 10 + 0.2])
    assert original.classes.tolist() == [1]


def test_without_mining_there_are_no_views(panels, monkeypatch):
  assert "mined_views" not in drawn(monkeypatch, panels, BareDetector())[0]
