"""What metrics are given of an image: every field, and of the annotated classes alone."""

import dataclasses

import numpy as np

from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth


def boxes(first, count):
  """Boxes whose forms do not follow from each other, so that none passes for the other."""
  corners = first + np.arange(4.0 * count).reshape(count, 4)
  return ground_truth.Boxes(corners, 100.0 + corners)


# Classes 1, 2, 3; of the flags, each is set for another object.
IMAGE = ground_truth.ImageTruth(
  "7",
  "7.jpg",
  (48, 64),
  boxes(0.0, 3),
  np.array([1, 2, 3]),
  np.array([True, False, False]),
  np.array([False, False, True]),
  np.array([10.0, 20.0, 30.0]),
)
FOUND = detection_files.Detections(
  boxes(50.0, 4), np.array([0.9, 0.8, 0.7, 0.6]), np.array([3, 2, 1, 3])
)


def arguments(rows, found_rows):
  """The arguments of some rows of the objects and of the detections."""
  return {
    "gt_boxes": IMAGE.boxes.corners[rows],
    "gt_boxes_xywh": IMAGE.boxes.xywh[rows],
    "gt_classes": np.array([1, 2, 3])[rows],
    "gt_difficult": np.array([True, False, False])[rows],
    "gt_is_crowd": np.array([False, False, True])[rows],
    "gt_areas": np.array([10.0, 20.0, 30.0])[rows],
    "detection_boxes": FOUND.boxes.corners[found_rows],
    "detection_boxes_xywh": FOUND.boxes.xywh[found_rows],
    "detection_scores": np.array([0.9, 0.8, 0.7, 0.6])[found_rows],
    "detection_classes": np.array([3, 2, 1, 3])[found_rows],
  }


def test_each_field_has_its_name():
  found = detection_files.metric_arguments(IMAGE, FOUND)
  np.testing.assert_equal(found, arguments([0, 1, 2], [0, 1, 2, 3]))


def test_other_classes_than_the_annotated_ones_are_left_out():
  image = dataclasses.replace(IMAGE, annotated_classes=np.array([1, 3]))
  found = detection_files.metric_arguments(image, FOUND)
  np.testing.assert_equal(found, arguments([0, 2], [0, 2, 3]))
  kept = image.of_annotated_classes()
  assert (kept.image_id, kept.size) == ("7", (48, 64))
  assert kept.annotated_classes.tolist() == [1, 3]
