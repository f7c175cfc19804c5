"""Tests of verification.py: differences worked by hand, and a tiny export and checkpoints."""

import dataclasses

import numpy as np
import pytest

from mtl_ssl_tf.serving import export_lib, verification

BOXES = np.array([[0.0, 0.0, 10.0, 20.0], [5.0, 5.0, 30.0, 40.0], [50.0, 50.0, 60.0, 60.0]])
SCORES, CLASSES = np.array([0.9, 0.8, 0.1]), np.array([1, 2, 1])


def _differences(boxes=BOXES, scores=SCORES, classes=CLASSES):
  return verification.largest_differences((BOXES, SCORES, CLASSES), (boxes, scores, classes), 100.0)


class TestLargestDifferences:
  def test_the_same_in_another_order(self):
    assert _differences() == (0.0, 0.0, 0.0)
    assert _differences(BOXES[::-1], SCORES[::-1], CLASSES[::-1]) == (0.0, 0.0, 0.0)

  def test_a_coordinate_and_a_score(self):
    boxes, scores = BOXES.copy(), SCORES.copy()
    boxes[1, 2] += 0.5
    scores[2] -= 0.03
    np.testing.assert_allclose(_differences(boxes, scores), (0.5, 0.005, 0.03))

  def test_another_class(self):
    assert _differences(classes=np.array([1, 3, 1])) == (np.inf, np.inf, np.inf)

  def test_one_missing_and_one_too_many(self):
    # The nearest of class 1 to the box that is missing is 50 px away.
    assert _differences(BOXES[:2], SCORES[:2], CLASSES[:2])[0] == 50.0
    found = (
      np.concatenate([BOXES, BOXES[:1] + 7.0]),
      np.append(SCORES, 0.9),
      np.append(CLASSES, 1),
    )
    assert _differences(*found)[0] == 7.0

  def test_none_at_all(self):
    none = (np.zeros([0, 4]), np.zeros(0), np.zeros(0, int))
    some = (BOXES, SCORES, CLASSES)
    assert verification.largest_differences(none, none, 1.0) == (0.0, 0.0, 0.0)
    for pair in ((none, some), (some, none)):
      assert verification.largest_differences(*pair, 1.0) == (np.inf, np.inf, np.inf)


class TestReport:
  SOUND = verification.Comparison(20, 1e-3, 1e-5, 1e-6, 0, "mAP", 0.5, 0.5)

  def test_agrees(self):
    assert self.SOUND.agrees
    assert dataclasses.replace(self.SOUND, checkpoint_map=np.nan, export_map=np.nan).agrees
    assert str(self.SOUND) == (
      "export and checkpoint on 20 images: largest difference 0.001 px, score 1e-06; mAP 0.5000"
      " and 0.5000"
    )

  @pytest.mark.parametrize(
    "change",
    [{"box_fraction": 2e-4}, {"score": 2e-4}, {"num_other_counts": 1}, {"export_map": 0.498}],
  )
  def test_differs(self, change):
    assert not dataclasses.replace(self.SOUND, **change).agrees


def test_has_records(tiny_run):
  data = export_lib.read_run(str(tiny_run)).task.validation_data
  assert verification.has_records(data)
  data.input_path += "gone"
  assert not verification.has_records(data)


@pytest.mark.slow
def test_an_export_of_other_weights_differs(tiny_run, tiny_export):
  run = export_lib.read_run(str(tiny_run), str(tiny_run))  # Not the best, which was exported.
  report = verification.verify(
    export_lib.build_model(run),
    str(tiny_export[0]),
    run.task,
    run.class_names,
    num_images=2,
  )
  assert report.num_images == 2
  assert not report.agrees
  assert report.score > 0.01
