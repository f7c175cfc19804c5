"""Shapes of anchors and their overlap with boxes."""

import numpy as np
import pytest

from mtl_ssl_tf.data.inspection import anchor_shapes
from mtl_ssl_tf.ops import anchor_ops


def test_shapes_are_those_of_the_detector():
  found = anchor_shapes.grid_shapes(64.0, (0.5, 1.0), (0.5, 2.0))
  grid = anchor_ops.grid_anchors((1, 1), 16, 64.0, [0.5, 1.0], [0.5, 2.0])
  expected = np.sort((grid[:, 2:] - grid[:, :2]).view("f4,f4"), axis=0).view("f4")
  given = found.astype(np.float32)
  np.testing.assert_allclose(np.sort(given.view("f4,f4"), axis=0).view("f4"), expected, rtol=1e-5)


def test_overlap_is_that_of_rectangles_around_one_centre():
  rng = np.random.default_rng(0)
  boxes, shapes = rng.integers(1, 20, [5, 2]).astype(float), rng.integers(1, 20, [4, 2])
  found = anchor_shapes.shape_ious(boxes, shapes.astype(float))
  for (height, width), row in zip(boxes, found, strict=True):
    for (other_height, other_width), iou in zip(shapes, row, strict=True):
      inter = min(height, other_height) * min(width, other_width)
      assert iou == pytest.approx(inter / (height * width + other_height * other_width - inter))
