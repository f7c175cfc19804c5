"""Tests of detections.py."""

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.prediction import image_detections


def _outputs(values):
  """For each value one detection of that score, and a row of padding that scores 1."""
  count = len(values)
  return {
    "detection_boxes_px": np.tile(np.float32([[1, 2, 4, 8], [0, 0, 0, 0]]), [count, 1, 1]),
    "detection_scores": np.stack([np.float32(values), np.ones([count], np.float32)], axis=-1),
    "detection_classes": np.tile(np.float32([2, 1]), [count, 1]),
    "num_detections": np.ones([count], np.float32),
  }


class TestDetections:
  _found = image_detections.Detections(
    np.float32([[1, 2, 4, 8], [0, 0, 1 / 3, 1]]), np.float32([0.5, 0.25]), np.int32([2, 1])
  )

  def test_coco_rows(self):
    assert self._found.coco_rows() == [
      {"category_id": 2, "bbox": [2.0, 1.0, 6.0, 3.0], "score": 0.5},
      {"category_id": 1, "bbox": [0.0, 0.0, 1.0, 0.333], "score": 0.25},
    ]

  def test_at_least(self):
    assert len(self._found.at_least(0.25).scores) == 2
    shown = self._found.at_least(0.26)
    assert shown.coco_rows() == self._found.coco_rows()[:1]
    assert self._found.at_least(1.0).coco_rows() == []
    # The first is of class 2, the second of class 1.
    assert self._found.at_least(np.array([0.25, 0.6])).coco_rows() == self._found.coco_rows()[1:]


class TestDetectEach:
  def test_together_and_without_padding(self):
    calls = []

    def detect(values):
      calls.append(list(values))
      return _outputs(values)

    found = image_detections.detect_each(detect, [0.5, 0.75])
    assert calls == [[0.5, 0.75]]
    assert [detections.scores.tolist() for detections in found] == [[0.5], [0.75]]
    np.testing.assert_array_equal(found[0].boxes_px, [[1, 2, 4, 8]])
    np.testing.assert_array_equal(found[0].class_ids, [2])
    assert found[0].class_ids.dtype == np.int32

  def test_one_takes_no_others_with_it(self):
    calls = []

    def detect(values):
      calls.append(list(values))
      if 9 in values:
        raise tf.errors.InvalidArgumentError(None, None, "too large\nat node x")
      return _outputs(values)

    found = image_detections.detect_each(detect, [0.5, 9, 0.75])
    assert calls == [[0.5, 9, 0.75], [0.5], [9], [0.75]]
    assert found[1] == "detection failed (too large)"
    assert [found[i].scores.tolist() for i in (0, 2)] == [[0.5], [0.75]]

  def test_none(self):
    assert image_detections.detect_each(None, []) == []
