"""Whole evaluations: worked by hand, against a slow oracle, and against pycocotools."""

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools import coco as pycoco
from pycocotools import cocoeval

from mtl_ssl_tf.evaluation import voc_evaluator
from tests.evaluation import published_sample

A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [0, 50, 10, 60]
NO_BOXES = np.zeros((0, 4), np.float32)


def add(evaluator, ground_truth=(), detections=(), image_id=None):
  """ground_truth: (box, class, difficult) rows; detections: (box, score, class) rows."""
  evaluator.update(
    np.array([row[0] for row in ground_truth], np.float32).reshape(-1, 4),
    np.array([row[1] for row in ground_truth], np.int32),
    np.array([row[2] for row in ground_truth], bool),
    np.array([row[0] for row in detections], np.float32).reshape(-1, 4),
    np.array([row[1] for row in detections], np.float32),
    np.array([row[2] for row in detections], np.int32),
    image_id,
  )


def worked_example():
  # cat: 3 objects and a difficult one in two images. By score: .9 hits, .8 is a duplicate, .7 is
  # on the difficult one and ignored, .6 hits: ranked TFT, precision 1, 1/2, 2/3, recall 1/3, 2/3.
  #   area = (1 + 2/3) / 3 = 5/9; 11point: levels 0-.3 at 1, .4-.6 at 2/3: (4 + 2) / 11 = 6/11.
  # dog: one object, no detection: 0. owl: no object, one detection: no AP.
  # Means over cat and dog: 5/18 and 3/11.
  evaluator = voc_evaluator.VOCEvaluator(["cat", "dog", "owl"])
  add(
    evaluator,
    [(A, 1, False), (B, 1, True), (FAR, 2, False)],
    [(A, 0.9, 1), (A, 0.8, 1), (B, 0.7, 1), (FAR, 0.5, 3)],
  )
  add(evaluator, [(A, 1, False), (B, 1, False)], [(B, 0.6, 1)])
  return evaluator


class TestWorkedExample:
  def test_result(self):
    result = worked_example().result()
    expected = {
      "voc/mAP50_area": 5 / 18,
      "voc/mAP50_11point": 3 / 11,
      "voc/AP50_area/cat": 5 / 9,
      "voc/AP50_area/dog": 0.0,
      "voc/AP50_area/owl": math.nan,
      "voc/AP50_11point/cat": 6 / 11,
      "voc/AP50_11point/dog": 0.0,
      "voc/AP50_11point/owl": math.nan,
    }
    assert list(result) == list(expected)
    assert all(type(value) is float for value in result.values())
    np.testing.assert_allclose(list(result.values()), list(expected.values()))

  def test_table(self):
    assert voc_evaluator.class_table(worked_example()).split("\n") == [
      "VOC average precision at IoU 0.5, percent",
      "class      objects  difficult  detections  AP area  AP 11point",
      "--------------------------------------------------------------",
      "cat              3          1           4     55.6        54.5",
      "dog              1          0           0      0.0         0.0",
      "owl              0          0           1        -           -",
      "--------------------------------------------------------------",
      "mean of 2        4          1           5     27.8        27.3",
    ]

  def test_reset_forgets(self):
    evaluator = worked_example()
    evaluator.reset()
    assert all(math.isnan(value) for value in evaluator.result().values())
    add(evaluator, [(A, 1, False)], [(A, 0.9, 1)])
    assert evaluator.result()["voc/mAP50_area"] == 1.0


class TestRules:
  def test_no_image_at_all(self):
    result = voc_evaluator.VOCEvaluator(["cat"]).result()
    assert list(result) == [
      "voc/mAP50_area",
      "voc/mAP50_11point",
      "voc/AP50_area/cat",
      "voc/AP50_11point/cat",
    ]
    assert all(math.isnan(value) for value in result.values())

  def test_only_difficult_objects_leave_a_class_without_ground_truth(self):
    evaluator = voc_evaluator.VOCEvaluator(["cat"])
    add(evaluator, [(A, 1, True)], [(A, 0.9, 1), (FAR, 0.8, 1)])
    assert math.isnan(evaluator.result()["voc/mAP50_area"])

  def test_classes_do_not_see_each_other(self):
    # The dog detection on the cat is a false positive of dog; the cat is not found.
    evaluator = voc_evaluator.VOCEvaluator(["cat", "dog"])
    add(evaluator, [(A, 1, False), (B, 2, False)], [(A, 0.9, 2), (B, 0.8, 2)])
    result = evaluator.result()
    assert result["voc/AP50_area/cat"] == 0.0
    assert result["voc/AP50_area/dog"] == 0.5

  def test_equal_scores_rank_in_image_order_then_given_order(self):
    # Same score everywhere. Ranked F T: 1/2; the other way round T F: 1.
    for first, second, expected in [(FAR, A, 0.5), (A, FAR, 1.0)]:
      split = voc_evaluator.VOCEvaluator(["cat"])
      add(split, [(A, 1, False)] if first is A else [], [(first, 0.5, 1)])
      add(split, [(A, 1, False)] if second is A else [], [(second, 0.5, 1)])
      joint = voc_evaluator.VOCEvaluator(["cat"])
      add(joint, [(A, 1, False)], [(first, 0.5, 1), (second, 0.5, 1)])
      assert split.result()["voc/mAP50_area"] == expected
      assert joint.result()["voc/mAP50_area"] == expected

  def test_threshold_and_rule_name_the_figures(self):
    evaluator = voc_evaluator.VOCEvaluator(["cat"], iou_threshold=0.75, ap_rule="11point")
    # 8 of 10 columns: IoU 0.8; 7 of 10: 0.7.
    add(evaluator, [(A, 1, False)], [([0, 0, 10, 7], 0.9, 1), ([0, 0, 10, 8], 0.8, 1)])
    assert evaluator.main_key == "voc/mAP75_11point"
    assert evaluator.result()["voc/mAP75_area"] == 0.5
    assert "at IoU 0.75" in voc_evaluator.class_table(evaluator)
    assert voc_evaluator.VOCEvaluator(["cat"]).main_key == "voc/mAP50_area"
    assert voc_evaluator.VOCEvaluator([], 0.555).main_key == "voc/mAP55.5_area"

  def test_inclusive_pixels_reach_the_matching(self):
    # IoU 0.48, or 5.8 / 11 = 0.527 with inclusive pixels.
    for inclusive_pixels, expected in [(False, 0.0), (True, 1.0)]:
      evaluator = voc_evaluator.VOCEvaluator(["cat"], inclusive_pixels=inclusive_pixels)
      add(evaluator, [(A, 1, False)], [([0, 0, 10, 4.8], 0.9, 1)])
      assert evaluator.result()["voc/mAP50_area"] == expected

  def test_difficult_may_be_none(self):
    evaluator = voc_evaluator.VOCEvaluator(["cat"])
    evaluator.update(
      np.array([A]), np.array([1]), None, np.array([A]), np.array([0.9]), np.array([1])
    )
    assert evaluator.result()["voc/mAP50_area"] == 1.0


class TestRefusals:
  @pytest.mark.parametrize(
    ("options", "message"),
    [
      ({"class_names": ["cat", "dog", "cat"]}, r"class_names repeats \['cat'\]"),
      ({"iou_threshold": 0.0}, r"iou_threshold is 0.0; accepted: above 0, at most 1"),
      ({"iou_threshold": 50}, r"iou_threshold is 50"),
      ({"ap_rule": "voc07"}, r"ap_rule is 'voc07'; accepted: area, 11point"),
    ],
  )
  def test_construction(self, options, message):
    with pytest.raises(ValueError, match=message):
      voc_evaluator.VOCEvaluator(**{"class_names": ["cat"]} | options)

  def test_a_repeated_image(self):
    evaluator = voc_evaluator.VOCEvaluator(["cat"])
    add(evaluator, image_id="000001")
    add(evaluator, image_id="000002")
    with pytest.raises(ValueError, match="image '000001' was already added"):
      add(evaluator, image_id="000001")
    evaluator.reset()
    add(evaluator, image_id="000001")

  def test_an_unknown_class(self):
    evaluator = voc_evaluator.VOCEvaluator(["cat"])
    with pytest.raises(ValueError, match="image 7: gt_classes holds 2; accepted: 1 to 1"):
      add(evaluator, [(A, 2, False)], image_id=7)
    with pytest.raises(ValueError, match="image: detection_classes holds 3"):
      add(evaluator, [], [(A, 0.5, 3)])

  def test_a_score_that_is_not_finite(self):
    evaluator = voc_evaluator.VOCEvaluator(["cat"])
    with pytest.raises(ValueError, match="detection_scores holds values that are not finite"):
      add(evaluator, [], [(A, math.nan, 1)])
    add(evaluator, [], [(A, math.nan, 0)])  # Padding may hold anything.

  def test_shapes_that_disagree(self):
    evaluator = voc_evaluator.VOCEvaluator(["cat"])
    with pytest.raises(ValueError, match=r"image: gt_boxes \[1, 4\], classes \[2\], difficult \["):
      evaluator.update(
        np.array([A]), np.array([1, 1]), None, NO_BOXES, np.zeros(0), np.zeros(0, int)
      )
    with pytest.raises(ValueError, match=r"detection_boxes \[0, 4\], classes \[0\], scores \[1\]"):
      evaluator.update(NO_BOXES, np.zeros(0, int), None, NO_BOXES, np.zeros(1), np.zeros(0, int))


def random_image(rng, num_classes, decimals):
  """Crowded boxes, some difficult; detections near them or anywhere, with repeated scores."""

  def boxes(count):
    corner = rng.uniform(0, 40, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 30, (count, 2))], axis=1)

  num_gt = rng.integers(0, 8)
  gt_boxes = boxes(num_gt)
  gt_classes = rng.integers(1, num_classes, num_gt)
  near = rng.integers(0, num_gt, rng.integers(0, 20)) if num_gt else np.zeros(0, int)
  far = boxes(rng.integers(0, 5))
  detection_boxes = np.concatenate([gt_boxes[near] + rng.normal(0, 2.0, (len(near), 4)), far])
  detection_classes = np.concatenate(
    [gt_classes[near], rng.integers(1, num_classes, len(far))]
  ).astype(int)
  scores = np.round(rng.uniform(0, 1, len(detection_boxes)), decimals)
  difficult = rng.uniform(size=num_gt) < 0.2
  return gt_boxes, gt_classes, difficult, detection_boxes, scores, detection_classes


def oracle_iou(a, b):
  height = min(a[2], b[2]) - max(a[0], b[0])
  width = min(a[3], b[3]) - max(a[1], b[1])
  if height <= 0 or width <= 0:
    return 0.0
  both = height * width
  return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def oracle_average_precisions(images, class_id):
  """The development kit's loop over the ranked detections of all images, and both curves."""
  ranked = []
  for index, (_, _, _, boxes, scores, classes) in enumerate(images):
    for order, (box, score, cls) in enumerate(zip(boxes, scores, classes, strict=True)):
      if cls == class_id:
        ranked.append((-score, index, order, box))
  ranked.sort(key=lambda entry: entry[:3])
  num_ground_truth = sum(
    cls == class_id and not hard
    for image in images
    for cls, hard in zip(image[1], image[2], strict=True)
  )
  if num_ground_truth == 0:
    return math.nan, math.nan
  taken, curve, num_true, num_false = set(), [], 0, 0
  for _, index, _, box in ranked:
    gt_boxes, gt_classes, difficult = images[index][:3]
    best, best_iou = None, -1.0
    for row in range(len(gt_boxes)):
      if gt_classes[row] == class_id and oracle_iou(box, gt_boxes[row]) > best_iou:
        best, best_iou = row, oracle_iou(box, gt_boxes[row])
    if best_iou >= 0.5 and difficult[best]:
      continue
    if best_iou >= 0.5 and (index, best) not in taken:
      taken.add((index, best))
      num_true += 1
    else:
      num_false += 1
    curve.append((num_true, num_true / (num_true + num_false)))
  area = 0.0
  for found in range(1, num_ground_truth + 1):
    area += max((p for true, p in curve if true >= found), default=0.0) / num_ground_truth
  eleven = 0.0
  for level in range(11):
    reached = [p for true, p in curve if 10 * true >= level * num_ground_truth]
    eleven += max(reached, default=0.0) / 11.0
  return area, eleven


class TestAgainstOracle:
  @pytest.mark.parametrize("decimals", [1, 6])
  @pytest.mark.parametrize("seed", range(5))
  def test_random_images(self, seed, decimals):
    rng = np.random.default_rng(seed)
    names = ["cat", "dog", "owl"]
    images = [random_image(rng, 4, decimals) for _ in range(12)]
    evaluator = voc_evaluator.VOCEvaluator(names)
    for image in images:
      evaluator.update(*image)
    result = evaluator.result()
    for class_id, name in enumerate(names, start=1):
      area, eleven = oracle_average_precisions(images, class_id)
      np.testing.assert_allclose(result[f"voc/AP50_area/{name}"], area, atol=1e-12)
      np.testing.assert_allclose(result[f"voc/AP50_11point/{name}"], eleven, atol=1e-12)


class TestInvariances:
  def evaluate(self, images):
    evaluator = voc_evaluator.VOCEvaluator(["cat", "dog", "owl"])
    for image in images:
      evaluator.update(*image)
    return evaluator.result()

  def images(self):
    rng = np.random.default_rng(11)
    return [random_image(rng, 4, 6) for _ in range(8)]  # Six decimals: no equal scores.

  def test_padding_changes_nothing(self):
    def pad(image):
      gt_boxes, gt_classes, difficult, boxes, scores, classes = image
      filler = np.full((3, 4), -1.0)
      return (
        np.concatenate([filler, gt_boxes]),
        np.concatenate([[-1, 0, -1], gt_classes]),
        np.concatenate([[True, False, False], difficult]),
        np.concatenate([boxes, filler]),
        np.concatenate([scores, [0.0, 1.0, -1.0]]),
        np.concatenate([classes, [0, -1, 0]]),
      )

    images = self.images()
    assert self.evaluate([pad(image) for image in images]) == self.evaluate(images)

  def test_order_does_not_matter_where_scores_differ(self):
    def shuffle(image):
      rng = np.random.default_rng(3)
      gt_order, order = rng.permutation(len(image[1])), rng.permutation(len(image[5]))
      return [values[gt_order] for values in image[:3]] + [values[order] for values in image[3:]]

    images = self.images()
    assert self.evaluate([shuffle(image) for image in images[::-1]]) == self.evaluate(images)

  def test_stretching_the_frame_changes_nothing(self):
    def stretch(image):
      scale = np.array([2.0, 0.25, 2.0, 0.25])  # Powers of two, so that IoUs stay equal.
      return (image[0] * scale, *image[1:3], image[3] * scale, *image[4:])

    images = self.images()
    assert self.evaluate([stretch(image) for image in images]) == self.evaluate(images)

  def test_any_increasing_map_of_the_scores_changes_nothing(self):
    images = self.images()
    mapped = [(*image[:4], image[4] ** 3 - 5.0, image[5]) for image in images]
    assert self.evaluate(mapped) == self.evaluate(images)


def coco_average_precision(images, num_classes):
  """AP at IoU 0.5 per class by pycocotools: the envelope's mean at recalls 0, 0.01, ..., 1."""

  def annotation(box, **fields):
    ymin, xmin, ymax, xmax = (float(value) for value in box)
    area = (xmax - xmin) * (ymax - ymin)
    return {"bbox": [xmin, ymin, xmax - xmin, ymax - ymin], "area": area, "iscrowd": 0} | fields

  truth, found = [], []
  for image_id, (gt_boxes, gt_classes, _, boxes, scores, classes) in enumerate(images):
    for box, cls in zip(gt_boxes, gt_classes, strict=True):
      truth.append(annotation(box, image_id=image_id, category_id=int(cls), id=len(truth) + 1))
    for box, score, cls in zip(boxes, scores, classes, strict=True):
      found.append(annotation(box, image_id=image_id, category_id=int(cls), score=float(score)))
  with contextlib.redirect_stdout(io.StringIO()):
    dataset = pycoco.COCO()
    dataset.dataset = {
      "info": {},
      "images": [{"id": image_id} for image_id in range(len(images))],
      "categories": [{"id": cls, "name": str(cls)} for cls in range(1, num_classes)],
      "annotations": truth,
    }
    dataset.createIndex()
    evaluation = cocoeval.COCOeval(dataset, dataset.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
  # [IoU thresholds, recall levels, classes, area ranges, detection limits]
  return evaluation.eval["precision"][0, :, :, 0, -1].mean(axis=0)


@pytest.mark.parametrize("seed", range(3))
def test_area_rule_agrees_with_pycocotools(seed):
  # The tools match differently where a detection overlaps two objects, so objects stand apart,
  # one in each cell of a grid. The envelope falls from at most 1 to at least 0, and a mean over
  # levels 0.01 apart is then within 0.01 of the area.
  rng = np.random.default_rng(seed)
  names = ["cat", "dog"]
  evaluator = voc_evaluator.VOCEvaluator(names)
  images = []
  for _ in range(20):
    cells = rng.permutation(9)[: rng.integers(0, 9)]
    corner = np.stack([cells // 3, cells % 3], axis=1) * 50.0 + rng.uniform(0, 10, (len(cells), 2))
    gt_boxes = np.concatenate([corner, corner + rng.uniform(15, 30, (len(cells), 2))], axis=1)
    gt_classes = rng.integers(1, 3, len(cells))
    # Up to three detections per object: jittered, so both matches and misses, with duplicates.
    rows = np.repeat(np.arange(len(cells)), rng.integers(0, 4, len(cells)))
    boxes = gt_boxes[rows] + rng.normal(0, 4.0, (len(rows), 4))
    scores = rng.uniform(0, 1, len(rows))
    classes = np.where(rng.uniform(size=len(rows)) < 0.8, gt_classes[rows], 3 - gt_classes[rows])
    images.append((gt_boxes, gt_classes, None, boxes, scores, classes))
    evaluator.update(*images[-1])
  expected = coco_average_precision(images, 3)
  result = evaluator.result()
  actual = [result[f"voc/AP50_area/{name}"] for name in names]
  assert min(actual) > 0.2 and max(actual) < 0.9  # The case has hits and misses.
  np.testing.assert_allclose(actual, expected, atol=0.01)


def published_sample_evaluator():
  evaluator = voc_evaluator.VOCEvaluator(
    ["person"], published_sample.IOU_THRESHOLD, inclusive_pixels=True
  )
  for objects, found in published_sample.IMAGES:
    boxes = [
      np.array([(top, left, top + height, left + width) for left, top, width, height in rows])
      for rows in (objects, [row[1:] for row in found])
    ]
    scores = np.array([row[0] for row in found])
    classes = [np.ones(len(rows), int) for rows in boxes]
    evaluator.update(boxes[0], classes[0], None, boxes[1], scores, classes[1])
  return evaluator


class TestPublishedSample:
  def test_average_precision(self):
    result = published_sample_evaluator().result()
    assert round(100 * result["voc/mAP30_area"], 2) == published_sample.AREA
    assert round(100 * result["voc/mAP30_11point"], 2) == published_sample.ELEVEN_POINT

  def test_curve(self):
    recall, precision, scores = published_sample_evaluator().curves()["person"].T
    np.testing.assert_allclose(recall, published_sample.RECALL, atol=0.005001)
    np.testing.assert_allclose(precision, published_sample.PRECISION, atol=0.005001)
    assert scores.tolist() == sorted(scores, reverse=True)
    assert scores[0] == 0.95 and scores[-1] == 0.14


class TestCurves:
  def test_points(self):
    # cat: a hit at .9, a duplicate at .8, one on a difficult object, a hit at .6; 3 objects.
    curves = worked_example().curves()
    np.testing.assert_allclose(
      curves["cat"], [[1 / 3, 1.0, 0.9], [1 / 3, 0.5, 0.8], [2 / 3, 2 / 3, 0.6]], rtol=1e-6
    )
    assert curves["dog"].shape == (0, 3)
    np.testing.assert_allclose(curves["owl"], [[np.nan, 0.0, 0.5]])


def test_inclusive_pixels_decide_and_are_reported():
  # 6 of 10 columns against 7 of 11 with inclusive pixels: IoU 0.6 and 0.636.
  for inclusive, expected in ((False, 0.0), (True, 1.0)):
    evaluator = voc_evaluator.VOCEvaluator(["cat"], 0.62, inclusive_pixels=inclusive)
    add(evaluator, [(A, 1, False)], [([0, 0, 10, 6], 0.9, 1)])
    assert evaluator.result()["voc/mAP62_area"] == expected
    assert ("inclusive pixels" in voc_evaluator.class_table(evaluator)) == inclusive
