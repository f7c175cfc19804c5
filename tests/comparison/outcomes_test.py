"""Hits and misses by image: any weighting gives what the evaluator gives for copied images."""

import dataclasses
import json

import numpy as np
import pytest

from mtl_ssl_tf.comparison import outcomes
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import voc_evaluator

NAMES = ("cat", "dog", "owl")


def image_truth(rng, name, count):
  corners = np.sort(rng.integers(0, 60, [count, 2, 2]), axis=1)  # [N, 2, 2]: two corners.
  corners = np.concatenate([corners[:, 0], corners[:, 1] + 8], axis=1).astype(float)
  boxes = ground_truth.Boxes.from_corners(corners)
  return ground_truth.ImageTruth(
    image_id=name,
    file_name=f"{name}.jpg",
    size=(100, 100),
    boxes=boxes,
    classes=rng.integers(1, 3, count),
    difficult=rng.random(count) < 0.2,
    is_crowd=np.zeros(count, bool),
    areas=np.prod(boxes.xywh[:, 2:], axis=1),
  )


def detections(rng, image):
  """The objects moved a little, some of another class, with clutter."""
  moved = image.boxes.corners + rng.normal(0.0, 2.0, image.boxes.corners.shape)
  clutter = image.boxes.corners[::-1] + 15.0
  corners = np.concatenate([moved, clutter])
  classes = np.concatenate([image.classes, rng.integers(1, 4, len(clutter))])
  boxes = ground_truth.Boxes.from_corners(corners)
  return detection_files.Detections(boxes, rng.random(len(classes)), classes)


@pytest.fixture
def evaluation(tmp_path):
  """Files of an evaluation as training writes them, and what they hold."""
  rng = np.random.default_rng(3)
  images = [image_truth(rng, f"{name}", 4) for name in "abcde"]
  truth = ground_truth.GroundTruth("made up", NAMES, (1, 2, 3), tuple(images))
  found = [detections(rng, image) for image in images]
  truth_file = tmp_path / detection_files.COCO_GROUND_TRUTH_FILE
  coco_truth.write_coco(truth, truth_file)
  results = tmp_path / detection_files.COCO_RESULTS_FILE
  ids = truth.coco_image_ids
  detection_files.write_coco_results(results, zip(ids, found, strict=True), (1, 2, 3))
  return results, truth_file, images, found


def evaluated(images, found, copies):
  """mAP by the evaluator, of an image as often as `copies` has it."""
  evaluator = voc_evaluator.VOCEvaluator(NAMES)
  for image, of_image, count in zip(images, found, copies, strict=True):
    for _ in range(count):
      evaluator.update(
        image.boxes.corners,
        image.classes,
        image.difficult,
        of_image.boxes.corners,
        of_image.scores,
        of_image.classes,
      )
  return evaluator.result()["voc/mAP50_area"]


@pytest.mark.parametrize("copies", [(1, 1, 1, 1, 1), (2, 0, 1, 3, 0), (0, 5, 0, 0, 0)])
def test_weights_are_copies(evaluation, copies):
  results, truth_file, images, found = evaluation
  read = outcomes.read(results, truth_file)
  (value,) = outcomes.mean_average_precisions(read, np.array([copies]))
  assert value == pytest.approx(evaluated(images, found, copies))
  assert 0.0 < value < 1.0


def test_weightings_are_apart_and_none_is_nan(evaluation):
  read = outcomes.read(*evaluation[:2])
  both = np.array([[2, 0, 1, 3, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
  together = outcomes.mean_average_precisions(read, both)
  apart = [outcomes.mean_average_precisions(read, row[np.newaxis])[0] for row in both]
  np.testing.assert_array_equal(together, apart)
  assert np.isnan(together[2]) and not np.isnan(together[:2]).any()


def test_weightings_that_do_not_fit_together_are_computed_in_parts(evaluation, monkeypatch):
  read = outcomes.read(*evaluation[:2])
  weights = np.random.default_rng(0).multinomial(5, np.full(5, 0.2), size=7)
  together = outcomes.mean_average_precisions(read, weights)
  monkeypatch.setattr(outcomes, "_MAX_ENTRIES", 3 * len(read.classes))
  parts = outcomes.mean_average_precisions(read, weights)
  np.testing.assert_allclose(parts, together, rtol=1e-12)
  monkeypatch.setattr(outcomes, "_MAX_ENTRIES", 1)
  parts = outcomes.mean_average_precisions(read, weights)
  np.testing.assert_allclose(parts, together, rtol=1e-12)


def test_crowds_are_left_out_as_difficult_objects_are(evaluation):
  results, truth_file, images, found = evaluation
  content = json.loads(truth_file.read_text())
  numbers = [place for place, row in enumerate(content["annotations"]) if not row["ignore"]][:6]
  for number in numbers:
    content["annotations"][number]["iscrowd"] = 1
  truth_file.write_text(json.dumps(content))
  first = 0
  for place, image in enumerate(images):
    crowd = np.isin(np.arange(first, first + len(image.classes)), numbers)
    images[place] = dataclasses.replace(image, difficult=image.difficult | crowd)
    first += len(image.classes)
  read = outcomes.read(results, truth_file)
  (value,) = outcomes.mean_average_precisions(read, np.ones([1, 5], np.int64))
  assert value == pytest.approx(evaluated(images, found, [1] * 5))
