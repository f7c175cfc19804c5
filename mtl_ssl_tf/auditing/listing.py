"""The list of an audit as JSON and CSV, and reading it and decisions about it back."""

import csv
import io
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_ssl_tf import texts
from mtl_ssl_tf.auditing import candidates as candidates_lib
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.reading import json_text, quoting

ACCEPT, REJECT = "accept", "reject"
_BOX = ([float], None)
_ROW = {
  "id": str,
  "image_id": str,
  "file_name": str,
  "kind": str,
  "probability": float,
  **dict.fromkeys(candidates_lib.KINDS, float),
  "score": (float, None),
  "overlap": (float, None),
  "class": (str, None),
  "bbox": _BOX,
  "given_class": (str, None),
  "given_bbox": _BOX,
  "given_object": (int, None),
}
_LIST = {"annotations": str, "candidates": [_ROW]}
_DECISIONS = {"annotations": str, "decisions": {str: str}}
_DIGITS = 2
_SIDES = ("left", "top", "width", "height")

Row = Mapping[str, Any]


def rows(
  truth: ground_truth.GroundTruth, found: Sequence[candidates_lib.Candidate]
) -> list[dict[str, Any]]:
  """Returns candidates by the names of their columns.

  Args:
    truth: the annotations.
    found: candidates of its images.

  Returns:
    The entries of `candidates` in the JSON file: boxes are left, top, width and height in pixels,
    what there is not is None.
  """
  result = []
  for one in found:
    image = truth.images[one.image]
    result.append(
      {
        "id": one.identifier(image.image_id),
        "image_id": image.image_id,
        "file_name": image.file_name,
        "kind": one.kind,
        "probability": _rounded(one.probability),
        **{kind: _rounded(one.probabilities[kind]) for kind in candidates_lib.KINDS},
        "score": _rounded(one.score),
        "overlap": _rounded(one.overlap),
        "class": _name(truth, one.proposed_class),
        "bbox": _box(one.proposed_box),
        "given_class": _name(truth, one.given_class),
        "given_bbox": _box(one.given_box),
        "given_object": None if one.given_object < 0 else one.given_object,
      }
    )
  return result


def _rounded(value: float) -> float | None:
  return None if math.isnan(value) else float(f"{value:.4g}")


def _name(truth: ground_truth.GroundTruth, number: int) -> str | None:
  return truth.class_names[number - 1] if number else None


def _box(box: Any) -> list[float] | None:
  return None if box is None else [round(float(side), _DIGITS) for side in box]


def as_json(about: Mapping[str, Any], fingerprint: str, listed: Sequence[Row]) -> str:
  """Returns the JSON file.

  Args:
    about: how the list was made.
    fingerprint: of the annotations.
    listed: rows.
  """
  content = {"about": about, "annotations": fingerprint, "candidates": list(listed)}
  return json.dumps(content, indent=1) + "\n"


def as_csv(listed: Sequence[Row]) -> str:
  """Returns the CSV file, whose cells no spreadsheet takes for formulas."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  names = [name for name in _ROW if name not in ("bbox", "given_bbox")]
  sides = [f"{kind}{side}" for kind in ("", "given_") for side in _SIDES]
  writer.writerow([*names, *sides])
  for row in listed:
    boxes = [row[name] or [None] * len(_SIDES) for name in ("bbox", "given_bbox")]
    cells = [*(row[name] for name in names), *boxes[0], *boxes[1]]
    writer.writerow([texts.cell(cell) for cell in cells])
  # Names of files need not be UTF-8.
  return text.getvalue().encode(errors="backslashreplace").decode()


def read(path: pathlib.Path, fingerprint: str) -> list[Row]:
  """Returns the rows of an audit's JSON file.

  Args:
    path: of the file.
    fingerprint: of the annotations.

  Raises:
    ValueError: the file is missing, is none, or of other annotations.
    OSError: it cannot be read.
  """
  if not path.is_file():
    raise ValueError(f"--output_dir: {str(path)!r} is missing; accepted: the folder of an audit")
  content = _read(path)
  _check_annotations(content, path, fingerprint)
  return content["candidates"]


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
  """Returns the rows of an audit's JSON file, whatever annotations it is about.

  Raises:
    ValueError: the file is none.
    OSError: it cannot be read.
  """
  return _read(path)["candidates"]


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
  content = json_text.read(path, json_text.MAX_DATA_BYTES)
  json_text.check(content, _LIST, path)
  for row in content["candidates"]:
    for name in ("bbox", "given_bbox"):
      if row[name] is not None and (len(row[name]) != len(_SIDES) or min(row[name][2:]) < 0):
        raise ValueError(
          f"{os.fspath(path)}: candidate {quoting.one_line(row['id'])}: {name} is"
          f" {quoting.shown(row[name])}; accepted: four numbers: {', '.join(_SIDES)}"
        )
  return content


def read_accepted(path: str, listed: Sequence[Row], fingerprint: str) -> list[Row]:
  """Returns the rows that a file of decisions accepts.

  Args:
    path: of the file, as the page saves it.
    listed: rows of the audit.
    fingerprint: of the annotations.

  Raises:
    ValueError: the file is none, is of another audit, or a decision is neither of the two.
    OSError: it cannot be read.
  """
  content = json_text.read(path, json_text.MAX_DATA_BYTES)
  json_text.check(content, _DECISIONS, path)
  _check_annotations(content, path, fingerprint)
  by_id = {row["id"]: row for row in listed}
  accepted = []
  for name, decision in content["decisions"].items():
    if decision not in (ACCEPT, REJECT):
      raise ValueError(
        f"{path}: decisions: {quoting.one_line(name)} is {quoting.shown(decision)}; accepted:"
        f" {ACCEPT} or {REJECT}"
      )
    if name not in by_id:
      raise ValueError(
        f"{path}: decisions: {quoting.shown(name)} is no candidate of the audit in --output_dir;"
        " accepted: decisions that its page saved"
      )
    if decision == ACCEPT:
      accepted.append(by_id[name])
  return accepted


def _check_annotations(content: Mapping[str, Any], path: Any, fingerprint: str) -> None:
  if content["annotations"] != fingerprint:
    raise ValueError(
      f"{path}: annotations is {quoting.shown(content['annotations'])}, those of --data are"
      f" {fingerprint!r}; accepted: a file about the same annotations"
    )
