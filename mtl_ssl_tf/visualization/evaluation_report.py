"""An evaluation's figures, curves, errors and confusions as JSON, CSV and pictures in a folder."""

import csv
import io
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtl_ssl_tf import files, texts
from mtl_ssl_tf.visualization import evaluation_plots

FIGURES_FILE = "figures.json"
IGNORING_FILE = "figures_ignoring_probably_missing.json"
CURVES_FILE = "precision_recall.csv"
CURVES_PICTURE = "precision_recall.png"
ERRORS_FILE = "errors.json"
ERRORS_PICTURE = "errors.png"
CONFUSION_FILE = "confusion_matrix.json"
CONFUSION_PICTURE = "confusion_matrix.png"


def file_names(with_errors: bool) -> list[str]:
  """The names of the files that `write_report` writes."""
  errors = [ERRORS_FILE, ERRORS_PICTURE, CONFUSION_FILE, CONFUSION_PICTURE]
  return [FIGURES_FILE, CURVES_FILE, CURVES_PICTURE, *(errors if with_errors else ())]


def write_figures(
  output_dir: str | os.PathLike[str], figures: Mapping[str, float], name: str = FIGURES_FILE
) -> None:
  """Writes figures by name as a JSON file; NaN becomes null.

  Raises:
    OSError: it cannot be written.
  """
  _write_json(pathlib.Path(output_dir) / name, dict(figures))


def write_report(
  output_dir: str | os.PathLike[str], figures: Mapping[str, float], details: Mapping[str, Any]
) -> list[str]:
  """Writes the files of one evaluation.

  Args:
    output_dir: where they go; made if it is not there.
    figures: by name; NaN becomes null.
    details: what `DetectionMetrics.details` returns.

  Returns:
    The names of the files.

  Raises:
    OSError: a file cannot be written.
  """
  folder = pathlib.Path(output_dir)
  folder.mkdir(parents=True, exist_ok=True)
  write_figures(folder, figures)
  with files.writing(folder / CURVES_FILE) as binary:
    file = io.TextIOWrapper(binary, encoding="utf-8", newline="")
    writer = csv.writer(file)
    writer.writerow(["class", "recall", "precision", "score"])
    for name, points in details["curves"].items():
      writer.writerows([texts.cell(name), *point] for point in points.tolist())
    file.flush()
    file.detach()
  evaluation_plots.plot_precision_recall(
    details["curves"], details["average_precision"], folder / CURVES_PICTURE
  )
  if "confusion" in details:
    names = details["class_names"]
    overlap = {key: details[key] for key in ("iou_threshold", "score_threshold")}
    by_class = {
      what: {
        kind: dict(zip(names, values.tolist(), strict=True))
        for kind, values in details[f"class_{what}"].items()
      }
      for what in ("costs", "counts")
    }
    _write_json(
      folder / ERRORS_FILE,
      {**overlap, "costs": details["costs"], "by_class": by_class},
    )
    evaluation_plots.plot_errors(
      details["costs"], details["class_costs"], names, folder / ERRORS_PICTURE
    )
    write_confusion(folder, details)
  return file_names("confusion" in details)


def write_confusion(output_dir: str | os.PathLike[str], details: Mapping[str, Any]) -> list[str]:
  """Writes a confusion matrix as JSON and as a picture.

  Args:
    output_dir: where they go, a folder.
    details: what `DetectionMetrics.confusion` returns.

  Returns:
    The names of the files, the picture last.

  Raises:
    OSError: a file cannot be written.
  """
  folder = pathlib.Path(output_dir)
  counts, names = details["confusion"], details["class_names"]
  _write_json(
    folder / CONFUSION_FILE,
    {
      "iou_threshold": details["iou_threshold"],
      "score_threshold": details["score_threshold"],
      "rows_true_columns_detected": ["background", *names],
      "counts": counts.tolist(),
    },
  )
  title = (
    f"score {details['score_threshold']:g} and more, IoU {details['iou_threshold']:g} and more"
  )
  evaluation_plots.plot_confusion(counts, names, title, folder / CONFUSION_PICTURE)
  return [CONFUSION_FILE, CONFUSION_PICTURE]


def _write_json(path: pathlib.Path, content: Any) -> None:
  files.write_text(path, json.dumps(_without_nan(content), indent=2) + "\n")


def _without_nan(content: Any) -> Any:
  """The same with None for NaN, which is no JSON."""
  if isinstance(content, Mapping):
    return {name: _without_nan(value) for name, value in content.items()}
  if isinstance(content, list):
    return [_without_nan(value) for value in content]
  if isinstance(content, float | np.floating):
    return None if math.isnan(content) else float(content)
  return content
