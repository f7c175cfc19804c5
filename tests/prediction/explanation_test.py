"""What is explained of a detection, on outputs made up here and worked by hand."""

import numpy as np
import pytest

from mtl_ssl_tf.prediction import explanation

# Classes: background, cat, dog. Two proposals; the second one is not refined.
BEFORE = np.float32([[0.3, 0.5, 0.2], [0.1, 0.2, 0.7]])
AFTER = np.float32([[0.1, 0.8, 0.1], [0.1, 0.2, 0.7]])
# Of the first proposal: kept logits, main head, two windows, closeness, bias.
PARTS = np.float32(
  [
    np.log(BEFORE[0]),
    [0.0, 0.25, 0.0],
    [0.0, 1.0, 0.0],
    [0.0, -0.5, 0.0],
    [0.0, 0.0, 0.125],
    [0.5, 0.0, 0.0],
  ]
)


def outputs(**changed) -> dict[str, np.ndarray]:
  """Raw outputs for an image of 100 × 200 pixels."""
  found = {
    "detection_boxes_px": [[10, 20, 30, 40], [50, 60, 70, 80], [0] * 4],
    "detection_scores": [0.8, 0.7, 0.0],
    "detection_classes": [1.0, 2.0, 0.0],
    "num_detections": 2.0,
    "detection_proposals": [0.0, 1.0, 0.0],
    "proposal_class_scores": BEFORE,
    "proposal_refined_class_scores": AFTER,
    "proposal_refined": [1.0, 0.0],
    "proposal_window_boxes": [[[0.1, 0.1, 0.5, 0.5], [0, 0, 1, 1]]] * 2,
    "proposal_multi_object_scores": [[[0.2, 0.8, 0.0], [0.6, 0.3, 0.1]]] * 2,
    "proposal_closeness_scores": [[0.1, 0.2, 0.7]] * 2,
    "proposal_refinement_parts": [PARTS, np.full_like(PARTS, np.nan)],
    "closeness_summary_scores": [0.25, 0.25, 0.5],
  }
  found |= changed
  return {name: np.float32(of)[np.newaxis] for name, of in found.items() if of is not None}


def explain(threshold=0.5, **changed) -> explanation.Explanation:
  return explanation.explain(outputs(**changed), (100, 200), threshold)


def test_a_detection_has_what_its_proposal_has():
  first, second = explain().detections
  assert (first.class_id, second.class_id) == (1, 2)
  assert (first.is_refined, second.is_refined) == (True, False)
  np.testing.assert_array_equal(first.box_px, [10, 20, 30, 40])
  np.testing.assert_array_equal(first.scores_before, BEFORE[0])
  np.testing.assert_array_equal(first.scores_after, AFTER[0])
  np.testing.assert_allclose(first.windows_px, [[10, 20, 50, 100], [0, 0, 100, 200]])
  np.testing.assert_allclose(first.window_scores[0], [0.2, 0.8, 0.0])
  np.testing.assert_allclose(explain().closeness_scores, [0.25, 0.25, 0.5])


def test_what_scores_less_is_left_out():
  assert [found.class_id for found in explain(0.75).detections] == [1]
  assert explain(0.9).detections == []


def test_proposals_are_not_in_the_order_of_detections():
  first, second = explain(detection_proposals=[1.0, 0.0, 0.0]).detections
  np.testing.assert_array_equal(first.scores_before, BEFORE[1])
  np.testing.assert_array_equal(second.scores_before, BEFORE[0])
  assert (first.is_refined, second.is_refined) == (False, True)


def test_each_detection_has_what_is_of_its_own_proposal():
  of_each = {
    "proposal_window_boxes": np.stack([np.full([2, 4], 0.25), np.full([2, 4], 0.5)]),
    "proposal_multi_object_scores": np.stack([np.full([2, 3], 0.25), np.full([2, 3], 0.5)]),
    "proposal_closeness_scores": np.stack([np.full([3], 0.25), np.full([3], 0.5)]),
    "proposal_refinement_parts": np.stack([np.full([6, 3], 0.25), np.full([6, 3], 0.5)]),
  }
  first, second = explain(detection_proposals=[1.0, 0.0, 0.0], **of_each).detections
  for found, value in ((first, 0.5), (second, 0.25)):
    np.testing.assert_array_equal(found.windows_px[0], [100 * value, 200 * value] * 2)
    assert (found.window_scores == value).all()
    assert (found.closeness_scores == value).all()
    assert (found.parts == value).all()
  np.testing.assert_array_equal(first.scores_after, AFTER[1])
  np.testing.assert_array_equal(first.box_px, [10, 20, 30, 40])


def test_the_best_score_is_of_all_detections():
  assert explain(0.99).best_score == pytest.approx(0.8)
  scores = [0.3, 0.6, 0.9]  # The last is padding.
  assert explain(detection_scores=scores).best_score == pytest.approx(0.6)
  assert explain(num_detections=0.0).best_score == 0.0


def test_the_rival_scores_most_besides_before_or_after():
  first, second = explain().detections
  assert (first.rival, second.rival) == (0, 1)
  dog_after = np.float32([[0.1, 0.5, 0.4], AFTER[1]])
  assert explain(proposal_refined_class_scores=dog_after).detections[0].rival == 2


def test_shifts_against_the_rival():
  shifts = explain().detections[0].shifts()
  assert [shift.cause for shift in shifts] == [
    "main head, as it was",
    "main head, weighed again",
    "window 1: its proposal",
    "window 2: the image",
    "closeness",
    "bias",
  ]
  values = [shift.value for shift in shifts]
  assert values == pytest.approx([np.log(0.5 / 0.3), 0.25, 1.0, -0.5, 0.0, -0.5], abs=1e-6)


def test_shifts_of_a_detector_without_auxiliary_heads():
  names = ("window_boxes", "multi_object_scores", "closeness_scores")
  absent = dict.fromkeys(f"proposal_{name}" for name in names)
  parts = np.stack([PARTS[:2]] * 2)
  first = explain(**absent, closeness_summary_scores=None, proposal_refinement_parts=parts)
  assert first.closeness_scores is None
  detection = first.detections[0]
  assert detection.windows_px is None and detection.closeness_scores is None
  assert [shift.cause for shift in detection.shifts()] == [
    "main head, as it was",
    "main head, weighed again",
  ]


def test_windows_between_are_numbered():
  windows = np.zeros([2, 4, 4])
  detection = explain(proposal_window_boxes=windows).detections[0]
  assert detection.window_names() == [
    "window 1: its proposal",
    "window 2 of 4",
    "window 3 of 4",
    "window 4: the image",
  ]


@pytest.mark.parametrize(
  ("left_out", "message"),
  [
    (
      ("proposal_class_scores", "proposal_refined_class_scores", "proposal_refinement_parts"),
      "X has no proposal_class_scores, proposal_refined_class_scores or"
      " proposal_refinement_parts: it was exported with its detections alone; accepted: an export"
      " with --outputs=raw, or the run itself as --model_dir",
    ),
    (
      ("proposal_refined_class_scores", "proposal_refinement_parts"),
      "X has no proposal_refined_class_scores: the detector has no refinement, so that there is"
      " nothing to explain; accepted: one that was trained with task.refinement.enabled",
    ),
    (
      ("proposal_refinement_parts",),
      "X has no proposal_refinement_parts: it was exported by an earlier version; accepted: a new"
      " export with --outputs=raw, or the run itself as --model_dir",
    ),
  ],
)
def test_a_detector_that_says_too_little_is_refused_in_a_line(left_out, message):
  explanation.check(outputs(), "X")
  with pytest.raises(ValueError) as error:
    explanation.check(outputs().keys() - set(left_out), "X")
  assert str(error.value) == message
