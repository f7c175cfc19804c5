"""Measures of mining against slow loops, and their words."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import co_mining
from mtl_ssl_tf.labels import mining
from mtl_ssl_tf.tasks import mining_measures as measures_lib
from mtl_ssl_tf.tasks import training_losses

# Two images in two views each, of four slots.
NUM_IMAGES, NUM_SLOTS, NUM_ROWS = 2, 4, 3


def random_boxes(rng, *shape) -> np.ndarray:
  """Boxes of a few places and sizes, so that many are of the same object and some are equal."""
  corners = rng.integers(0, 3, [*shape, 2]) * 10
  return np.concatenate([corners, corners + rng.integers(2, 4, [*shape, 2]) * 10], -1)


def random_pseudo(rng, num_views=2 * NUM_IMAGES) -> mining.PseudoBoxes:
  shape = [num_views, NUM_SLOTS]
  valid = rng.random(shape) < 0.7
  doubtful = ~valid & (rng.random(shape) < 0.3)
  return mining.PseudoBoxes(
    np.where((valid | doubtful)[..., np.newaxis], random_boxes(rng, *shape), -1.0).astype("f4"),
    np.where(valid, rng.integers(1, 3, shape), np.where(doubtful, 0, -1)).astype("i4"),
    np.where(valid | doubtful, rng.uniform(0.5, 1.0, shape), 0.0).astype("f4"),
    valid,
  )


def random_counts(rng, num_views=2 * NUM_IMAGES) -> mining.MiningCounts:
  return mining.MiningCounts(
    *(rng.integers(0, 9, num_views).astype("i4") for _ in mining.MiningCounts._fields)
  )


def random_erased(rng) -> dict[str, np.ndarray]:
  classes = rng.choice([-1, 1, 2], [NUM_IMAGES, NUM_ROWS]).astype("i4")
  boxes = random_boxes(rng, NUM_IMAGES, NUM_ROWS)
  boxes = np.where(classes[..., np.newaxis] > 0, boxes, -1.0)
  return {"erased_boxes_px": boxes.astype("f4"), "erased_classes": classes}


def iou(one, two) -> float:
  sides = np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2])
  shared = np.prod(np.maximum(sides, 0.0))
  return shared / (np.prod(one[2:] - one[:2]) + np.prod(two[2:] - two[:2]) - shared)


def same(box, class_id, other, other_class) -> bool:
  return class_id == other_class and iou(box, other) > 0.5


def in_both_views(pseudo) -> int:
  """How many mined boxes have one of their class on the same object in the other view."""
  found = 0
  for view in range(2 * NUM_IMAGES):
    other = (view + NUM_IMAGES) % (2 * NUM_IMAGES)
    for row in np.flatnonzero(pseudo.valid[view]):
      found += any(
        same(
          pseudo.boxes_px[view, row],
          pseudo.classes[view, row],
          pseudo.boxes_px[other, slot],
          pseudo.classes[other, slot],
        )
        for slot in np.flatnonzero(pseudo.valid[other])
      )
  return found


def found(pseudo, erased, num_views) -> int:
  """Pairs of a mined box and an erased object, each the other's best, the first of equals."""
  pairs = 0
  for view in range(num_views * NUM_IMAGES):
    image = view % NUM_IMAGES
    overlaps = np.zeros([NUM_ROWS, NUM_SLOTS])
    for row in np.flatnonzero(erased["erased_classes"][image] > 0):
      for slot in np.flatnonzero(pseudo.valid[view]):
        if erased["erased_classes"][image, row] == pseudo.classes[view, slot]:
          overlaps[row, slot] = iou(
            erased["erased_boxes_px"][image, row], pseudo.boxes_px[view, slot]
          )
    for row in range(NUM_ROWS):
      slot = int(np.argmax(overlaps[row]))
      pairs += overlaps[row, slot] > 0.5 and int(np.argmax(overlaps[:, slot])) == row
  return pairs


@pytest.mark.parametrize("compiled", [False, True])
def test_measures_are_those_of_the_loops(compiled):
  measure = tf.function(
    lambda *args: measures_lib.measures(*args[:2], 2, args[2]), jit_compile=compiled
  )
  seen = {name: set() for name in measures_lib.OF_MINING}
  for seed in range(30):
    rng = np.random.default_rng(seed)
    pseudo, counts, erased = random_pseudo(rng), random_counts(rng), random_erased(rng)
    got = tf.nest.map_structure(
      lambda value: value.numpy(),
      measure(*tf.nest.map_structure(tf.constant, (pseudo, counts, erased))),
    )
    num_mined, num_candidates = pseudo.valid.sum(), counts.candidates.sum()
    num_found = found(pseudo, erased, 2)
    num_erased = 2 * (erased["erased_classes"] > 0).sum()
    expected = {
      "mining/boxes": (num_mined, 4),
      "mining/score": (pseudo.scores[pseudo.valid].sum(), num_mined),
      "mining/annotated": (counts.annotated.sum(), 4),
      "mining/annotated_found": (counts.annotated_found.sum(), counts.annotated.sum()),
      "mining/candidates": (num_candidates, 4),
      "mining/dropped_nms": (counts.dropped_nms.sum(), num_candidates),
      "mining/dropped_same_class": (counts.dropped_annotated_same_class.sum(), num_candidates),
      "mining/dropped_any_class": (counts.dropped_annotated_any_class.sum(), num_candidates),
      "mining/dropped_crowd": (counts.dropped_crowd.sum(), num_candidates),
      "mining/overflowed": (counts.overflowed.sum(), 4),
      "mining/agreement": (in_both_views(pseudo), num_mined),
      "mining/erased": (num_erased, 4),
      "mining/precision": (num_found, num_mined),
      "mining/recall": (num_found, num_erased),
    }
    assert set(got) == set(expected) == set(measures_lib.OF_MINING)
    for name, (total, count) in expected.items():
      np.testing.assert_allclose(got[name], [total, count], rtol=1e-5, err_msg=name)
      seen[name].add(float(got[name].total))
  assert all(len(values) > 3 for values in seen.values())


def test_one_view_and_records_without_erased_objects():
  rng = np.random.default_rng(0)
  pseudo, counts, erased = random_pseudo(rng, 2), random_counts(rng, 2), random_erased(rng)
  pseudo, counts = tf.nest.map_structure(tf.constant, (pseudo, counts))
  alone = measures_lib.measures(pseudo, counts, 1, {})
  assert set(alone) == set(measures_lib.names(co_mining.Mining(views=1), with_erased=False))
  with_erased = measures_lib.measures(pseudo, counts, 1, erased)
  assert set(with_erased) == set(measures_lib.names(co_mining.Mining(views=1), with_erased=True))
  numpy_pseudo = tf.nest.map_structure(lambda value: value.numpy(), pseudo)
  assert with_erased["mining/precision"].total == found(numpy_pseudo, erased, 1)
  assert measures_lib.names(co_mining.Mining(mode="joint"), with_erased=True) == []
  *of_mining, unlabelled = measures_lib.NAMES
  assert measures_lib.names(co_mining.Mining(), with_erased=True) == of_mining
  masking = {"unlabelled": {"mask_anchors": True}}
  for mode, expected in (("co_mining", [*of_mining, unlabelled]), ("joint", [unlabelled])):
    config = co_mining.Mining(mode=mode)
    config.override(masking)
    assert measures_lib.names(config, with_erased=True) == expected


def test_nothing_mined_divides_by_nothing():
  pseudo, counts = mining.nothing_mined(4, NUM_SLOTS)
  erased = random_erased(np.random.default_rng(0))
  erased["erased_classes"][:] = -1
  measures = measures_lib.measures(pseudo, counts, 2, erased)
  assert {float(measure.mean) for measure in measures.values()} == {0.0}


def test_a_measure_over_steps_is_that_of_all_their_boxes():
  # 3 of 4, nothing, and 1 of 12: a quarter of all, not the mean of three quotients.
  metric = tf_keras.metrics.Mean()
  for total, count in ((3.0, 4.0), (0.0, 0.0), (1.0, 12.0)):
    measure = training_losses.Measure(tf.constant(total), tf.constant(count))
    metric.update_state(measure.mean, sample_weight=measure.count)
  assert metric.result().numpy() == 0.25


def test_erased_objects_are_taken_out_of_the_labels():
  labels = {"gt_classes": 1, "erased_boxes_px": 2, "erased_classes": 3}
  assert measures_lib.without_erased(labels) == (
    {"gt_classes": 1},
    {"erased_boxes_px": 2, "erased_classes": 3},
  )
  assert measures_lib.without_erased({"gt_classes": 1}) == ({"gt_classes": 1}, {})


VALUES = {
  "mining/boxes": 3.44,
  "mining/score": 0.871,
  "mining/annotated": 1.5,
  "mining/annotated_found": 0.524,
  "mining/candidates": 9.9,
  "mining/dropped_nms": 0.312,
  "mining/dropped_same_class": 0.4,
  "mining/dropped_any_class": 0.02,
  "mining/dropped_crowd": 0.0,
  "mining/overflowed": 0.04,
  "mining/agreement": 0.714,
}


def test_words():
  assert measures_lib.describe({**VALUES, "rpn_box": 1.0}) == (
    "mined 3.4 a view (score 0.87; finds 52 % of the annotated; views agree 71 %; dropped: NMS"
    " 31 %, same class 40 %, any class 2 %, crowds 0 %; overflowed 0.0)"
  )
  erased = {"mining/erased": 2.25, "mining/precision": 0.62, "mining/recall": 0.3}
  assert measures_lib.describe({**VALUES, **erased}).endswith(
    "; overflowed 0.0; of 2.2 erased: precision 62 %, recall 30 %)"
  )
  # A loop of images that lost nothing has nothing to compare with.
  nothing = dict.fromkeys(erased, 0.0)
  assert measures_lib.describe({**VALUES, **nothing}) == measures_lib.describe(VALUES)
  one_view = {name: value for name, value in VALUES.items() if name != "mining/agreement"}
  assert "agree" not in measures_lib.describe(one_view)
  assert measures_lib.describe({"rpn_box": 1.0}) == ""
  unlabelled = {"mining/unlabelled": 2.34}
  assert measures_lib.describe(unlabelled) == "probably unlabelled 2.3 proposals a view"
  assert measures_lib.describe({**VALUES, **unlabelled}) == (
    f"{measures_lib.describe(VALUES)}, probably unlabelled 2.3 proposals a view"
  )
