"""Badly placed boxes and boxes around nothing, against what was made up."""

import numpy as np

from mtl_ssl_tf.auditing import doubts


def _overlaps(rng, number):
  return 1.0 / (1.0 + np.exp(-rng.normal(2.0, 0.5, number)))  # About 0.88.


def test_boxes_far_from_their_detections_stand_out():
  rng = np.random.default_rng(0)
  overlaps = np.concatenate([_overlaps(rng, 500), [0.2, 0.35, 0.12]])
  found = doubts.misplaced(overlaps)
  assert (found[500:] > 0.3).all() and found[502] > 0.8
  assert (found[:500] > 0.3).mean() < 0.01
  assert found[np.argmax(overlaps)] == 0.0


def test_a_worse_detector_makes_the_same_overlap_less_odd():
  rng = np.random.default_rng(1)
  sharp = np.append(_overlaps(rng, 300), 0.5)
  blurred = np.append(1.0 / (1.0 + np.exp(-rng.normal(0.8, 0.8, 300))), 0.5)
  assert doubts.misplaced(sharp)[-1] > 5.0 * doubts.misplaced(blurred)[-1]


def test_the_order_changes_nothing_and_nothing_is_nothing():
  rng = np.random.default_rng(2)
  overlaps = np.append(_overlaps(rng, 100), 0.3)
  order = rng.permutation(101)
  np.testing.assert_allclose(doubts.misplaced(overlaps)[order], doubts.misplaced(overlaps[order]))
  assert doubts.misplaced(np.zeros(0)).shape == (0,)
  # Detections as the boxes are: nothing is odd.
  assert (doubts.misplaced(np.full(50, 0.9)) == 0.0).all()


def test_what_is_not_found_is_odd_where_others_like_it_are():
  rng = np.random.default_rng(3)
  # Class 1 is nearly always found, class 2 mostly where it is large.
  classes = np.repeat([1, 2], 300)
  areas = np.exp(rng.uniform(4, 9, 600))
  chance = np.where(classes == 1, 0.98, np.where(areas > np.exp(6.5), 0.9, 0.2))
  evidence = np.where(rng.random(600) < chance, 0.95, 0.02)
  evidence = np.append(evidence, [0.0, 0.0, 0.0, 0.9])
  classes = np.append(classes, [1, 2, 2, 1])
  areas = np.append(areas, np.exp([6.0, 8.5, 4.5, 6.0]))
  sure, large, small, found = doubts.around_nothing(evidence, classes, areas, 2)[-4:]
  assert sure > large > small
  assert found < 0.1 * sure
  # About one box in 20 of an object like it is not found, and one in 500 is around nothing.
  assert 0.01 < sure < 0.1


def test_no_boxes():
  assert doubts.around_nothing(np.zeros(0), np.zeros(0, int), np.zeros(0), 2).shape == (0,)
