"""The list: each kind where it was put, merged places, and what order and padding change."""

import dataclasses

import numpy as np
import pytest

from mtl_ssl_tf.auditing import candidates
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from tests.auditing import made_up


@pytest.fixture(name="world", scope="module")
def _world():
  return made_up.world(0, num_images=80, missing=0.0)


def _changed(image, place, *, box=None, class_id=None):
  """An image with another box or class of one object."""
  corners, classes = image.boxes.corners.copy(), image.classes.copy()
  if box is not None:
    corners[place] = box
  if class_id is not None:
    classes[place] = class_id
  return dataclasses.replace(image, boxes=ground_truth.Boxes.from_corners(corners), classes=classes)


def _without(image, place):
  kept = np.arange(len(image.classes)) != place
  return dataclasses.replace(
    image,
    boxes=ground_truth.Boxes.from_corners(image.boxes.corners[kept]),
    classes=image.classes[kept],
    difficult=image.difficult[kept],
    is_crowd=image.is_crowd[kept],
    areas=image.areas[kept],
  )


def _with_first(truth, image):
  return dataclasses.replace(truth, images=(image, *truth.images[1:]))


def _sure_scene(truth, found):
  """The data set with a first image of one cat and one dog that are found for sure."""
  boxes = [[20, 20, 60, 60], [100, 100, 150, 160]]
  image = made_up.image(boxes, [1, 2], image_id="sure")
  detections = made_up.detections(boxes, [0.97, 0.97], [1, 2])
  return _with_first(truth, image), [detections, *found[1:]]


def _of_first(audit):
  return [row for row in audit.candidates if row.image == 0]


def test_missing(world):
  truth, found, _ = world
  truth, found = _sure_scene(truth, found)
  image = _without(truth.images[0], 1)
  audit = candidates.find(_with_first(truth, image), found)
  best = _of_first(audit)[0]
  assert best.kind == candidates.MISSING and best.proposed_class == 2
  np.testing.assert_allclose(best.proposed_box, [100, 100, 60, 50])  # Left, top, width, height.
  assert best.given_box is None and best.given_object == -1 and np.isnan(best.overlap)
  assert best.score == 0.97 and best.probabilities[candidates.NOTHING] == 0.0
  # Of what is missing and touches nothing, nothing is as sure.
  missing = [row for row in audit.candidates if row.kind == candidates.MISSING]
  assert next(row for row in missing if not row.overlap > 0.0) is best


def test_touching(world):
  """The object without a box overlaps its neighbour, which has one, by a third."""
  truth, found, _ = world
  box, beside = [20, 20, 60, 60], [20, 40, 60, 80]
  image = made_up.image([box], [2], image_id="sure")
  found = [made_up.detections([box, beside], [0.9, 0.95], [2, 2]), *found[1:]]
  audit = candidates.find(_with_first(truth, image), found)
  best = _of_first(audit)[0]
  assert best.kind == candidates.MISSING
  np.testing.assert_allclose(best.proposed_box, [40, 20, 40, 40])
  assert abs(best.overlap - 1 / 3) < 1e-9


def test_wrong_class(world):
  truth, found, _ = world
  truth, found = _sure_scene(truth, found)
  image = _changed(truth.images[0], 1, class_id=1)
  best = _of_first(candidates.find(_with_first(truth, image), found))[0]
  assert best.kind == candidates.WRONG_CLASS
  assert (best.given_class, best.proposed_class, best.given_object) == (1, 2, 1)
  # The place is not in doubt: the box stays as it is.
  np.testing.assert_array_equal(best.proposed_box, best.given_box)
  assert best.score == 0.97 and best.overlap == 1.0


def test_badly_placed(world):
  truth, found, _ = world
  truth, found = _sure_scene(truth, found)
  # 20 of 60 columns in common: an IoU of 0.2.
  image = _changed(truth.images[0], 1, box=[100, 140, 150, 200])
  audit = candidates.find(_with_first(truth, image), found)
  best = _of_first(audit)[0]
  assert best.kind == candidates.BADLY_PLACED
  assert (best.given_class, best.proposed_class, best.given_object) == (2, 2, 1)
  np.testing.assert_allclose(best.proposed_box, [100, 100, 60, 50])
  np.testing.assert_allclose(best.given_box, [140, 100, 60, 50])
  assert abs(best.overlap - 0.2) < 1e-9
  # As an object without a box, the same detection has what is left at most.
  other = next(row for row in _of_first(audit) if row.kind == candidates.MISSING)
  assert other.probability <= 1.0 - best.probability


def test_nothing(world):
  truth, found, _ = world
  truth, found = _sure_scene(truth, found)
  corners = np.concatenate([truth.images[0].boxes.corners, [[120, 220, 160, 260]]])
  image = made_up.image(corners, [1, 2, 2], image_id="sure")
  audit = candidates.find(_with_first(truth, image), found)
  best = _of_first(audit)[0]
  assert best.kind == candidates.NOTHING and best.given_object == 2
  assert best.proposed_box is None and best.proposed_class == 0 and np.isnan(best.score)
  others = [row for row in _of_first(audit) if row is not best]
  assert all(row.probability < 0.1 * best.probability for row in others)


def test_difficult_objects_crowds_and_regions_are_in_no_list(world):
  truth, found, _ = world
  boxes = [[20, 20, 60, 60], [100, 100, 150, 160]]
  image = made_up.image(boxes, [1, 2], difficult=[0], is_crowd=[1], image_id="sure")
  sure = made_up.detections(
    [*boxes, [110, 110, 130, 130], [0, 200, 40, 240]], [0.97] * 4, [1, 2, 2, 2]
  )
  audit = candidates.find(
    _with_first(truth, image), [sure, *found[1:]], {0: np.array([[0, 190, 50, 250.0]])}
  )
  assert _of_first(audit) == []


def test_one_place_is_listed_once(world):
  truth, found, _ = world
  box = [20, 20, 60, 60]
  sure = made_up.detections([box, [22, 20, 60, 60], box], [0.9, 0.97, 0.95], [2, 2, 1])
  image = made_up.image(image_id="sure")
  listed = _of_first(candidates.find(_with_first(truth, image), [sure, *found[1:]]))
  # Once for each class, of which the second has what the first one leaves.
  assert sorted(row.proposed_class for row in listed) == [1, 2]
  assert listed[1].probability <= 1.0 - listed[0].probability
  # Elsewhere each has its own.
  apart = made_up.detections([[22, 20, 60, 60], [100, 100, 140, 140]], [0.97, 0.95], [2, 1])
  alone = _of_first(candidates.find(_with_first(truth, image), [apart, *found[1:]]))
  assert alone[1].probability > listed[1].probability


def test_the_list_is_ranked_better_than_by_score():
  """Oracle: the objects that lost their boxes, with touching ones and parts of objects."""
  from benchmarks.auditing import arms, figures

  truth, found, erased = made_up.world(3, num_images=150)
  ours, score = (
    figures.measure(arms.RULES[name](truth, found), erased) for name in ("ours", "score")
  )
  assert ours["AP"] > score["AP"] + 0.05


def test_the_order_of_images_detections_and_boxes_changes_nothing():
  truth, found, _ = made_up.world(4, num_images=20)
  rng = np.random.default_rng(0)
  order = rng.permutation(20)
  images, mixed = [], []
  for number in order:
    image, detections = truth.images[number], found[number]
    rows = rng.permutation(len(image.classes))
    images.append(
      dataclasses.replace(
        image,
        boxes=ground_truth.Boxes.from_corners(image.boxes.corners[rows]),
        classes=image.classes[rows],
      )
    )
    rows = rng.permutation(len(detections.scores))
    mixed.append(
      made_up.detections(
        detections.boxes.corners[rows], detections.scores[rows], detections.classes[rows]
      )
    )
  one = candidates.find(truth, found)
  other = candidates.find(dataclasses.replace(truth, images=tuple(images)), mixed)

  def named(audit, images):
    return {
      row.identifier(images[row.image].image_id): row.probabilities for row in audit.candidates
    }

  expected, actual = named(one, truth.images), named(other, images)
  assert expected.keys() == actual.keys() and len(expected) == len(one.candidates)
  for name, probabilities in expected.items():
    for kind, value in probabilities.items():
      assert abs(actual[name][kind] - value) < 1e-9


def test_an_image_without_anything_changes_nothing():
  truth, found, _ = made_up.world(5, num_images=20)
  empty = made_up.image(image_id="empty")
  padded = dataclasses.replace(truth, images=(*truth.images, empty))
  one = candidates.find(truth, found)
  other = candidates.find(padded, [*found, made_up.detections()])
  assert [row.probabilities for row in one.candidates] == [
    row.probabilities for row in other.candidates
  ]


@pytest.mark.parametrize("limit", [0, 1, 5, 10_000])
def test_a_limit_cuts_the_end_off(limit):
  truth, found, _ = made_up.world(6, num_images=20)
  whole, cut = candidates.find(truth, found), candidates.find(truth, found, limit=limit)
  assert cut.num_candidates == whole.num_candidates == len(whole.candidates)
  assert [row.probabilities for row in cut.candidates] == [
    row.probabilities for row in whole.candidates[:limit]
  ]


def test_identifiers_tell_candidates_apart():
  row = candidates.Candidate(
    0, candidates.MISSING, {}, proposed_class=1, proposed_box=np.array([1.0, 2.0, 3.0, 4.0])
  )
  changes = [
    {},
    {"kind": candidates.NOTHING},
    {"proposed_class": 2},
    {"given_class": 2},
    {"proposed_box": np.array([2.0, 1.0, 3.0, 4.0])},
    {"given_box": np.array([1.0, 2.0, 3.0, 4.0])},
  ]
  names = [dataclasses.replace(row, **change).identifier("a") for change in changes]
  assert len({*names, row.identifier("b")}) == len(changes) + 1
  # Neither the place in the list nor the score is part of it.
  assert dataclasses.replace(row, image=5, score=0.5).identifier("a") == names[0]


def test_nothing_at_all():
  truth = made_up.truth([made_up.image()])
  assert candidates.find(truth, [made_up.detections()]).candidates == []
