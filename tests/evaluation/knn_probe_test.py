"""Objects on a circle, whose neighbours can be counted by hand."""

import math

import numpy as np
import pytest

from mtl_ssl_tf.evaluation import knn_probe


def _at(*degrees: float) -> np.ndarray:
  radians = np.radians(np.array(degrees))
  return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def _result(num_neighbours: int, *images) -> dict[str, float]:
  probe = knn_probe.KnnProbe(num_neighbours)
  for image, (degrees, classes) in enumerate(images):
    probe.update(image, _at(*degrees), np.array(classes))
  return probe.result()


def test_neighbours_of_the_same_image_do_not_vote():
  # The nearest to 0 and 1 degrees are each other; of another image it is the one at 10, of class 2.
  figures = _result(1, ([0, 1], [1, 1]), ([10], [2]), ([90, 91], [2, 2]))
  # Of class 2, the one at 10 is nearest to class 1, and those at 90 and 91 to the one at 10.
  assert figures["probe/object_accuracy"] == pytest.approx(100 * 2 / 5)
  assert figures["probe/accuracy"] == pytest.approx(50 * (0 + 2 / 3))
  assert figures["probe/chance"] == 50.0
  assert (figures["probe/objects"], figures["probe/classes"]) == (5.0, 2.0)


def test_most_of_the_neighbours_decide():
  # Nearest to 0 is the only one of class 2 nearby, but the next two are of class 1.
  images = [([0], [1]), ([4], [2]), ([6], [1]), ([-6], [1]), ([180], [2]), ([181], [2])]
  # One neighbour: -6 has 0, 180 and 181 each other; 0 and 6 have 4, and 4 has 6.
  assert _result(1, *images)["probe/object_accuracy"] == pytest.approx(100 * 3 / 6)
  # Three: all of class 1 have two of their own, and 4 has class 1 alone. 180 and 181 have each
  # other and two of class 1 on the far side, whose votes weigh next to nothing.
  assert _result(3, *images)["probe/object_accuracy"] == pytest.approx(100 * 5 / 6)
  assert _result(3, *images)["probe/accuracy"] == pytest.approx(50 * (1 + 2 / 3))


def test_of_two_classes_with_as_many_votes_the_nearer_one_wins():
  images = [([0], [1]), ([10], [1]), ([-20], [2])]
  figures = _result(2, *images)
  # 0 sees 10 (class 1) and -20; 10 sees 0 (class 1) and -20; -20 sees class 1 alone.
  assert figures["probe/object_accuracy"] == pytest.approx(100 * 2 / 3)


def test_length_does_not_matter():
  probe = knn_probe.KnnProbe(1)
  for image, (degrees, length, label) in enumerate(
    [(0, 9.0, 1), (3, 0.1, 1), (8, 5.0, 2), (9, 5.0, 2)]
  ):
    probe.update(image, length * _at(degrees), np.array([label]))
  assert probe.result()["probe/accuracy"] == 100.0


def test_spread_is_zero_where_all_is_the_same():
  figures = _result(1, ([30], [1]), ([30], [2]), ([30], [1]))
  assert figures["probe/spread"] == pytest.approx(0.0, abs=1e-6)
  # Variances of +1, -1 in the first dimension and 0 in the second.
  assert _result(1, ([0], [1]), ([180], [2]))["probe/spread"] == pytest.approx(1.0)


@pytest.mark.parametrize("images", [[], [([], [])], [([], []), ([], [])]])
def test_nothing_to_measure(images):
  figures = _result(3, *[(degrees, np.zeros(0, int)) for degrees, _ in images])
  assert math.isnan(figures["probe/accuracy"])
  assert figures["probe/objects"] == 0.0


def test_a_single_image_has_nothing_to_compare_with():
  figures = _result(3, ([0, 1], [1, 1]))
  assert math.isnan(figures["probe/accuracy"])
  assert figures["probe/objects"] == 2.0


def test_chunks_and_loops_agree():
  rng = np.random.default_rng(0)
  features, classes = rng.normal(size=[1500, 6]).astype(np.float32), rng.integers(1, 4, 1500)
  images = rng.integers(0, 700, 1500)
  probe = knn_probe.KnnProbe(5)
  for image in range(700):
    rows = images == image
    probe.update(image, features[rows], classes[rows])
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  num_right = 0
  for row in range(1500):
    cosines = unit @ unit[row]
    cosines[images == images[row]] = -np.inf
    votes = {1: 0.0, 2: 0.0, 3: 0.0}
    for other in np.argsort(-cosines)[:5]:
      votes[classes[other]] += 1.0 + cosines[other]
    num_right += max(votes, key=votes.get) == classes[row]
  assert probe.result()["probe/object_accuracy"] == pytest.approx(100 * num_right / 1500, abs=0.2)


def test_reset():
  probe = knn_probe.KnnProbe(1)
  probe.update(0, _at(0, 1), np.array([1, 2]))
  probe.reset()
  assert probe.result()["probe/objects"] == 0.0
