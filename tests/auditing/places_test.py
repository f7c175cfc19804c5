"""Pairs of detections and boxes, and overlaps with others, worked by hand."""

import dataclasses

import numpy as np
import pytest

from mtl_ssl_tf.auditing import places
from tests.auditing import made_up


def _pair(boxes, classes, found, **options):
  image = made_up.image(
    boxes, classes, **{key: options[key] for key in options if key != "regions"}
  )
  columns = zip(*found, strict=True) if found else ([], [], [])
  return places.pair(image, made_up.detections(*columns), options.get("regions"))


def test_a_touching_object_without_a_box_does_not_take_its_neighbours():
  # Both overlap the only box, the better one is of the object beside it: 8 of 12 columns.
  box, beside = [0, 0, 10, 10], [0, 2, 10, 12]
  one = _pair([box], [1], [(beside, 0.9, 1), ([0, 0, 10, 9.5], 0.8, 1)])
  np.testing.assert_array_equal(one.scores, [0.9, 0.8])
  np.testing.assert_array_equal(one.own, [-1, 0])
  # A bad detection with a better place does not win.
  one = _pair([box], [1], [(beside, 0.9, 1), ([0, 0, 10, 9.5], 0.1, 1)])
  np.testing.assert_array_equal(one.own, [0, -1])


def test_each_box_and_each_detection_once():
  box = [0, 0, 10, 10]
  one = _pair([box, box], [1, 1], [(box, 0.5, 1), (box, 0.7, 1), (box, 0.6, 1)])
  assert sorted(one.own.tolist()) == [-1, 0, 1]
  assert one.own[2] == -1  # Scores are 0.7, 0.6, 0.5.


@pytest.mark.parametrize(("width", "own"), [(5.0, 0), (4.9, -1)])
def test_half_is_enough(width, own):
  one = _pair([[0, 0, 10, 10]], [1], [([0, 0, 10, width], 0.5, 1)])
  assert one.own.tolist() == [own]


def test_class_crowds_difficult_objects_and_regions():
  box, crowd, region = [0, 0, 10, 10], [100, 100, 150, 150], [50, 50, 60, 60]
  one = _pair(
    [box, crowd],
    [1, 2],
    [
      (box, 0.9, 2),  # Of another class.
      (box, 0.8, 1),  # Difficult.
      ([140, 140, 150, 160], 0.7, 2),  # Half in the crowd.
      ([140, 141, 150, 161], 0.6, 2),  # Less than half.
      ([110, 110, 120, 120], 0.5, 1),  # In a crowd of another class.
      ([50, 50, 60, 70], 0.4, 1),  # Half in a region.
      ([50, 50, 60, 70.5], 0.3, 1),
      (crowd, 0.2, 2),  # A crowd is no object.
    ],
    difficult=[0],
    is_crowd=[1],
    regions=np.array([region], float),
  )
  assert one.own.tolist() == [-1, 0, -1, -1, -1, -1, -1, -1]
  assert one.is_ignored.tolist() == [False, True, True, False, False, True, False, True]
  # Nothing overlaps a crowd.
  assert one.surroundings()[2].tolist() == [0.0, 0.0, 0.0, 0.0]


def test_overlaps():
  #   columns  0 --- own --- 10
  #                  5 -- given, the same class -- 15
  #                             10 -- given, another class -- 20
  boxes = [[0, 0, 10, 10], [0, 5, 10, 15], [0, 10, 10, 20]]
  found = [([0, 0, 10, 10], 0.9, 1), ([0, 8, 10, 12], 0.5, 1)]
  one = _pair(boxes, [1, 1, 2], found)
  np.testing.assert_array_equal(one.own, [0, -1])
  overlaps = one.surroundings()[:, :3]
  # The first: 5 of 15 with its neighbour, half of it; the worse detection does not count.
  np.testing.assert_allclose(overlaps[0], [1 / 3, 0.5, 0.0])
  # The second lies in its neighbour, with 2 of 4 in the better detection, and 2 of 12 in the other.
  np.testing.assert_allclose(overlaps[1], [0.4, 1.0, 2 / 12])
  # As if it were of the second box.
  np.testing.assert_allclose(one.surroundings(np.array([0, 1]))[1, :3], [2 / 12, 0.5, 2 / 12])


@pytest.mark.parametrize(
  ("box", "touches"),
  [
    ([2.0, 50, 60, 70], 1.0),  # Of 200 rows and 300 columns.
    ([2.1, 50, 60, 70], 0.0),
    ([50, 3.0, 60, 70], 1.0),
    ([50, 3.1, 60, 70], 0.0),
    ([50, 50, 198, 70], 1.0),
    ([50, 50, 197.9, 70], 0.0),
    ([50, 50, 60, 297], 1.0),
    ([50, 50, 60, 296.9], 0.0),
  ],
)
def test_border(box, touches):
  one = _pair([], [], [(box, 0.5, 1)])
  assert one.surroundings()[0, 3] == touches
  unknown = dataclasses.replace(one, image=dataclasses.replace(one.image, size=None))
  assert unknown.surroundings()[0, 3] == 0.0


def test_nothing():
  assert _pair([], [], []).surroundings().shape == (0, 4)
  one = _pair([[0, 0, 1, 1]], [1], [])
  assert one.own.shape == (0,) and one.iou.shape == (0, 1)
  one = _pair([], [], [([0, 0, 0, 0], 0.5, 1)])
  assert one.own.tolist() == [-1] and one.surroundings().tolist() == [[0.0, 0.0, 0.0, 1.0]]


def test_order_of_detections_changes_nothing():
  truth, found, _ = made_up.world(1, num_images=5)
  rng = np.random.default_rng(0)
  for image, detections in zip(truth.images, found, strict=True):
    order = rng.permutation(len(detections.scores))
    # Equal scores and boxes of two classes too.
    scores = np.round(detections.scores, 1)
    mixed = made_up.detections(
      detections.boxes.corners[order], scores[order], detections.classes[order]
    )
    one = places.pair(
      image, made_up.detections(detections.boxes.corners, scores, detections.classes)
    )
    other = places.pair(image, mixed)
    for name in ("boxes", "scores", "classes", "own", "is_ignored"):
      np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.surroundings(), other.surroundings())
