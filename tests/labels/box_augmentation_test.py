"""Boxes near the exact ones: candidates, chance, fallback, and the published statistics."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.labels import box_augmentation

DEFAULTS = insloc_config.BoxAugmentation()
# One square anchor of 4 pixels on each of 4 x 4 corners, 4 pixels apart.
SMALL = {"min_iou": 0.5, "cells": 4, "scales": [1.0], "aspect_ratios": [1.0]}


def seeds(count, first=0) -> tf.Tensor:
  return tf.stack([tf.fill([count], 5), tf.range(first, first + count)], axis=-1)


def augment(boxes, seeds_, side=256, jit_compile=False, **settings) -> np.ndarray:
  names = ("min_iou", "cells", "scales", "aspect_ratios")
  settings = {name: getattr(DEFAULTS, name) for name in names} | settings
  function = tf.function(box_augmentation.augment_boxes, jit_compile=jit_compile)
  boxes = tf.constant(np.reshape(boxes, [-1, 4]), tf.float32)
  return function(boxes, seeds_, side, **settings).numpy()


def iou(one, other) -> np.ndarray:
  """IoU of the boxes of two arrays [n, 4], row by row."""
  low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
  shared = np.prod(np.maximum(high - low, 0.0), axis=1)
  areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
  return shared / (areas[0] + areas[1] - shared)


def pasted_boxes(count, side=256) -> np.ndarray:
  """Boxes as large and as long as crops of square images come to be pasted."""
  rng = np.random.default_rng(0)
  aspects = np.exp(rng.uniform(-np.log(2.0), np.log(2.0), count))
  sizes = np.stack([aspects**-0.5, aspects**0.5], axis=1)
  bounds = np.sort(rng.uniform(0.5, 254 / 256, [count, 2])) * side
  scales = np.minimum(bounds[:, 1] / sizes.max(axis=1), bounds[:, 0] / sizes.min(axis=1))
  sizes *= scales[:, np.newaxis]
  places = rng.uniform(0.0, 1.0, [count, 2]) * (side - sizes)
  return np.concatenate([places, places + sizes], axis=1).astype(np.float32)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_by_hand(jit_compile):
  # The anchor on the corner (4, 8) is [2, 6, 6, 10]; the second box has no anchor near it.
  boxes = [[2, 6, 6, 9], [0, 0, 16, 16]]
  found = augment(boxes, seeds(2), 16, jit_compile, **SMALL)
  np.testing.assert_array_equal(found, [[2, 6, 6, 10], [0, 0, 16, 16]])


def test_the_overlap_has_to_be_larger():
  # Half of the anchor [2, 2, 6, 6], and a little more of it.
  half, more = [2, 2, 6, 4], [2, 2, 6, 4.01]
  found = augment([half, more], seeds(2), 16, **SMALL)
  np.testing.assert_allclose(found, [half, [2, 2, 6, 6]])


@pytest.mark.parametrize(("ratio", "size"), [(4.0, (2, 8)), (0.25, (8, 2))])
def test_ratios_are_widths_over_heights(ratio, size):
  height, width = size
  exact = [8 - height / 2, 8 - width / 2, 8 + height / 2, 8 + width / 2 - 0.5]
  (found,) = augment([exact], seeds(1), 16, **{**SMALL, "aspect_ratios": [ratio]})
  np.testing.assert_allclose(found, [*exact[:3], exact[3] + 0.5])


def test_every_candidate_is_drawn_equally_often():
  # Boxes of 8 around (10, 10): anchors of 8 on the corners 8 and 12 overlap by 36 / 92 or less, so
  # that 0.3 leaves four of them.
  count = 2000
  settings = {**SMALL, "scales": [2.0], "min_iou": 0.3}
  found = augment(np.tile([6.0, 6.0, 14.0, 14.0], [count, 1]), seeds(count), 16, **settings)
  boxes, counts = np.unique(found, axis=0, return_counts=True)
  expected = [[y - 4, x - 4, y + 4, x + 4] for y in (8, 12) for x in (8, 12)]
  np.testing.assert_array_equal(boxes, expected)
  assert counts.min() > 420 and counts.max() < 580  # 500 ± 4 standard deviations.


def test_published_statistics():
  # As in the simulation without suppression: IoU 0.55 in the middle, 0.68 at 95 %.
  boxes = pasted_boxes(800)
  found = augment(boxes, seeds(800))
  overlaps = iou(boxes, found)
  assert overlaps.min() > 0.5
  np.testing.assert_allclose(np.percentile(overlaps, (50, 95)), (0.55, 0.68), atol=0.02)
  sticks_out = np.any((found < 0.0) | (found > 256.0), axis=1).mean()
  assert 0.3 < sticks_out < 0.55


def test_an_image_has_its_own_choice_wherever_it_is_in_the_batch():
  boxes, keys = pasted_boxes(6), seeds(6)
  whole = augment(boxes, keys)
  order = [3, 0, 5, 1, 4, 2]
  np.testing.assert_array_equal(augment(boxes[order], tf.gather(keys, order)), whole[order])
  np.testing.assert_array_equal(augment(boxes[2:4], keys[2:4]), whole[2:4])
  same_box = np.tile(boxes[:1], [6, 1])
  assert len(np.unique(augment(same_box, keys), axis=0)) > 3
  assert np.any(augment(boxes, seeds(6, 6)) != whole)


def test_compiled_equals_the_graph():
  boxes, keys = pasted_boxes(16), seeds(16)
  np.testing.assert_allclose(augment(boxes, keys, jit_compile=True), augment(boxes, keys))


def test_the_grid_goes_with_the_image():
  boxes, keys = pasted_boxes(8), seeds(8)
  np.testing.assert_allclose(augment(boxes / 2, keys, 128), augment(boxes, keys) / 2, atol=1e-4)
