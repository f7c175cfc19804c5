"""The matching rule, the ranking and both ways to read an AP, on cases worked by hand."""

import numpy as np
import pytest

from mtl_ssl_tf.evaluation import voc_metrics

TP = voc_metrics.Outcome.TRUE_POSITIVE
FP = voc_metrics.Outcome.FALSE_POSITIVE
IGNORED = voc_metrics.Outcome.IGNORED

# Ten by ten boxes in one row of an image: A is columns 0-10, B is 4-14, FAR is 50-60.
A, B, FAR = [0, 0, 10, 10], [0, 4, 10, 14], [0, 50, 10, 60]


def match(detections, scores, ground_truth, difficult=None, **options):
  difficult = [False] * len(ground_truth) if difficult is None else difficult
  return voc_metrics.match_detections(
    np.reshape(np.array(detections, np.float32), (-1, 4)),
    np.array(scores, np.float32),
    np.reshape(np.array(ground_truth, np.float32), (-1, 4)),
    np.array(difficult, bool),
    **options,
  ).tolist()


class TestPairwiseIou:
  def test_two_by_two_boxes_one_column_apart(self):
    # 2 px shared of 4 + 4 - 2 = 6. Counted with inclusive pixels the boxes are 3 by 3, and share
    # 3 x 2 of 9 + 9 - 6 = 12.
    box, shifted = np.array([[0, 0, 2, 2]]), np.array([[0, 1, 2, 3]])
    np.testing.assert_allclose(voc_metrics.pairwise_iou(box, shifted), [[1 / 3]])
    np.testing.assert_allclose(voc_metrics.pairwise_iou(box, shifted, True), [[1 / 2]])

  def test_apart_touching_and_empty_boxes_share_nothing(self):
    box = np.array([[0, 0, 2, 2], [1, 1, 1, 1]])
    others = np.array([[5, 5, 6, 6], [0, 2, 2, 4], [1, 1, 1, 1], [3, 3, 1, 1]])
    np.testing.assert_array_equal(voc_metrics.pairwise_iou(box, others), np.zeros((2, 4)))

  def test_is_one_row_per_first_and_one_column_per_second_box(self):
    iou = voc_metrics.pairwise_iou(np.array([A, B, FAR]), np.array([FAR, A]))
    # A and B share 6 columns of 14.
    np.testing.assert_allclose(iou, [[0, 1], [0, 6 / 14], [1, 0]])


class TestMatchDetections:
  def test_a_duplicate_is_a_false_positive_whatever_its_place_in_the_list(self):
    assert match([A, A], [0.9, 0.8], [A]) == [TP, FP]
    assert match([A, A], [0.8, 0.9], [A]) == [FP, TP]

  def test_of_equal_scores_the_first_given_wins(self):
    assert match([A, A, A], [0.5, 0.5, 0.5], [A]) == [TP, FP, FP]

  def test_a_detection_never_falls_back_on_its_second_best_box(self):
    # Columns 1-11 overlap A by 9/11 and B by 7/13 = 0.538. A is taken, B stays unfound.
    assert match([A, [0, 1, 10, 11]], [0.9, 0.8], [A, B]) == [TP, FP]

  def test_iou_equal_to_the_threshold_matches(self):
    # Half of A: 50 px of 100.
    assert match([[0, 0, 10, 5]], [0.9], [A]) == [TP]
    assert match([[0, 0, 10, 4.99]], [0.9], [A]) == [FP]
    assert match([[0, 0, 10, 5]], [0.9], [A], iou_threshold=0.51) == [FP]

  def test_inclusive_pixels_change_the_overlap(self):
    # 10x10 against columns 0-4.8: 0.48; with inclusive pixels 11 x 5.8 of 11 x 11 is 0.527.
    assert match([[0, 0, 10, 4.8]], [0.9], [A]) == [FP]
    assert match([[0, 0, 10, 4.8]], [0.9], [A], inclusive_pixels=True) == [TP]

  def test_detections_on_a_difficult_box_are_ignored_each_time(self):
    assert match([A, A, FAR], [0.9, 0.8, 0.7], [A], [True]) == [IGNORED, IGNORED, FP]

  def test_the_best_box_decides_even_if_it_is_difficult(self):
    # The detection overlaps both boxes above 0.5, the difficult one more.
    assert match([[0, 1, 10, 11]], [0.9], [A, B], [True, False]) == [IGNORED]
    assert match([[0, 1, 10, 11]], [0.9], [A, B], [False, True]) == [TP]

  def test_of_equally_overlapped_boxes_the_first_is_compared(self):
    assert match([A], [0.9], [A, A], [True, False]) == [IGNORED]
    assert match([A], [0.9], [A, A], [False, True]) == [TP]

  def test_nothing_to_match(self):
    assert match([], [], [A]) == []
    assert match([A, B], [0.9, 0.8], []) == [FP, FP]
    assert match([], [], []) == []


class TestRankHits:
  def test_best_score_first_without_the_ignored(self):
    outcomes = np.array([FP, IGNORED, TP, TP])
    hits = voc_metrics.rank_hits(np.array([0.2, 0.9, 0.1, 0.5]), outcomes)
    assert hits.tolist() == [True, False, True]

  def test_equal_scores_stay_in_the_given_order(self):
    scores = np.full(40, 0.5)
    outcomes = np.tile([TP, FP, FP, TP], 10)
    assert voc_metrics.rank_hits(scores, outcomes).tolist() == (outcomes == TP).tolist()


class TestAveragePrecision:
  @pytest.mark.parametrize(
    ("hits", "num_ground_truth", "area", "eleven_point"),
    [
      # Precision 1, 1/2, 2/3, 3/4 at recall .2 .2 .4 .6; envelope 1, .75, .75, .75.
      # area = (1 + .75 + .75) / 5; 11point = (3 x 1 + 4 x .75) / 11, levels 0-.2 and .3-.6.
      ("TFTT", 5, 0.5, 6 / 11),
      # One object, found second: precision 1/2 up to recall 1.
      ("FT", 1, 0.5, 0.5),
      # Precision 0, 1/2, 1/3, 2/4 at recall 0 .5 .5 1: the envelope is 1/2 everywhere.
      ("FTFT", 2, 0.5, 0.5),
      # All found before the one false positive.
      ("TTF", 2, 1.0, 1.0),
      # Recall 3/10 reaches the level 0.3: four levels of eleven (0, .1, .2, .3).
      ("TTT", 10, 0.3, 4 / 11),
      # One of three found: area 1/3, levels 0-.3.
      ("T", 3, 1 / 3, 4 / 11),
      ("FFF", 2, 0.0, 0.0),
      ("", 2, 0.0, 0.0),
    ],
  )
  def test_by_hand(self, hits, num_ground_truth, area, eleven_point):
    ranked = np.array([letter == "T" for letter in hits], bool)
    assert voc_metrics.average_precision(ranked, num_ground_truth, "area") == pytest.approx(area)
    assert voc_metrics.average_precision(ranked, num_ground_truth, "11point") == pytest.approx(
      eleven_point
    )

  @pytest.mark.parametrize("rule", voc_metrics.AP_RULES)
  @pytest.mark.parametrize("num_detections", [0, 3])
  def test_a_class_without_ground_truth_has_none(self, rule, num_detections):
    assert np.isnan(voc_metrics.average_precision(np.zeros(num_detections, bool), 0, rule))

  def test_an_unknown_rule_is_refused_with_the_known_ones(self):
    with pytest.raises(ValueError, match=r"'101point'; accepted: area, 11point"):
      voc_metrics.average_precision(np.ones(1, bool), 1, "101point")


def test_mean_average_precision_leaves_out_classes_without_ground_truth():
  assert voc_metrics.mean_average_precision([0.2, float("nan"), 0.6]) == pytest.approx(0.4)
  assert np.isnan(voc_metrics.mean_average_precision([float("nan")]))
  assert np.isnan(voc_metrics.mean_average_precision([]))


class TestSameClass:
  def test_a_detection_looks_at_boxes_of_its_class_alone(self):
    # A belongs to class 1, B to class 2; both detections lie on A, the second is of class 2.
    same_class = np.array([[True, False], [False, True]])
    assert match([A, A], [0.9, 0.8], [A, FAR], same_class=same_class) == [TP, FP]
    assert match([A, FAR], [0.9, 0.8], [A, FAR], same_class=same_class) == [TP, TP]

  def test_no_box_of_its_class(self):
    assert match([A], [0.9], [A], same_class=np.array([[False]])) == [FP]


def test_precision_recall():
  hits = np.array([True, False, True])
  np.testing.assert_allclose(
    voc_metrics.precision_recall(hits, 4), [[0.25, 1.0], [0.25, 0.5], [0.5, 2 / 3]]
  )
  np.testing.assert_array_equal(voc_metrics.precision_recall(hits, 0)[:, 0], [np.nan] * 3)
  assert voc_metrics.precision_recall(np.zeros(0, bool), 4).shape == (0, 2)
