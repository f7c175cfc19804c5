"""The kinds of error and their costs, on cases worked by hand."""

import numpy as np
import pytest

from mtl_ssl_tf.evaluation import error_analysis, voc_evaluator
from mtl_ssl_tf.evaluation.error_analysis import Verdict

# Ten by ten boxes in one row of an image. NEAR shares 4 of 16 columns with A: IoU 0.25.
A, B, NEAR, FAR = [0, 0, 10, 10], [0, 30, 10, 40], [0, 6, 10, 16], [0, 80, 10, 90]
NAMES = ["cat", "dog"]


def judge(detections, ground_truth, **options):
  """detections: (box, score, class) rows; ground_truth: (box, class, ignored) rows."""
  verdicts, objects = error_analysis.judge(*arrays(detections, ground_truth), **options)
  return [Verdict(value).name for value in verdicts], objects.tolist()


def arrays(detections, ground_truth):
  return (
    np.reshape(np.array([row[0] for row in detections], np.float32), (-1, 4)),
    np.array([row[1] for row in detections], np.float32),
    np.array([row[2] for row in detections], np.int32),
    np.reshape(np.array([row[0] for row in ground_truth], np.float32), (-1, 4)),
    np.array([row[1] for row in ground_truth], np.int32),
    np.array([row[2] if len(row) > 2 else False for row in ground_truth], bool),
  )


def analyze(*images, names=NAMES, **options):
  analyzer = error_analysis.ErrorAnalyzer(names, **options)
  for detections, ground_truth in images:
    boxes, scores, classes, *truth = arrays(detections, ground_truth)
    analyzer.update(*truth, boxes, scores, classes)
  return analyzer


class TestJudge:
  def test_every_kind(self):
    detections = [(A, 0.9, 1), (A, 0.8, 1), (NEAR, 0.7, 1), (A, 0.6, 2), (FAR, 0.5, 1)]
    assert judge(detections, [(A, 1)]) == (
      ["MATCH", "REDUNDANCY", "LOCALISATION", "CLASSIFICATION", "BACKGROUND"],
      [0, 0, 0, 0, -1],
    )

  def test_a_difficult_object_makes_neither_hit_nor_error(self):
    assert judge([(A, 0.9, 1), (A, 0.8, 1)], [(A, 1, True)]) == (["IGNORED"] * 2, [0, 0])

  def test_the_object_overlapped_most_decides(self):
    # NEAR shares 4 of 16 columns with A, and all with a dog.
    assert judge([(NEAR, 0.9, 1)], [(A, 1), (NEAR, 2)]) == (["CLASSIFICATION"], [1])
    # With equal overlaps its own class does, wherever it stands.
    for truth in ([(A, 1), (A, 2)], [(A, 2), (A, 1)]):
      verdicts, objects = judge([(NEAR, 0.9, 1)], truth)
      assert verdicts == ["LOCALISATION"] and truth[objects[0]][1] == 1

  def test_redundancy_comes_first(self):
    # 10 of 12 columns are the cat's, which is found; it is the dog's box exactly.
    box = [0, 0, 10, 12]
    verdicts, _ = judge([(A, 0.9, 1), (box, 0.8, 1)], [(A, 1), (box, 2)])
    assert verdicts == ["MATCH", "REDUNDANCY"]

  def test_bounds(self):
    # IoU of NEAR and A is 0.25: with inclusive pixels 11 x 5 of 242 - 55, 0.294.
    assert judge([(NEAR, 0.9, 1)], [(A, 1)], background_iou=0.25)[0] == ["LOCALISATION"]
    assert judge([(NEAR, 0.9, 1)], [(A, 1)], background_iou=0.26)[0] == ["BACKGROUND"]
    assert judge([(NEAR, 0.9, 1)], [(A, 1)], match_iou=0.25)[0] == ["MATCH"]
    options = {"background_iou": 0.26, "inclusive_pixels": True}
    assert judge([(NEAR, 0.9, 1)], [(A, 1)], **options)[0] == ["LOCALISATION"]

  @pytest.mark.parametrize("truth", [[], [(A, 1)]])
  def test_nothing_there(self, truth):
    assert judge([], truth) == ([], [])

  def test_no_objects(self):
    assert judge([(A, 0.9, 1)], []) == (["BACKGROUND"], [-1])


def costs(analyzer):
  return {kind: values.tolist() for kind, values in analyzer.class_costs().items()}


def counts(analyzer):
  return {kind: values.tolist() for kind, values in analyzer.class_counts().items()}


class TestCosts:
  def test_localisation(self):
    # Two cats; the better scored detection misses. AP = 1/2 x 1/2, fixed it is 1.
    analyzer = analyze(([(NEAR, 0.9, 1), (B, 0.8, 1)], [(A, 1), (B, 1)]), names=["cat"])
    assert costs(analyzer)["localisation"] == [0.75]
    # Nothing is left without an object near it.
    assert costs(analyzer)["false_negative"] == [0.0]
    assert costs(analyzer)["background"] == [0.0]

  def test_classification_counts_for_both_classes(self):
    # The cat is called a dog, in front of the only dog. Cat 0 -> 1, dog 1/2 -> 1.
    analyzer = analyze(([(A, 0.9, 2), (B, 0.8, 2)], [(A, 1), (B, 2)]))
    assert costs(analyzer)["classification"] == [1.0, 0.5]
    assert analyzer.result()["errors/cost/classification"] == 0.75

  def test_a_found_object_is_not_found_twice(self):
    # Once fixed, the dog on the cat vanishes: the cat keeps its AP of 1.
    analyzer = analyze(([(A, 0.9, 1), (A, 0.8, 2), (B, 0.7, 2)], [(A, 1), (B, 2)]))
    assert costs(analyzer)["classification"] == [0.0, 0.5]

  def test_of_two_errors_on_one_object_the_better_scored_is_fixed(self):
    # One cat and two detections near it: a hit, and the other vanishes.
    analyzer = analyze(([(NEAR, 0.8, 1), (NEAR, 0.9, 1)], [(A, 1)]), names=["cat"])
    assert costs(analyzer)["localisation"] == [1.0]
    # The better one stands behind a detection on background: precision 1/2.
    truth, found = [(A, 1)], [(NEAR, 0.5, 1), (FAR, 0.55, 1), (NEAR, 0.6, 1)]
    assert costs(analyze((found, truth), names=["cat"]))["localisation"] == [1.0]
    found = [(NEAR, 0.6, 1), (FAR, 0.7, 1), (NEAR, 0.5, 1)]
    assert costs(analyze((found, truth), names=["cat"]))["localisation"] == [0.5]

  def test_an_error_on_a_difficult_object_vanishes(self):
    truth = [(A, 1, True), (B, 1)]
    analyzer = analyze(([(NEAR, 0.9, 1), (B, 0.8, 1)], truth), names=["cat"])
    assert costs(analyzer)["localisation"] == [0.5]

  def test_redundancy_and_background(self):
    # Two cats: by score a hit, a duplicate, one on background, a hit. AP = (1 + 1/2) / 2;
    # without the duplicate or the one on background (1 + 2/3) / 2.
    found = [(A, 0.9, 1), (A, 0.8, 1), (FAR, 0.7, 1), (B, 0.6, 1)]
    analyzer = analyze((found, [(A, 1), (B, 1)]), names=["cat"])
    assert costs(analyzer)["redundancy"] == pytest.approx([1 / 12])
    assert costs(analyzer)["background"] == pytest.approx([1 / 12])

  def test_false_negatives(self):
    # Three cats in two images: one found, one nearly found, one not at all.
    analyzer = analyze(
      ([(A, 0.9, 1)], [(A, 1)]), ([(NEAR, 0.8, 1)], [(A, 1), (B, 1)]), names=["cat"]
    )
    # AP 1/3 -> 1/2.
    assert costs(analyzer)["false_negative"] == pytest.approx([1 / 6])
    assert counts(analyzer)["false_negative"] == [1]

  def test_a_class_that_nothing_points_to_is_all_false_negatives(self):
    analyzer = analyze(([], [(A, 1)]))
    assert costs(analyzer)["false_negative"][0] == 1.0
    assert np.isnan(costs(analyzer)["false_negative"][1])  # No object.
    assert analyzer.result()["errors/cost/false_negative"] == 1.0

  def test_missing_difficult_objects_are_no_errors(self):
    analyzer = analyze(([], [(A, 1), (B, 1, True)]), names=["cat"])
    assert counts(analyzer)["false_negative"] == [1]

  def test_costs_are_gains_of_the_voc_metric(self):
    # Removing the detections on background by hand gives what the cost says.
    rng = np.random.default_rng(0)
    analyzer = error_analysis.ErrorAnalyzer(NAMES, ap_rule="11point")
    evaluators = [voc_evaluator.VOCEvaluator(NAMES) for _ in range(2)]
    for _ in range(20):
      corner = rng.uniform(0, 60, (5, 2))
      gt_boxes = np.concatenate([corner, corner + rng.uniform(10, 30, (5, 2))], axis=1)
      boxes = np.concatenate([gt_boxes + rng.normal(0, 3, (5, 4)), gt_boxes[::-1] + 70.0])
      gt_classes, classes = rng.integers(1, 3, 5), rng.integers(1, 3, 10)
      scores, ignored = np.round(rng.uniform(size=10), 1), rng.uniform(size=5) < 0.2
      analyzer.update(gt_boxes, gt_classes, ignored, boxes, scores, classes)
      verdicts, _ = error_analysis.judge(boxes, scores, classes, gt_boxes, gt_classes, ignored)
      kept = verdicts != Verdict.BACKGROUND
      for evaluator, rows in zip(evaluators, (slice(None), kept), strict=True):
        evaluator.update(gt_boxes, gt_classes, ignored, boxes[rows], scores[rows], classes[rows])
    before, after = (evaluator.result()["voc/mAP50_11point"] for evaluator in evaluators)
    assert analyzer.result()["errors/cost/background"] == pytest.approx(after - before, abs=1e-12)
    assert after > before


class TestCounts:
  def test_by_detected_class_above_the_score(self):
    image = ([(A, 0.9, 1), (FAR, 0.5, 2), (FAR, 0.4, 2), (A, 0.3, 1)], [(A, 1), (B, 2)])
    assert counts(analyze(image)) == {
      "localisation": [0, 0],
      "classification": [0, 0],
      "redundancy": [0, 0],
      "background": [0, 1],
      "false_negative": [0, 1],
    }
    lower = analyze(image, score_threshold=0.0)
    assert counts(lower)["background"] == [0, 2]
    assert counts(lower)["redundancy"] == [1, 0]
    assert lower.result()["errors/count/background"] == 2.0

  def test_a_match_below_the_score_leaves_its_object_unfound(self):
    assert counts(analyze(([(A, 0.4, 1)], [(A, 1)])))["false_negative"] == [1, 0]
    assert counts(analyze(([(A, 0.5, 1)], [(A, 1)])))["false_negative"] == [0, 0]


def test_padding_changes_nothing():
  analyzer = analyze(
    ([(A, 0.9, 1), (FAR, 0.9, 0)], [(A, 1), (FAR, -1)]), ([(B, 0.8, -1)], [(B, 1)])
  )
  bare = analyze(([(A, 0.9, 1)], [(A, 1)]), ([], [(B, 1)]))
  np.testing.assert_equal(analyzer.result(), bare.result())


def test_reset():
  analyzer = analyze(([(FAR, 0.9, 1)], [(A, 1)]))
  assert analyzer.result()["errors/count/background"] == 1.0
  analyzer.reset()
  assert analyzer.result()["errors/count/background"] == 0.0
  assert np.isnan(analyzer.result()["errors/cost/background"])


def test_tables():
  image = ([(A, 0.9, 2), (B, 0.8, 2)], [(A, 1), (B, 2)])
  lines = analyze(image).tables().splitlines()
  assert lines[0].startswith("Errors at IoU 0.5 (background below 0.1):")
  assert lines[4].split() == ["classification", "75.0", "1"]
  assert lines[-2].split() == ["cat", "0.0", "100.0", "0.0", "0.0", "0.0"]


@pytest.mark.parametrize(("background", "match"), [(0.0, 0.5), (0.6, 0.5), (0.1, 1.1)])
def test_bounds_out_of_range(background, match):
  with pytest.raises(ValueError, match="accepted: 0 < background_iou <= match_iou <= 1"):
    error_analysis.ErrorAnalyzer(NAMES, background_iou=background, match_iou=match)
