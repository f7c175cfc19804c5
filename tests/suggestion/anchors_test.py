"""Anchors from boxes: overlap, clusters, and the grid that is chosen."""

import numpy as np
import pytest

from mtl_ssl_tf.suggestion import anchors


def test_recall():
  boxes = np.array([[10.0, 10.0], [10.0, 20.0], [40.0, 40.0]])
  one = anchors.Anchors(10.0, (1.0,), (1.0,))
  assert anchors.recall(boxes, one, 0.9) == pytest.approx(1 / 3)
  assert anchors.recall(boxes, one, 0.5) == pytest.approx(2 / 3)  # The second one by exactly 0.5.


def drawn(sides, ratios, number=300, spread=0.06):
  rng = np.random.default_rng(1)
  side = rng.choice(sides, number) * np.exp(rng.normal(0.0, spread, number))
  root = np.sqrt(rng.choice(ratios, number) * np.exp(rng.normal(0.0, spread, number)))
  return np.stack([side / root, side * root], axis=-1)


def test_k_means_finds_clusters_and_counts_all_boxes():
  boxes = drawn([20.0, 80.0, 200.0], [1.0])
  centers, counts = anchors.k_means(boxes, 3)
  assert counts.sum() == 300 and len(counts) == 3
  sides = sorted(np.sqrt(centers.prod(axis=1)))
  np.testing.assert_allclose(sides, [20.0, 80.0, 200.0], rtol=0.05)
  again, _ = anchors.k_means(boxes[::-1], 3)
  np.testing.assert_array_equal(np.sort(centers, axis=0), np.sort(again, axis=0))


def test_a_single_size_needs_a_single_anchor():
  found = anchors.fit(np.full([30, 2], 50.0), np.ones(30))
  assert found == anchors.Anchors(50.0, (1.0,), (1.0,))


@pytest.mark.parametrize(
  ("sides", "ratios"), [([24.0, 96.0], [1.0]), ([40.0], [0.33, 3.0]), ([16.0, 60.0], [0.5, 2.0])]
)
def test_fit_finds_the_scales_and_ratios_that_there_are(sides, ratios):
  boxes = drawn(sides, ratios)
  found = anchors.fit(boxes, np.ones(len(boxes)))
  assert anchors.recall(boxes, found, 0.5) == 1.0
  assert anchors.recall(boxes, found, 0.7) > 0.97
  assert len(found.aspect_ratios) == len(ratios)
  np.testing.assert_allclose(found.aspect_ratios, ratios, rtol=0.12)
  assert found.base_size_px * max(found.scales) == pytest.approx(max(sides), rel=0.1)


def test_fit_covers_more_than_the_defaults_do():
  boxes = drawn([14.0, 30.0, 45.0], [0.4, 1.0])
  default = anchors.Anchors(256.0, (0.25, 0.5, 1.0, 2.0), (0.5, 1.0, 2.0))
  assert anchors.recall(boxes, default, 0.5) < 0.5
  assert anchors.recall(boxes, anchors.fit(boxes, np.ones(len(boxes))), 0.5) > 0.99


def test_a_rare_class_counts_as_much_as_a_frequent_one():
  rare = drawn([15.0], [1.0], number=8)
  boxes = np.concatenate([drawn([90.0], [1.0], number=2000), rare])
  classes = np.repeat([1, 2], [2000, 8])
  kept = anchors.balanced(boxes, classes)
  assert (kept.prod(axis=1) < 30.0**2).sum() == len(kept) / 2
  found = anchors.fit(boxes, classes)
  assert anchors.recall(rare, found, 0.7) > 0.8
  assert len(found.scales) == 2
