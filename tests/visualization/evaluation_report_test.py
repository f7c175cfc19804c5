"""Files of an evaluation; their content is tested with the command."""

import csv
import json

import numpy as np

from mtl_ssl_tf.visualization import evaluation_report

DETAILS = {
  "class_names": ["cat"],
  "ap_rule": "area",
  "iou_threshold": 0.5,
  "curves": {"cat": np.array([[0.5, 1.0, 0.75]])},
  "average_precision": {"cat": 0.5},
}
ERRORS = {
  "class_costs": {"background": np.array([np.nan])},
  "costs": {"background": np.float64("nan")},
  "class_counts": {"background": np.array([3])},
  "confusion": np.array([[0, 3], [1, 2]]),
  "score_threshold": 0.25,
}


def test_without_errors(tmp_path):
  folder = tmp_path / "new" / "folder"
  written = evaluation_report.write_report(folder, {"a": 0.5, "b": float("nan")}, DETAILS)
  assert written == ["figures.json", "precision_recall.csv", "precision_recall.png"]
  assert sorted(path.name for path in folder.iterdir()) == sorted(written)
  assert json.loads((folder / "figures.json").read_text()) == {"a": 0.5, "b": None}
  assert (folder / "precision_recall.csv").read_text().split() == [
    "class,recall,precision,score",
    "cat,0.5,1.0,0.75",
  ]


def test_class_names_are_no_formulas(tmp_path):
  names = ["=1+1", "-3", "\tcat"]
  points = np.array([[0.5, 1.0, -0.75]])
  details = DETAILS | {
    "curves": dict.fromkeys(names, points),
    "average_precision": dict.fromkeys(names, 0.5),
  }
  evaluation_report.write_report(tmp_path, {}, details)
  with (tmp_path / "precision_recall.csv").open(newline="") as file:
    rows = list(csv.reader(file))[1:]
  numbers = ["0.5", "1.0", "-0.75"]
  assert rows == [["'=1+1", *numbers], ["-3", *numbers], ["'\tcat", *numbers]]


def test_with_errors(tmp_path):
  written = evaluation_report.write_report(tmp_path, {}, DETAILS | ERRORS)
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)
  assert json.loads((tmp_path / "errors.json").read_text()) == {
    "iou_threshold": 0.5,
    "score_threshold": 0.25,
    "costs": {"background": None},
    "by_class": {"costs": {"background": {"cat": None}}, "counts": {"background": {"cat": 3}}},
  }
  assert json.loads((tmp_path / "confusion_matrix.json").read_text()) == {
    "iou_threshold": 0.5,
    "score_threshold": 0.25,
    "rows_true_columns_detected": ["background", "cat"],
    "counts": [[0, 3], [1, 2]],
  }
