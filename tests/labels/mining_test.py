import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mtl_ssl_tf.labels import mining, rpn_targets
from tests.labels import mining_oracle

NUM_CLASSES = 4
_SETTINGS = {
  "score_threshold": 0.8,
  "ignore_band": 0.0,
  "nms_iou": 0.5,
  "same_class_iou": 0.4,
  "any_class_iou": 0.7,
  "num_slots": 5,
  "min_size_px": 2.0,
}
_PADDING = [-1.0] * 4
_SIZE = [100.0, 80.0]
_A = [0.0, 0.0, 20.0, 20.0]
_B = [40.0, 40.0, 60.0, 60.0]


def _logits(label, score):
  """Logits of a proposal: `score` for its class, the rest for the others alike."""
  probabilities = np.full([NUM_CLASSES], (1.0 - score) / (NUM_CLASSES - 1))
  probabilities[label] = score
  return np.log(probabilities)


def _labels(boxes=(), classes=(), is_crowd=None, num_rows=4):
  missing = num_rows - len(boxes)
  is_crowd = [False] * len(boxes) if is_crowd is None else is_crowd
  return {
    "gt_boxes_px": tf.constant([[*boxes, *[_PADDING] * missing]], tf.float32),
    "gt_classes": tf.constant([[*classes, *[-1] * missing]]),
    "gt_is_crowd": tf.constant([[*is_crowd, *[False] * missing]]),
    "image_size_px": tf.constant([_SIZE]),
  }


def _mine(detections, labels=None, jit_compile=False, **changed):
  """Mines in one image, among boxes that are proposals as they are: (box, class, score)."""
  logits = np.array([_logits(label, score) for _, label, score in detections], np.float32)
  boxes = np.array([box for box, *_ in detections], np.float32)
  method = "loop" if jit_compile else "native"
  mine = tf.function(
    functools.partial(mining.mine_pseudo_boxes, **{**_SETTINGS, **changed}, nms_method=method),
    jit_compile=jit_compile,
  )
  return mine(
    tf.constant(logits[np.newaxis]),
    tf.zeros([1, len(boxes), NUM_CLASSES - 1, 4]),
    tf.constant(boxes[np.newaxis]),
    tf.ones([1, len(boxes)], tf.bool),
    _labels() if labels is None else labels,
  )


def _shifted(box, right):
  """The box moved to the right; by 4 of 20 px IoU is 2/3, by 8 it is 3/7, by 10 1/3."""
  return [box[0], box[1] + right, box[2], box[3] + right]


class MinePseudoBoxesTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_worked_case(self, jit_compile):
    detections = [
      (_shifted(_B, 2.0), 2, 0.85),  # NMS: on the better one below
      (_B, 2, 0.95),
      (_B, 3, 0.9),  # of another class
      (_A, 1, 0.99),  # annotated
      ([80.0, 0.0, 95.0, 15.0], 1, 0.8),  # not more than the threshold
      ([80.0, 20.0, 95.0, 21.0], 1, 0.9),  # too narrow
      ([80.0, 40.0, 95.0, 55.0], 0, 0.9),  # background
    ]
    found, counts = _mine(detections, _labels([_A], [1]), jit_compile)
    padding = [_PADDING] * 2
    self.assertAllClose(found.boxes_px, [[_PADDING, _B, _B, *padding]])
    self.assertAllEqual(found.classes, [[-1, 2, 3, -1, -1]])
    self.assertAllClose(found.scores, [[0.0, 0.95, 0.9, 0.0, 0.0]])
    self.assertAllEqual(found.valid, [[False, True, True, False, False]])
    self.assertEqual(
      {name: int(values[0]) for name, values in counts._asdict().items()},
      {
        "candidates": 4,
        "dropped_nms": 1,
        "overflowed": 0,
        "dropped_annotated_same_class": 1,
        "dropped_annotated_any_class": 0,
        "dropped_crowd": 0,
        "annotated": 1,
        "annotated_found": 1,
      },
    )

  @parameterized.parameters(
    # Class of the annotation on _B, how far the detection of class 2 lies from it -> its fate.
    (2, 8.0, {}, "dropped_annotated_same_class"),
    (2, 10.0, {}, None),
    (2, 10.0, {"same_class_iou": 0.3}, "dropped_annotated_same_class"),
    (1, 4.0, {}, None),
    (1, 2.0, {}, "dropped_annotated_any_class"),
    (1, 0.0, {"any_class_iou": 1.0}, None),  # as published
    (0, 8.0, {}, "dropped_crowd"),
    (0, 11.0, {}, None),
  )
  def test_boxes_on_annotations(self, label, right, changed, reason):
    found, counts = _mine([(_shifted(_B, right), 2, 0.9)], _labels([_B], [label]), **changed)
    self.assertEqual(bool(found.valid[0, 0]), reason is None)
    expected = {"candidates", *([reason] if reason else []), *(["annotated"] if label else [])}
    if reason == "dropped_annotated_same_class":
      expected.add("annotated_found")
    found = {name for name, values in counts._asdict().items() if int(values[0])}
    self.assertEqual(found, expected)

  @parameterized.parameters(True, False)
  def test_a_crowd_that_is_kept_as_an_object_is_no_place_to_mine(self, is_crowd):
    crowd = [30.0, 30.0, 80.0, 80.0]
    found, counts = _mine([(_B, 2, 0.9)], _labels([crowd], [2], [is_crowd]))
    self.assertEqual(bool(found.valid[0, 0]), not is_crowd)
    self.assertAllEqual(counts.dropped_crowd, [int(is_crowd)])

  def test_boxes_end_where_the_image_ends(self):
    found, _ = _mine([([90.0, -10.0, 120.0, 90.0], 1, 0.9)])
    self.assertAllClose(found.boxes_px[0, 0], [90.0, 0.0, 100.0, 80.0])

  @parameterized.parameters(NUM_CLASSES - 1, 1)
  def test_deltas_of_each_class_or_of_all(self, num_deltas):
    # Of the last class, or of all: 10 px down, 20 px high.
    deltas = np.zeros([1, 1, num_deltas, 4], np.float32)
    deltas[..., -1, :] = [5.0, 0.0, 0.0, 0.0]
    found, _ = mining.mine_pseudo_boxes(
      tf.constant([[_logits(NUM_CLASSES - 1, 0.9)]], tf.float32),
      tf.constant(deltas),
      tf.constant([[_A]]),
      tf.constant([[True]]),
      _labels(),
      **_SETTINGS,
      nms_method="loop",
    )
    self.assertAllClose(found.boxes_px[0, 0], [10.0, 0.0, 30.0, 20.0])

  def test_slots_are_for_the_best(self):
    detections = [([0.0, 10.0 * i, 9.0, 10.0 * i + 9.0], 1, 0.9 + 0.01 * i) for i in range(5)]
    found, counts = _mine(detections, num_slots=2)
    self.assertAllClose(found.scores, [[0.94, 0.93]])
    self.assertAllEqual(counts.overflowed, [3])

  def test_proposals_that_are_none(self):
    found, counts = mining.mine_pseudo_boxes(
      tf.constant([[_logits(1, 0.9)]], tf.float32),
      tf.zeros([1, 1, NUM_CLASSES - 1, 4]),
      tf.constant([[_A]]),
      tf.constant([[False]]),
      _labels(),
      **_SETTINGS,
      nms_method="loop",
    )
    self.assertFalse(np.any(found.valid))
    self.assertAllEqual(counts.candidates, [0])

  @parameterized.parameters((0.8, 1), (1.0, 0), (mining.NEVER, 0))
  def test_threshold(self, threshold, expected):
    # In float32 this score is 1.
    found, _ = _mine([(_A, 1, 1.0 - 1e-9)], score_threshold=threshold)
    self.assertEqual(np.sum(found.valid), expected)

  @parameterized.parameters(False, True)
  def test_doubtful_detections_become_regions_to_be_ignored(self, jit_compile):
    right = _shifted(_B, 16.0)
    below = [62.0, 40.0, 82.0, 60.0]
    detections = [(_A, 1, 0.9), (_B, 2, 0.7), (right, 3, 0.6), (_shifted(_A, 2.0), 1, 0.7)]
    detections += [(below, 1, 0.75)]
    labels = _labels([below], [1])
    found, counts = _mine(detections, labels, jit_compile, ignore_band=0.15)
    # The best one is mined, the second annotated; of the others only one is in the band and kept.
    self.assertAllEqual(found.classes, [[1, -1, 0, -1, -1]])
    self.assertAllEqual(found.valid, [[True, False, False, False, False]])
    self.assertAllClose(found.boxes_px[0, :3], [_A, _PADDING, _B])
    # They count nowhere.
    unused = [counts.candidates, sum(counts[1:-2]), counts.annotated_found]
    self.assertAllEqual(unused, [[1], [0], [0]])

  def test_an_object_takes_the_slot_of_a_doubtful_detection(self):
    found, counts = _mine([(_A, 1, 0.7), (_B, 1, 0.9)], num_slots=1, ignore_band=0.2)
    self.assertAllEqual(found.classes, [[1]])
    self.assertAllEqual(counts.overflowed, [0])

  def test_no_gradient_passes(self):
    logits = tf.Variable([[_logits(1, 0.9)]], dtype=tf.float32)
    deltas = tf.Variable(tf.zeros([1, 1, NUM_CLASSES - 1, 4]))
    with tf.GradientTape() as tape:
      found, _ = mining.mine_pseudo_boxes(
        logits,
        deltas,
        tf.constant([[_A]]),
        tf.constant([[True]]),
        _labels(),
        **_SETTINGS,
        nms_method="loop",
      )
      total = tf.reduce_sum(found.boxes_px) + tf.reduce_sum(found.scores)
    self.assertTrue(np.all(found.valid[:, 0]))
    self.assertEqual(tape.gradient(total, [logits, deltas]), [None, None])

  def test_nothing_mined(self):
    expected = _mine([(_A, 0, 0.9)])
    nothing = mining.nothing_mined(1, 5)
    for ours, theirs in zip(tf.nest.flatten(nothing), tf.nest.flatten(expected), strict=True):
      self.assertAllEqual(ours, theirs)
      self.assertEqual(ours.dtype, theirs.dtype)


class CompleteGroundTruthTest(tf.test.TestCase):
  PSEUDO = mining.PseudoBoxes(
    tf.constant([[_B, _PADDING]]),
    tf.constant([[2, -1]]),
    tf.constant([[0.9, 0.0]]),
    tf.constant([[True, False]]),
  )

  def test_mined_boxes_come_after_annotations(self):
    labels = _labels([_A], [1], num_rows=2) | {"image_key": tf.constant([7])}
    completed = mining.complete_ground_truth(labels, self.PSEUDO)
    self.assertAllEqual(completed["gt_boxes_px"], [[_A, _PADDING, _B, _PADDING]])
    self.assertAllEqual(completed["gt_classes"], [[1, -1, 2, -1]])
    self.assertAllEqual(completed["is_pseudo"], [[False, False, True, True]])
    self.assertAllEqual(completed["image_key"], [7])
    self.assertAllEqual(completed["image_size_px"], [_SIZE])
    # Rows of annotations that mined boxes have not.
    self.assertNotIn("gt_is_crowd", completed)
    alone = mining.annotations_alone(completed)
    self.assertAllEqual(alone["gt_boxes_px"], [[_A, _PADDING, _PADDING, _PADDING]])
    self.assertAllEqual(alone["gt_classes"], [[1, -1, -1, -1]])

  def test_boxes_that_have_a_box_loss(self):
    labels = _labels([_A], [1], num_rows=2)
    completed = mining.complete_ground_truth(labels, self.PSEUDO)
    positive = tf.constant([[True, True, False, True, False]])
    gt_indices = tf.constant([[0, 2, 2, 2, 0]])
    for labels, expected in (
      (completed, positive),
      (mining.without_box_targets(completed), [[True, False, False, False, False]]),
    ):
      self.assertAllEqual(mining.with_box_target(labels, positive, gt_indices), expected)
    self.assertNotIn(mining.HAS_BOX_LOSS, completed)

  def test_empty_slots_match_no_anchor(self):
    # The first anchor overlaps nothing.
    anchors = tf.constant([[70.0, 70.0, 80.0, 80.0], _A, _B])
    make = functools.partial(
      rpn_targets.rpn_targets,
      anchors,
      tf.constant([[True] * 3]),
      seeds=tf.constant([[0, 0]]),
      num_samples=8,
      positive_fraction=0.5,
      positive_iou=0.7,
      negative_iou=0.3,
    )
    labels = _labels([_A], [1], num_rows=2)
    completed = mining.complete_ground_truth(labels, self.PSEUDO)
    targets = make(gt_boxes_px=completed["gt_boxes_px"], gt_classes=completed["gt_classes"])
    self.assertAllEqual(targets.objectness, [[0, 1, 1]])
    self.assertAllClose(targets.box_deltas, tf.zeros([1, 3, 4]))
    nothing, _ = mining.nothing_mined(1, 2)
    completed = mining.complete_ground_truth(labels, nothing)
    padded = make(gt_boxes_px=completed["gt_boxes_px"], gt_classes=completed["gt_classes"])
    plain = make(gt_boxes_px=labels["gt_boxes_px"], gt_classes=labels["gt_classes"])
    for ours, theirs in zip(padded, plain, strict=True):
      self.assertAllEqual(ours, theirs)

  def test_views_are_exchanged(self):
    numbers = tf.range(4)
    pseudo = mining.PseudoBoxes(*[numbers] * 4)
    self.assertAllEqual(mining.of_other_view(pseudo).classes, [2, 3, 0, 1])


# Of generated views: K proposals, rows of annotations.
_NUM_PROPOSALS, _NUM_ROWS = 24, 6
_IOUS = (0.5, 0.4, 0.7)


@functools.cache
def _compiled(num_slots, ignore_band):
  options = {**_SETTINGS, "num_slots": num_slots, "ignore_band": ignore_band}
  return tf.function(
    functools.partial(mining.mine_pseudo_boxes, **options, nms_method="loop"), jit_compile=True
  )


def _view(rng, num_annotations):
  """A view whose proposals crowd about annotations and about some other places."""
  size = rng.integers(40, 120, 2).astype(np.float32)

  def boxes(count):
    centers, sides = rng.uniform(0.0, size, [count, 2]), rng.uniform(5.0, 40.0, [count, 2])
    ends = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
    return np.clip(ends, 0.0, np.tile(size, 2)).astype(np.float32)

  annotated, others = boxes(num_annotations), boxes(4)
  places = np.concatenate([annotated, others])
  picked = rng.integers(len(places), size=_NUM_PROPOSALS)
  noise = rng.normal(0.0, 2.0, [_NUM_PROPOSALS, 4])
  proposals = np.clip(places[picked] + noise, 0.0, np.tile(size, 2)).astype(np.float32)
  labels = rng.integers(0, NUM_CLASSES, len(places))[picked]
  logits = rng.normal(0.0, 0.5, [_NUM_PROPOSALS, NUM_CLASSES])
  logits[np.arange(_NUM_PROPOSALS), labels] += rng.uniform(0.0, 6.0, _NUM_PROPOSALS)
  return mining_oracle.View(
    logits=logits.astype(np.float32),
    deltas=rng.normal(0.0, 0.5, [_NUM_PROPOSALS, NUM_CLASSES - 1, 4]).astype(np.float32),
    proposals=proposals,
    valid=rng.uniform(size=_NUM_PROPOSALS) < 0.9,
    boxes=annotated,
    classes=rng.integers(0, NUM_CLASSES, num_annotations).astype(np.int32),
    is_crowd=rng.uniform(size=num_annotations) < 0.1,
    size=size,
  )


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
  seed=st.integers(0, 2**32 - 1),
  num_annotations=st.integers(0, _NUM_ROWS),
  num_slots=st.sampled_from([3, 30]),
  ignore_band=st.sampled_from([0.0, 0.2]),
)
def test_equals_the_oracle(seed, num_annotations, num_slots, ignore_band):
  view = _view(np.random.default_rng(seed), num_annotations)
  # Float32 may decide otherwise what lies next to a threshold.
  scores = (0.8, 0.8 - ignore_band)
  assume(mining_oracle.closest_call(view, scores, _IOUS) > 1e-5)
  options = {**_SETTINGS, "num_slots": num_slots, "ignore_band": ignore_band}
  expected, expected_counts = mining_oracle.mine(view, **options)

  missing = _NUM_ROWS - num_annotations
  labels = {
    "gt_boxes_px": np.pad(view.boxes, [[0, missing], [0, 0]], constant_values=-1.0),
    "gt_classes": np.pad(view.classes, [0, missing], constant_values=-1),
    "gt_is_crowd": np.pad(view.is_crowd, [0, missing]),
    "image_size_px": view.size,
  }
  found, counts = _compiled(num_slots, ignore_band)(
    *(
      tf.constant(values[np.newaxis])
      for values in (view.logits, view.deltas, view.proposals, view.valid)
    ),
    {name: tf.constant(values[np.newaxis]) for name, values in labels.items()},
  )
  rows = np.flatnonzero(found.classes[0] >= 0)
  assert len(rows) == len(expected)
  for row, (box, label, score) in zip(rows, expected, strict=True):
    np.testing.assert_allclose(found.boxes_px[0, row], box, atol=1e-3)
    assert int(found.classes[0, row]) == label
    np.testing.assert_allclose(found.scores[0, row], score, atol=1e-5)
  assert {name: int(values[0]) for name, values in counts._asdict().items()} == expected_counts
  # Algorithm 1: no mined box lies on an annotation of its class.
  for box, label, _ in expected:
    for other, other_label in zip(view.boxes, view.classes, strict=True):
      assert label != other_label or not label or mining_oracle.iou(box, other) <= 0.4
