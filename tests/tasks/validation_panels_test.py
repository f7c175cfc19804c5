"""Pictures of validation images, from the rows of the validation step."""

import numpy as np
import pytest

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.tasks import validation_panels
from mtl_ssl_tf.visualization import draw
from tests import fixtures
from tests.tasks import tiny


@pytest.fixture(name="path")
def _path(tmp_path):
  fixtures.write_noise_records(tmp_path / "val.tfrecord", 4, tiny.BOXES, tiny.CLASSES)
  return str(tmp_path / "val.tfrecord")


def row(index: int) -> dict[str, np.ndarray]:
  return {
    "example_index": np.int32(index),
    "gt_boxes_orig": np.array([[0.0, 0.0, 9.0, index]]),
    "gt_classes": np.array([1]),
    "detection_boxes_orig": np.array([[0.0, 0.0, 20.0, 20.0]]),
    "detection_classes": np.array([2]),
    "detection_scores": np.array([0.6]),
  }


def panels(path: str, **fields) -> validation_panels.ValidationPanels:
  return validation_panels.ValidationPanels(data_config.Pictures(**fields), ["cat", "dog"], path)


def test_the_first_images_are_drawn_with_their_own_rows(path, monkeypatch):
  calls = []
  monkeypatch.setattr(draw, "training_panel", lambda *args, **named: calls.append((args, named)))
  drawing = panels(path, num_images=2, score_threshold=0.3)
  for index in (3, 1, 0):
    drawing.update(row(index))
  assert len(drawing.draw()) == 2
  images = [args[0] for args, _ in calls]
  assert [image.shape for image in images] == [(48, 64, 3)] * 2
  assert images[0].dtype == np.uint8
  assert not np.array_equal(*images)
  for index, (args, named) in enumerate(calls):
    np.testing.assert_array_equal(args[1], row(index)["gt_boxes_orig"])
    assert args[2].tolist() == [1]
    assert args[3] == ["cat", "dog"]
    np.testing.assert_array_equal(named["detection_boxes_px"], [[0, 0, 20, 20]])
    assert named["detection_classes"].tolist() == [2]
    assert named["detection_scores"].tolist() == [0.6]
    assert named["min_score"] == 0.3


def test_pictures_show_both(path):
  drawing = panels(path, num_images=1)
  drawing.update(row(0))
  (picture,) = drawing.draw()
  # Two images next to each other.
  assert picture.shape[1] > 1.5 * picture.shape[0]
  with_detection = picture.copy()
  drawing.reset()
  assert drawing.draw() == []
  drawing.update(row(0) | {"detection_scores": np.array([0.4])})
  assert not np.array_equal(drawing.draw()[0], with_detection)


def test_no_interval_no_pictures():
  drawing = panels("nowhere", interval=0)
  drawing.update(row(0))
  assert drawing.draw() == []
