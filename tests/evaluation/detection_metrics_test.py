"""All metrics fed together: each gets what it needs, and keeps its own rules."""

import math

import numpy as np
import pytest

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import fields, validation
from mtl_ssl_tf.evaluation import detection_metrics, voc_metrics

A, B, FAR = [0, 0, 40, 40], [0, 60, 40, 100], [200, 200, 240, 240]
NAMES = ["cat", "dog"]


def test_names_are_those_that_the_configuration_accepts():
  rules = fields.choices_of(fields.field_of(data_config.Evaluation, "voc_ap"))
  assert set(rules) == set(voc_metrics.AP_RULES)
  assert set(validation.METRICS) == set(detection_metrics.METRICS)


def evaluate(detections, truth, metrics=("voc", "coco"), names=NAMES, image_id=1, **options):
  """Of (box, score, class) rows and (box, class, flag) rows."""
  evaluator = detection_metrics.DetectionMetrics(names, metrics, **options)
  add(evaluator, detections, truth, image_id)
  return evaluator


def add(evaluator, detections, truth, image_id=1, areas=None):
  flags = [row[2] if len(row) > 2 else "" for row in truth]
  evaluator.update(
    image_id=image_id,
    gt_boxes=np.reshape(np.array([row[0] for row in truth], np.float32), (-1, 4)),
    gt_classes=np.array([row[1] for row in truth], np.int32),
    gt_difficult=np.array([flag == "difficult" for flag in flags], bool),
    gt_is_crowd=np.array([flag == "crowd" for flag in flags], bool),
    gt_areas=np.full(len(truth), np.nan) if areas is None else areas,
    detection_boxes=np.reshape(np.array([row[0] for row in detections], np.float32), (-1, 4)),
    detection_scores=np.array([row[1] for row in detections], np.float32),
    detection_classes=np.array([row[2] for row in detections], np.int32),
  )


def test_figures_of_each_metric():
  image = ([(A, 0.9, 1)], [(A, 1)])
  voc, coco = (evaluate(*image, metrics=[name]).result() for name in ("voc", "coco"))
  assert voc["voc/mAP50_area"] == 1.0
  assert coco["coco/AP"] == pytest.approx(1.0)
  assert all(name.startswith("voc/") for name in voc)
  assert all(name.startswith("coco/") for name in coco)
  both = evaluate(*image, errors=True).result()
  assert both["errors/cost/background"] == 0.0
  assert list(both)[: len(voc)] == list(voc)
  assert set(both) > {*voc, *coco}


def test_figures_alone_are_the_same():
  image = ([(A, 0.9, 1), (A, 0.8, 2)], [(A, 1)])
  whole, alone = (evaluate(*image, figures_only=only) for only in (False, True))
  assert alone.result() == pytest.approx(whole.result(), nan_ok=True)
  assert whole.words() and whole.confusion()["confusion"].any()
  assert not alone.confusion()["confusion"].any()


@pytest.mark.parametrize(
  ("metrics", "rule", "key"),
  [
    (["voc"], "area", "voc/mAP50_area"),
    (["voc", "coco"], "11point", "voc/mAP50_11point"),
    (["coco", "voc"], "area", "coco/AP"),
  ],
)
def test_first_metric_has_the_main_figure(metrics, rule, key):
  evaluator = detection_metrics.DetectionMetrics(NAMES, metrics, ap_rule=rule)
  assert evaluator.main_key == key
  assert key in evaluator.result()


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_ignored_objects_everywhere(flag):
  # The better scored detection lies on the object that does not count.
  image = ([(B, 0.9, 1), (A, 0.8, 1)], [(A, 1), (B, 1, flag)])
  evaluator = evaluate(*image, errors=True)
  result = evaluator.result()
  assert result["voc/AP50_area/cat"] == 1.0
  assert result["coco/AP/cat"] == pytest.approx(1.0)
  assert result["errors/count/background"] == 0.0
  assert evaluator.details()["confusion"].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
  assert evaluate(*image[:1], [(A, 1), (FAR, 1)]).result()["voc/AP50_area/cat"] < 0.5


def test_many_detections_lie_in_a_crowd_but_one_on_a_difficult_object():
  # Two quarters of B: for COCO they lie in the crowd whole.
  quarters = [([0, 60, 20, 80], 0.9, 1), ([20, 60, 40, 80], 0.85, 1), (A, 0.8, 1)]
  for flag, ap in (("crowd", 1.0), ("difficult", 1 / 3)):
    result = evaluate(quarters, [(A, 1), (B, 1, flag)]).result()
    assert result["coco/AP/cat"] == pytest.approx(ap, abs=0.01)


def test_areas_reach_coco():
  evaluator = detection_metrics.DetectionMetrics(NAMES, ["coco"])
  add(evaluator, [(A, 0.9, 1)], [(A, 1)], areas=np.array([900.0]))
  assert evaluator.result()["coco/AP_small"] == pytest.approx(1.0)
  assert math.isnan(evaluator.result()["coco/AP_medium"])


def test_options_reach_voc_errors_and_confusions():
  # 24 of 40 columns: IoU 0.6; inclusive 25 of 41: 0.6098.
  image = ([([0, 0, 40, 24], 0.4, 1)], [(A, 1)])
  for options, found in (
    ({"iou_threshold": 0.605}, 0),
    ({"iou_threshold": 0.605, "inclusive_pixels": True}, 1),
    ({"score_threshold": 0.5}, None),
  ):
    evaluator = evaluate(*image, errors=True, **{"score_threshold": 0.1, **options})
    confusion = evaluator.details()["confusion"]
    if found is None:
      assert (confusion[1, 0], confusion[1, 1], confusion[0, 1]) == (1, 0, 0)
      assert evaluator.result()["errors/count/false_negative"] == 1.0
    else:
      assert confusion[1, 1] == found
      assert evaluator.result()["errors/cost/localisation"] == 1.0 - found
      assert next(iter(evaluator.result().values())) == found


def test_details():
  details = evaluate([(A, 0.9, 1)], [(A, 1)], ap_rule="11point", errors=True).details()
  np.testing.assert_allclose(details["curves"]["cat"], [[1.0, 1.0, 0.9]], rtol=1e-6)
  assert details["average_precision"]["cat"] == pytest.approx(1.0)
  assert details["ap_rule"] == "11point"
  assert details["class_costs"].keys() == details["class_counts"].keys() == details["costs"].keys()
  assert "confusion" not in evaluate([], []).details()


def test_tables():
  image = ([(A, 0.9, 1)], [(A, 1)])
  text = evaluate(*image, errors=True).tables()
  titles = ["VOC average", "COCO metrics", "COCO average", "Errors at", "AP that", "Confusion"]
  places = [text.index(title) for title in titles]
  assert places == sorted(places)
  assert "VOC" not in evaluate(*image, metrics=["coco"]).tables()
  # As text, confusions of many classes are too wide.
  many = [f"class {number}" for number in range(21)]
  assert "Confusion" not in evaluate(*image, names=many, errors=True).tables()


def test_reset():
  evaluator = evaluate([(FAR, 0.9, 1)], [(A, 1)], errors=True)
  evaluator.reset()
  assert evaluator.details()["confusion"].sum() == 0
  add(evaluator, [(A, 0.9, 1)], [(A, 1)])
  result = evaluator.result()
  assert (result["voc/mAP50_area"], result["errors/count/background"]) == (1.0, 0.0)
  assert result["coco/AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("metrics", [[], ["voc", "voc"], ["map"]])
def test_unknown_metrics(metrics):
  with pytest.raises(ValueError, match=r"metrics is .*; accepted: voc or coco, or both"):
    detection_metrics.DetectionMetrics(NAMES, metrics)
