"""Anchors of a pyramid, against boxes that are them."""

import numpy as np
import pytest

from mtl_ssl_tf.suggestion import pyramid_anchors
from mtl_ssl_tf.suggestion.pyramid_anchors import PyramidAnchors

LEVELS = (3, 5)


def test_sides_double_from_level_to_level():
  anchors = PyramidAnchors(4.0, (1.0, 1.5), (0.25,), LEVELS)
  # Sides of 32, 48, 64, 96, 128 and 192, twice as high and half as wide.
  expected = [
    (2 * side, side / 2, stride)
    for side, stride in [(32, 8), (48, 8), (64, 16), (96, 16), (128, 32), (192, 32)]
  ]
  np.testing.assert_allclose(anchors.shapes, expected)
  assert anchors.per_cell == 2


def test_recall_counts_that_centres_are_off():
  anchors = PyramidAnchors(4.0, (1.0,), (1.0,), (3, 3))
  # 2 of 32 pixels off in each direction: 30 x 30 are shared.
  iou = 30 * 30 / (2 * 32 * 32 - 30 * 30)
  box = np.array([[32.0, 32.0]])
  assert pyramid_anchors.recall(box, anchors, iou - 1e-6) == 1.0
  assert pyramid_anchors.recall(box, anchors, iou + 1e-6) == 0.0
  # A small box within the anchor is shared whole.
  iou = 16 * 12 / (32 * 32)
  box = np.array([[16.0, 12.0], [640.0, 1.0]])
  assert pyramid_anchors.recall(box, anchors, iou - 1e-6) == 0.5


@pytest.mark.parametrize(
  ("ratios", "sides"), [((1.0,), (32, 64, 128)), ((0.33, 3.0), (32, 64, 128)), ((1.0,), (64,))]
)
def test_fit_finds_the_ratios_of_the_boxes(ratios, sides):
  boxes = [(side / ratio**0.5, side * ratio**0.5) for side in sides for ratio in ratios]
  found = pyramid_anchors.fit(np.array(boxes), np.ones(len(boxes), int), LEVELS)
  assert found.levels == LEVELS
  assert found.level_scales == (1.0,)
  np.testing.assert_allclose(found.aspect_ratios, ratios, atol=0.01)
  assert pyramid_anchors.recall(np.array(boxes), found, 0.7) == 1.0


def test_boxes_between_two_sides_ask_for_more_of_them():
  sides = np.geomspace(32.0, 256.0, 40)
  boxes = np.stack([sides, sides], axis=-1)
  found = pyramid_anchors.fit(boxes, np.ones(len(boxes), int), LEVELS)
  assert len(found.level_scales) > 1


def test_a_rare_class_counts_as_much_as_a_frequent_one():
  boxes = np.array([[64.0, 64.0]] * 500 + [[128.0, 32.0]] * 5)
  classes = np.array([1] * 500 + [2] * 5)
  found = pyramid_anchors.fit(boxes, classes, LEVELS)
  assert pyramid_anchors.recall(boxes[-5:], found, 0.5) == 1.0
