"""One image, by hand."""

import numpy as np
import pytest

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data.ground_truth import detection_files
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import error_analysis
from mtl_ssl_tf.reporting import judged

V = error_analysis.Verdict


@pytest.fixture(name="image")
def _image():
  # Three cats in a column, of which the last is difficult, and a dog below.
  boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]
  truth = ground_truth.ImageTruth(
    "a",
    "a.jpg",
    (100, 100),
    ground_truth.Boxes.from_corners(boxes),
    np.array([1, 1, 1, 2]),
    np.array([False, False, True, False]),
    np.zeros(4, bool),
    np.full(4, 100.0),
  )
  # The first cat twice, the difficult one, a dog on the second cat, and nothing.
  found = detection_files.Detections(
    ground_truth.Boxes.from_corners([boxes[0], boxes[0], boxes[2], boxes[1], [80, 80, 90, 90]]),
    np.array([0.6, 0.9, 0.8, 0.7, 0.3]),
    np.array([1, 1, 1, 2, 2]),
  )
  of_all = ground_truth.GroundTruth("made up", ("cat", "dog"), (1, 2), (truth,))
  (image,) = judged.judge(of_all, [found], data_config.Evaluation())
  return image


def test_verdicts(image):
  assert image.verdicts.tolist() == [
    V.REDUNDANCY,
    V.MATCH,
    V.IGNORED,
    V.CLASSIFICATION,
    V.BACKGROUND,
  ]
  np.testing.assert_array_equal(image.object_scores, [0.9, np.nan, np.nan, np.nan])
  assert image.missed.tolist() == [False, True, False, True]
  assert (image.num_found, image.num_wrong, image.num_errors) == (1, 3, 5)
  assert image.f1 == pytest.approx(2 / 7)


def test_thresholds_are_by_class(image):
  fewer = image.from_scores_on(np.array([0.65, 0.5]))
  assert fewer.scores.tolist() == [0.9, 0.8, 0.7]
  assert (fewer.num_found, fewer.num_wrong, fewer.num_errors) == (1, 1, 3)
  none = image.from_scores_on(np.array([1.0, 1.0]))
  assert (none.num_found, none.num_errors, none.f1) == (0, 3, 0.0)
