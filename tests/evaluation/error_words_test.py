"""Words about the costliest kind of error."""

import numpy as np
import pytest

from mtl_ssl_tf.evaluation import detection_metrics, error_words

# Rows: true class; background, cat, dog, cow.
CONFUSION = np.array([[0, 9, 0, 0], [2, 5, 4, 1], [0, 7, 5, 0], [8, 0, 0, 3]])
NAMES = ["cat", "dog", "cow"]
COSTS = {
  "localisation": 0.02,
  "classification": 0.3,
  "redundancy": 0.001,
  "background": 0.01,
  "false_negative": 0.05,
}


def describe(**costs):
  return error_words.describe(0.57, COSTS | costs, CONFUSION, NAMES, 0.5)


def test_confused_classes_are_named():
  lines = describe()
  assert lines == [
    "of 43.0 points of mAP lost, fixed alone would gain: right classes 30.0, finding missed objects"
    " 5.0, exact boxes 2.0, no detections on background 1.0, no duplicates 0.1",
    "most are lost to confused classes (at score 0.5 and more: dog taken for cat 7 times, cat taken"
    " for dog 4 times, cat taken for cow 1 times); what helps: start weights (--init), longer"
    " training, more images of these classes",
  ]


def test_only_the_most_frequent_confusions_are_named():
  confusion = CONFUSION.copy()
  confusion[2, 3] = 2
  (_, line) = error_words.describe(0.57, COSTS, confusion, NAMES, 0.5)
  assert line.count(" taken for ") == 3
  assert "dog taken for cow 2 times)" in line


@pytest.mark.parametrize(
  ("kind", "words"),
  [
    ("false_negative", "lost to missed objects; what helps: anchors of the objects' sizes"),
    ("localisation", "lost to misplaced boxes; what helps: anchors of the objects' shapes"),
    ("background", "on background; what helps: annotations without gaps (mtl-ssl audit-labels)"),
    ("redundancy", "lost to duplicate detections; what helps: a smaller task.detections.nms_iou"),
  ],
)
def test_each_kind_has_its_remedy(kind, words):
  assert words in describe(**{kind: 0.31})[1]


def test_nothing_is_advised_where_little_is_lost():
  costs = dict.fromkeys(COSTS, 0.0099)
  assert len(error_words.describe(0.95, costs, CONFUSION, NAMES, 0.5)) == 1
  assert len(error_words.describe(0.95, costs | {"background": 0.01}, CONFUSION, NAMES, 0.5)) == 2


def test_without_objects_there_are_no_words():
  assert error_words.describe(float("nan"), COSTS, CONFUSION, NAMES, 0.5) == []
  assert describe(background=float("nan")) == []


def test_without_counted_confusions_none_are_named():
  (_, line) = error_words.describe(0.57, COSTS, np.zeros([4, 4], int), NAMES, 0.5)
  assert line.startswith("most are lost to confused classes; what helps")


def test_metrics_have_words_without_the_tables_of_errors():
  # One cat that is detected as a dog.
  metrics = detection_metrics.DetectionMetrics(NAMES, ["voc"], score_threshold=0.25)
  box = np.array([[0.0, 0.0, 10.0, 10.0]])
  metrics.update(
    image_id="a",
    gt_boxes=box,
    gt_classes=np.array([1]),
    gt_difficult=np.array([False]),
    gt_is_crowd=np.array([False]),
    gt_areas=np.array([100.0]),
    detection_boxes=box,
    detection_scores=np.array([0.3]),
    detection_classes=np.array([2]),
  )
  first, second = metrics.words()
  assert first.startswith(
    "of 100.0 points of mAP lost, fixed alone would gain: right classes 100.0"
  )
  assert "(at score 0.25 and more: cat taken for dog 1 times)" in second
  assert not any(name.startswith("errors/") for name in metrics.result())
  assert "Confusion" not in metrics.tables()
  assert "confusion" not in metrics.details()
  metrics.reset()
  assert metrics.words() == []
