"""Smallest scores of each class that an export is used with by default.

`mtl_ssl_tf.report` measures them and writes them as JSON; `export.py --default_thresholds` puts
them into the export, in `assets.extra`, where no server reads them: the signatures return every
detection as ever. `mtl_ssl_tf.load` and `mtl_ssl_tf.predict` take them from there.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_ssl_tf.data import faults
from mtl_ssl_tf.reading import json_text, quoting, regular_files
from mtl_ssl_tf.serving import export_paths

FILE = "score_thresholds.json"
FIELD = "score_thresholds"


def as_json(thresholds: Mapping[str, float], **about: Any) -> str:
  """Returns the content of a file: thresholds by class, and whatever says where they come from."""
  return json.dumps({FIELD: dict(thresholds), **about}, indent=2) + "\n"


def read(path: str | os.PathLike[str], class_names: Sequence[str]) -> dict[str, float]:
  """Returns the thresholds in a file by class, in the order of the classes.

  Args:
    path: of the file.
    class_names: each has one.

  Raises:
    ValueError: the file cannot be read, lacks a class, has another, or a number is not in 0 to 1.
  """
  content = read_all(path)
  found = content[FIELD]
  missing = [name for name in class_names if name not in found]
  others = [name for name in found if name not in class_names]
  if missing or others:
    one = missing[0] if missing else others[0]
    raise ValueError(
      f"{path}: {FIELD} has {'no' if missing else 'a'} class {faults.quote(one)}; accepted: each of"
      f" {faults.listing(class_names)}"
    )
  for name, value in found.items():
    if not json_text.is_number(value) or not 0.0 <= value <= 1.0:
      shown = quoting.one_line(json.dumps(value))
      raise ValueError(f"{path}: {FIELD}: {faults.quote(name)} is {shown}; accepted: 0 to 1")
  return {name: float(found[name]) for name in class_names}


def read_all(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns all that a file holds.

  Raises:
    ValueError: the file cannot be read, has no thresholds, or a step that is no number.
  """
  accepted = f"accepted: JSON with {FIELD}, as mtl-ssl report writes it"
  try:
    content = json_text.loads(regular_files.read_bytes(path))
  except OSError as error:
    raise ValueError(f"{path}: cannot be read ({error.strerror}); {accepted}") from error
  except ValueError as error:
    raise ValueError(f"{path}: no JSON ({error}); {accepted}") from error
  if not isinstance(content, dict) or not isinstance(content.get(FIELD), dict):
    raise ValueError(f"{path}: no {FIELD}; {accepted}")
  json_text.check(content, {"step?": (int, None)}, path)
  return content


def of_export(folder: str, class_names: Sequence[str]) -> dict[str, float] | None:
  """Returns the thresholds in an export; None where it has none.

  Raises:
    ValueError: as `read`.
  """
  path = os.path.join(folder, export_paths.EXTRA_FOLDER, FILE)
  return read(path, class_names) if os.path.exists(path) else None


def in_order(thresholds: Mapping[str, float], class_names: Sequence[str]) -> np.ndarray:
  """Returns the thresholds as float64 [C], class 1 first, for `passes`."""
  return np.array([thresholds[name] for name in class_names])


def passes(scores: np.ndarray, class_ids: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
  """Returns bool [n]: whether detections score enough.

  Args:
    scores: float [n].
    class_ids: int [n], from 1.
    threshold: for all classes, or float [C], of each.
  """
  return scores >= (threshold[class_ids - 1] if isinstance(threshold, np.ndarray) else threshold)
