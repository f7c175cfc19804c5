"""Boxes that are probably objects without annotation, against loops."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.labels import unlabelled_objects
from tests.labels import mining_oracle

RULE = {"min_objectness": 0.8, "max_iou": 0.2}
ANNOTATION, REGION, PADDING = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0], [-1.0] * 4


def marks(boxes, scores, valid, gt_boxes, gt_classes, compiled=False):
  function = tf.function(
    lambda *given: unlabelled_objects.probable_objects(*given, **RULE), jit_compile=compiled
  )
  return function(
    *(tf.constant(values, tf.float32) for values in (boxes, scores)),
    tf.constant(valid),
    tf.constant(gt_boxes, tf.float32),
    tf.constant(gt_classes),
  ).numpy()


@pytest.mark.parametrize("compiled", [False, True])
def test_worked_case(compiled):
  boxes = [
    [50.0, 50.0, 60.0, 60.0],  # on nothing
    [50.0, 50.0, 60.0, 61.0],  # scores too little
    [50.0, 50.0, 60.0, 62.0],  # is padding
    [0.0, 0.0, 10.0, 51.0],  # IoU 0.196 with the annotation
    [0.0, 0.0, 10.0, 49.0],  # IoU 0.204 with it
    [20.0, 20.0, 40.0, 40.0],  # on the region to be ignored
  ]
  scores = [0.81, 0.8, 0.9, 0.9, 0.9, 0.9]
  valid = [True, True, False, True, True, True]
  found = marks(
    [boxes, boxes],
    [scores, scores],
    [valid, valid],
    [[ANNOTATION, REGION, PADDING], [PADDING] * 3],
    [[2, 0, -1], [-1] * 3],
    compiled,
  )
  assert found[0].tolist() == [True, False, False, True, False, False]
  # Without annotations, whatever scores high.
  assert found[1].tolist() == [True, False, False, True, True, True]


def test_generated_cases():
  random = np.random.default_rng(0)
  num_images, num_boxes, num_rows = 3, 40, 5

  def boxes(count):
    corners = random.uniform(0, 40, [num_images, count, 2])
    return np.concatenate([corners, corners + random.uniform(5, 30, corners.shape)], axis=-1)

  given, rows = boxes(num_boxes), boxes(num_rows)
  scores = random.uniform(0.6, 1.0, [num_images, num_boxes])
  valid = random.uniform(size=scores.shape) < 0.8
  classes = random.integers(-1, 3, [num_images, num_rows])
  found = marks(given, scores, valid, rows, classes.astype(np.int32))
  for i in range(num_images):
    for j in range(num_boxes):
      overlaps = [
        mining_oracle.iou(given[i, j], rows[i, n]) for n in range(num_rows) if classes[i, n] >= 0
      ]
      expected = valid[i, j] and scores[i, j] > 0.8 and max(overlaps, default=0.0) < 0.2
      assert found[i, j] == expected
  assert 10 < found.sum() < found.size - 10
