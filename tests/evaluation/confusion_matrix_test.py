"""Confusions worked by hand."""

import numpy as np

from mtl_ssl_tf.evaluation import confusion_matrix

A, B, FAR = [0, 0, 10, 10], [0, 30, 10, 40], [0, 80, 10, 90]
NAMES = ["cat", "dog"]


def confusion(*images, **options):
  """Images of (box, score, class) rows and (box, class, ignored) rows."""
  matrix = confusion_matrix.ConfusionMatrix(NAMES, **options)
  for detections, truth in images:
    matrix.update(
      np.reshape(np.array([row[0] for row in truth], np.float32), (-1, 4)),
      np.array([row[1] for row in truth], np.int32),
      np.array([len(row) > 2 for row in truth], bool),
      np.reshape(np.array([row[0] for row in detections], np.float32), (-1, 4)),
      np.array([row[1] for row in detections], np.float32),
      np.array([row[2] for row in detections], np.int32),
    )
  return matrix


def counts(*images, **options):
  """The matrix's cells that are not 0: {(true, detected): count}."""
  matrix = confusion(*images, **options).result()
  return {(int(r), int(c)): int(matrix[r, c]) for r, c in zip(*np.nonzero(matrix), strict=True)}


def test_hits_confusions_and_background():
  detections = [(A, 0.9, 1), (B, 0.8, 2), (FAR, 0.7, 2)]
  assert counts((detections, [(A, 1), (B, 1)])) == {(1, 1): 1, (1, 2): 1, (0, 2): 1}
  assert counts(([], [(A, 1), (B, 2)])) == {(1, 0): 1, (2, 0): 1}
  assert counts(([], [])) == {}


def test_the_right_class_goes_first_whatever_the_score():
  # The dog scores more, yet the cat is found; the dog finds nothing left.
  assert counts(([(A, 0.9, 2), (A, 0.6, 1)], [(A, 1)])) == {(1, 1): 1, (0, 2): 1}


def test_an_object_is_confused_once():
  assert counts(([(A, 0.9, 2), (A, 0.8, 2)], [(A, 1)])) == {(1, 2): 1, (0, 2): 1}


def test_of_several_objects_the_most_overlapped_is_taken():
  # 8 of 12 columns with A, 10 of 10 with the second.
  shifted = [0, 2, 10, 12]
  assert counts(([(shifted, 0.9, 2)], [(A, 1), (shifted, 1)])) == {(1, 2): 1, (1, 0): 1}


def test_difficult_objects_count_nowhere():
  assert counts(([(A, 0.9, 1), (A, 0.8, 1)], [(A, 1, "difficult")])) == {}
  assert counts(([(A, 0.9, 2)], [(A, 1, "difficult")])) == {(0, 2): 1}


def test_score_and_overlap():
  image = ([([0, 0, 10, 6], 0.5, 1), (FAR, 0.49, 1)], [(A, 1)])
  assert counts(image) == {(1, 1): 1}
  assert counts(image, score_threshold=0.4) == {(1, 1): 1, (0, 1): 1}
  assert counts(image, match_iou=0.7) == {(0, 1): 1, (1, 0): 1}
  assert counts(image, score_threshold=0.6) == {(1, 0): 1}


def test_inclusive_pixels():
  # 4 of 10 columns: 0.4; inclusive 5 of 11 columns: 0.4545.
  image = ([([0, 0, 10, 4], 0.9, 1)], [(A, 1)])
  assert counts(image, match_iou=0.45) == {(0, 1): 1, (1, 0): 1}
  assert counts(image, match_iou=0.45, inclusive_pixels=True) == {(1, 1): 1}


def test_images_add_up_and_reset_forgets():
  matrix = confusion(([(A, 0.9, 1)], [(A, 1)]), ([(A, 0.9, 1)], [(A, 1)]))
  assert matrix.result()[1, 1] == 2
  matrix.reset()
  assert not matrix.result().any()


def test_padding_changes_nothing():
  image = ([(A, 0.9, 1), (A, 0.9, -1)], [(A, 1), (FAR, 0)])
  assert counts(image) == {(1, 1): 1}


def test_table():
  lines = confusion(([(A, 0.9, 2), (FAR, 0.9, 1)], [(A, 1), (B, 2)])).table().splitlines()
  assert lines[0].startswith("Confusion matrix at score 0.5 and IoU 0.5")
  assert [line.split() for line in lines[1:2] + lines[3:]] == [
    ["cat", "dog", "background"],
    ["cat", "0", "1", "0"],
    ["dog", "0", "0", "1"],
    ["background", "1", "0", "0"],
  ]
