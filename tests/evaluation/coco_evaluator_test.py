"""COCO's figures: equal to pycocotools on random images, and to cases worked by hand."""

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools import coco as pycoco
from pycocotools import cocoeval

from mtl_ssl_tf.evaluation import coco_evaluator

NAMES = ["cat", "dog", "owl"]
# Category ids with gaps, as COCO's.
CATEGORIES = {1: 7, 2: 18, 3: 90}


class IgnoringCOCOeval(cocoeval.COCOeval):
  """pycocotools that leaves an annotation's own `ignore` flag in force."""

  def _prepare(self):
    super()._prepare()
    for objects in self._gts.values():
      for gt in objects:
        gt["ignore"] = gt["iscrowd"] or gt["difficult"]


def pycocotools_figures(images, num_classes=3):
  """The twelve figures, and the mean precision of each class at all IoUs and at 0.5."""
  truth, found = [], []
  for image_id, gt, boxes, scores, classes in images:
    for row in gt:
      truth.append(
        {
          # From 1: pycocotools takes a match with annotation 0 for no match.
          "id": len(truth) + 1,
          "image_id": image_id,
          "category_id": CATEGORIES[row["class"]],
          "bbox": list(map(float, row["box"])),
          "area": float(row.get("area", row["box"][2] * row["box"][3])),
          "iscrowd": int(row.get("crowd", 0)),
          "difficult": int(row.get("difficult", 0)),
        }
      )
    for box, score, cls in zip(boxes, scores, classes, strict=True):
      found.append(
        {
          "image_id": image_id,
          "category_id": CATEGORIES[int(cls)],
          "bbox": list(map(float, box)),
          "score": float(score),
        }
      )
  with contextlib.redirect_stdout(io.StringIO()):
    dataset = pycoco.COCO()
    dataset.dataset = {
      "info": {},
      "images": [{"id": image[0]} for image in images],
      "categories": [
        {"id": CATEGORIES[c], "name": NAMES[c - 1]} for c in range(1, 1 + num_classes)
      ],
      "annotations": truth,
    }
    dataset.createIndex()
    evaluation = IgnoringCOCOeval(
      dataset, dataset.loadRes(found) if found else pycoco.COCO(), "bbox"
    )
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
  precision = evaluation.eval["precision"][..., 0, -1]
  return evaluation.stats, precision.mean(axis=(0, 1)), precision[0].mean(axis=0)


def evaluate(images, names=NAMES):
  evaluator = coco_evaluator.COCOEvaluator(names)
  for image_id, gt, boxes, scores, classes in images:
    evaluator.update(
      image_id=image_id,
      gt_boxes_xywh=np.array([row["box"] for row in gt], np.float64).reshape(-1, 4),
      gt_classes=np.array([row["class"] for row in gt], np.int32),
      gt_is_crowd=np.array([row.get("crowd", 0) for row in gt], bool),
      gt_ignored=np.array([row.get("difficult", 0) for row in gt], bool),
      gt_areas=np.array([row.get("area", np.nan) for row in gt]),
      detection_boxes_xywh=np.reshape(np.array(boxes, np.float64), (-1, 4)),
      detection_scores=np.array(scores, np.float64),
      detection_classes=np.array(classes, np.int32),
    )
  return evaluator


def assert_equal_to_pycocotools(images):
  evaluator = evaluate(images)
  result = evaluator.result()
  stats, class_precision, _ = pycocotools_figures(images)
  twelve = [result[f"coco/{name}"] for name in coco_evaluator.FIGURES]
  np.testing.assert_allclose(np.nan_to_num(twelve, nan=-1.0), stats, rtol=0, atol=1e-9)
  per_class = [result[f"coco/AP/{name}"] for name in NAMES]
  np.testing.assert_allclose(np.nan_to_num(per_class, nan=-1.0), class_precision, rtol=0, atol=1e-9)
  return result


def random_images(seed, num_images=30, ids=None, num_detections=40):
  """Objects of all sizes, crowds, difficult ones; detections near them, elsewhere and doubled."""
  rng = np.random.default_rng(seed)
  images = []
  for number in range(num_images):
    gt = []
    for _ in range(rng.integers(0, 9)):
      side = np.exp(rng.uniform(np.log(6), np.log(200), 2))
      box = np.concatenate([rng.uniform(0, 300, 2), side])
      row = {"box": box, "class": int(rng.integers(1, 4)), "difficult": rng.uniform() < 0.15}
      row["crowd"] = rng.uniform() < 0.15
      if rng.uniform() < 0.5:  # A mask is smaller than its box.
        row["area"] = rng.uniform(0.3, 1.0) * side[0] * side[1]
      gt.append(row)
    boxes, classes = [], []
    for _ in range(rng.integers(0, num_detections)):
      if gt and rng.uniform() < 0.7:
        row = gt[rng.integers(len(gt))]
        noise = rng.normal(0, 0.1, 4) * np.tile(row["box"][2:], 2)
        boxes.append(np.maximum(row["box"] + noise, 1.0))
        classes.append(row["class"] if rng.uniform() < 0.8 else rng.integers(1, 4))
      else:
        boxes.append(np.concatenate([rng.uniform(0, 300, 2), rng.uniform(1, 150, 2)]))
        classes.append(rng.integers(1, 4))
    scores = np.round(rng.uniform(0, 1, len(boxes)), 1)  # With many ties.
    images.append((ids[number] if ids else number + 1, gt, boxes, scores, classes))
  return images


class TestEqualToPycocotools:
  @pytest.mark.parametrize("seed", range(4))
  def test_random_images(self, seed):
    result = assert_equal_to_pycocotools(random_images(seed))
    assert 0.05 < result["coco/AP"] < 0.9

  def test_more_detections_than_count(self):
    # Some images have more than 100 detections of one class.
    images = random_images(5, num_images=6, num_detections=900)
    assert max(np.bincount(classes).max() for *_, classes in images if classes) > 100
    assert_equal_to_pycocotools(images)

  def test_whole_pixels_meet_thresholds_and_size_limits_exactly(self):
    # Side lengths of 32 and 96, and overlaps of exactly 0.5, 0.6, 0.75 and 0.95.
    images = []
    for number, (side, share) in enumerate(
      [(32, 0.5), (32, 0.75), (96, 0.5), (96, 0.75), (20, 0.6), (20, 0.95), (20, 0.5)]
    ):
      gt = [{"box": [0, 0, side, side], "class": 1}, {"box": [0, 0, side, side], "class": 1}]
      boxes = [[0, 0, side, side * share], [0, 0, side, side]]
      images.append((number + 1, gt, boxes, [0.5, 0.5], [1, 1]))
    assert_equal_to_pycocotools(images)

  @pytest.mark.parametrize("flag", ["crowd", "difficult"])
  def test_an_object_that_counts_goes_before_an_ignored_one(self, flag):
    # 32 of 40 columns with the first, whole in the second.
    gt = [{"box": [0, 0, 40, 40], "class": 1}, {"box": [0, 0, 32, 40], "class": 1, flag: True}]
    result = assert_equal_to_pycocotools([(1, gt, [[0, 0, 32, 40]], [0.5], [1])])
    assert result["coco/AP50"] == ONE

  def test_image_ids_decide_between_equal_scores(self):
    ids = list(np.random.default_rng(0).permutation(1000)[:30].tolist())
    in_order = random_images(1)
    shuffled = random_images(1, ids=ids)
    assert assert_equal_to_pycocotools(shuffled) != assert_equal_to_pycocotools(in_order)

  def test_image_ids_as_text(self):
    assert_equal_to_pycocotools(random_images(2, ids=[f"image_{99 - n}" for n in range(30)]))


# pycocotools adds the smallest number to each denominator.
ONE = pytest.approx(1.0, abs=1e-12)
BOX, FAR = [0, 0, 40, 40], [200, 200, 40, 40]


class TestByHand:
  def test_perfect(self):
    result = evaluate([(1, [{"box": BOX, "class": 2}], [BOX], [0.9], [2])]).result()
    assert [result[f"coco/{name}"] for name in ("AP", "AR1", "AP_medium")] == [ONE] * 3
    assert result["coco/AP/dog"] == ONE
    # There is no small nor large object, and none of the other classes.
    absent = ["coco/AP_small", "coco/AR_large", "coco/AP/cat", "coco/AP/owl"]
    assert all(math.isnan(result[name]) for name in absent)
    assert list(result) == [f"coco/{name}" for name in coco_evaluator.FIGURES] + [
      f"coco/AP/{name}" for name in NAMES
    ]

  def test_thresholds_that_a_shift_reaches(self):
    # 32 of 40 columns: IoU 0.8, which reaches 7 of the 10 thresholds 0.5, 0.55 … 0.95.
    result = evaluate([(1, [{"box": BOX, "class": 1}], [[0, 0, 32, 40]], [0.9], [1])]).result()
    assert result["coco/AP"] == pytest.approx(0.7)
    assert [result["coco/AP50"], result["coco/AP75"]] == [ONE] * 2

  def test_any_number_of_detections_lies_in_a_crowd_and_none_counts(self):
    gt = [{"box": FAR, "class": 1}, {"box": [0, 0, 100, 100], "class": 1, "crowd": True}]
    boxes = [BOX, [50, 50, 40, 40], FAR]
    assert evaluate([(1, gt, boxes, [0.9, 0.8, 0.7], [1, 1, 1])]).result()["coco/AP"] == ONE
    gt[1]["crowd"] = False  # Now there are two misses in front, and an object is not found.
    assert evaluate([(1, gt, boxes, [0.9, 0.8, 0.7], [1, 1, 1])]).result()["coco/AP"] < 0.2

  def test_a_difficult_object_takes_one_detection(self):
    gt = [{"box": FAR, "class": 1}, {"box": BOX, "class": 1, "difficult": True}]
    one = [(1, gt, [BOX, FAR], [0.9, 0.8], [1, 1])]
    assert evaluate(one).result()["coco/AP"] == ONE
    # The second detection on it is a false positive, in front of the only hit.
    two = [(1, gt, [BOX, BOX, FAR], [0.9, 0.8, 0.7], [1, 1, 1])]
    assert evaluate(two).result()["coco/AP"] == pytest.approx(0.5)

  def test_area_of_the_object_decides_its_size(self):
    gt = [{"box": BOX, "class": 1, "area": 900.0}]
    result = evaluate([(1, gt, [BOX], [0.9], [1])]).result()
    assert result["coco/AP_small"] == ONE
    assert math.isnan(result["coco/AP_medium"])

  def test_an_image_without_objects_has_false_positives(self):
    images = [(1, [{"box": BOX, "class": 1}], [BOX], [0.5], [1]), (2, [], [BOX], [0.9], [1])]
    assert evaluate(images).result()["coco/AP"] == pytest.approx(0.5)

  def test_objects_without_detections(self):
    result = evaluate([(1, [{"box": BOX, "class": 1}], [], [], [])]).result()
    assert result["coco/AP"] == result["coco/AR100"] == result["coco/AP/cat"] == 0.0

  def test_nothing_at_all(self):
    for images in ([], [(1, [], [], [], [])], [(1, [], [BOX], [0.5], [1])]):
      assert all(math.isnan(value) for value in evaluate(images).result().values())

  def test_one_class(self):
    evaluator = evaluate([(1, [{"box": BOX, "class": 1}], [BOX], [0.5], [1])], ["cell"])
    assert evaluator.result()["coco/AP/cell"] == ONE

  def test_padding_changes_nothing(self):
    evaluator = coco_evaluator.COCOEvaluator(["cell"])
    evaluator.update(
      image_id=1,
      gt_boxes_xywh=[BOX, [-1, -1, -1, -1]],
      gt_classes=np.array([1, -1]),
      detection_boxes_xywh=[BOX, [np.nan] * 4],
      detection_scores=[0.5, np.nan],
      detection_classes=np.array([1, 0]),
    )
    assert evaluator.result()["coco/AP"] == ONE

  def test_reset(self):
    evaluator = evaluate([(1, [{"box": BOX, "class": 1}], [FAR], [0.5], [1])])
    assert evaluator.result()["coco/AP"] == 0.0
    evaluator.reset()
    evaluator.update(
      image_id=1,
      gt_boxes_xywh=[BOX],
      gt_classes=np.array([1]),
      detection_boxes_xywh=[BOX],
      detection_scores=[0.5],
      detection_classes=np.array([1]),
    )
    assert evaluator.result()["coco/AP"] == ONE

  def test_result_follows_each_update(self):
    evaluator = evaluate([(1, [{"box": BOX, "class": 1}], [BOX], [0.5], [1])])
    assert evaluator.result()["coco/AP"] == ONE
    evaluator.update(
      image_id=2,
      gt_boxes_xywh=[BOX],
      gt_classes=np.array([1]),
      detection_boxes_xywh=np.zeros([0, 4]),
      detection_scores=np.zeros(0),
      detection_classes=np.zeros(0, int),
    )
    assert evaluator.result()["coco/AP"] < 0.6


def test_to_xywh():
  boxes = coco_evaluator.to_xywh(np.array([[1, 2, 4, 8]], np.float32))
  np.testing.assert_array_equal(boxes, [[2, 1, 6, 3]])
  assert boxes.dtype == np.float64
  assert coco_evaluator.to_xywh(np.zeros([0, 4])).shape == (0, 4)


def test_tables():
  images = [
    (1, [{"box": BOX, "class": 1}, {"box": FAR, "class": 1, "difficult": True}], [BOX], [0.5], [1])
  ]
  lines = evaluate(images, ["cat", "dog"]).tables().splitlines()
  assert lines[0] == "COCO metrics by pycocotools, percent"
  assert lines[3].split() == [*["AP", "average", "precision,", "IoU", "0.50", "…", "0.95"], "100.0"]
  assert lines[6].split() == [
    *["AP_small", "average", "precision,", "area", "below", "32²", "px"],
    "-",
  ]
  assert [line.split() for line in lines[-2:]] == [
    ["cat", "1", "1", "100.0", "100.0"],
    ["dog", "0", "0", "-", "-"],
  ]


class TestRefusals:
  def message(self, **fields):
    image = {
      "image_id": 1,
      "gt_boxes_xywh": [BOX],
      "gt_classes": [1],
      "detection_boxes_xywh": [BOX],
      "detection_scores": [0.5],
      "detection_classes": [1],
    }
    evaluator = coco_evaluator.COCOEvaluator(["cat"])
    with pytest.raises(ValueError) as error:
      evaluator.update(**{**image, **fields})
    return str(error.value)

  def test_messages(self):
    assert self.message(gt_classes=[2]) == (
      "image 1: gt_classes holds 2; accepted: 1 to 1, and 0 or less for padding"
    )
    assert self.message(detection_scores=[np.nan]) == (
      "image 1: detection_scores holds values that are not finite; accepted: numbers"
    )
    for box in ([0, 0, -1, 4], [0, 0, np.inf, 4], [np.nan, 0, 1, 4]):
      assert self.message(detection_boxes_xywh=[box]) == (
        "image 1: detection_boxes_xywh holds a side that is negative or not finite"
      )
    assert self.message(detection_scores=[0.5, 0.5]) == (
      "image 1: detection_classes [1], boxes [1, 4], scores [2]; accepted: [n, 4] for boxes and [n]"
      " for all else"
    )

  def test_image_twice(self):
    evaluator = evaluate([(7, [], [], [], [])])
    with pytest.raises(ValueError, match="image 7 was already added; accepted: each image once"):
      evaluator.update(
        image_id=7,
        gt_boxes_xywh=np.zeros([0, 4]),
        gt_classes=[],
        detection_boxes_xywh=np.zeros([0, 4]),
        detection_scores=[],
        detection_classes=[],
      )

  def test_repeated_name(self):
    with pytest.raises(ValueError, match=r"class_names repeats \['cat'\]"):
      coco_evaluator.COCOEvaluator(["cat", "cat"])
