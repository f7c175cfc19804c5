"""Reports an evaluation: a table to read and a file of all its figures."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from mtl_ssl_tf import files, terminal
from mtl_ssl_tf.reading import quoting
from mtl_ssl_tf.training import best_checkpoints, checkpointing, pictures
from mtl_ssl_tf.training import task as task_lib

_LOGGER = logging.getLogger(__name__)


def report(
  task: task_lib.TrainableTask,
  model_dir: str,
  best_by: str,
  best: best_checkpoints.BestCheckpoints | None,
  figures: dict[str, Any],
  step: int,
  is_averaged: bool = False,
  changed: Mapping[str, Any] | None = None,
) -> str:
  """Returns the table of an evaluation, and leaves all its figures in a file.

  Args:
    task: that evaluated.
    model_dir: folder that takes the file `evaluation-STEP.json`.
    best_by: name of the figure that ranks checkpoints.
    best: the checkpoints that are kept by it, or None.
    figures: of the evaluation, by name.
    step: that was evaluated.
    is_averaged: whether averaged weights were evaluated.
    changed: settings that are not the run's, by field. With any, the file has a name of its own,
      so that the run's figures stay, and holds these settings too.

  Raises:
    RunError: the file cannot be written.
  """
  figures = {name: float(value) for name, value in figures.items()}
  path = os.path.join(model_dir, file_name(step, changed))
  # NaN, a class without ground truth, is no JSON.
  finite = {name: value if value == value else None for name, value in figures.items()}
  settings = {"changed_settings": dict(changed)} if changed else {}
  with checkpointing.writing(path):
    files.write_text(path, json.dumps({"step": step, **finite, **settings}, indent=2))
  lines = task.describe_evaluation(figures)
  if changed:
    told = "; ".join(f"{field} {quoting.shown(value)}" for field, value in changed.items())
    lines.append(f"settings that are not the run's: {told}; figures in {path}")
  if is_averaged:
    lines.append("evaluated: the averaged weights")
  highest = figures.get(f"best_{best_by}")
  lines.append(
    f"{best_by} {figures[best_by]:.4f}" + ("" if highest is None else f" (best {highest:.4f})")
  )
  if best is not None:
    kept = [f"step {one.step} {one.figure:.4f}" for one in best.kept]
    lines.append(f"best checkpoints: {', '.join(kept) or 'none'}")
  for text in task.evaluation_warnings(figures):
    _LOGGER.warning("step %d: %s", step, text)
  return "\n".join(lines)


def leave_table(table: task_lib.ClosingTable, model_dir: str, step: int) -> None:
  """Prints the table that a training ends with, and leaves it as a file and for TensorBoard.

  Args:
    table: of the task.
    model_dir: folder that takes the file `NAME.json`.
    step: that the run ended at.

  Raises:
    RunError: the file cannot be written.
  """
  for line in table.lines:
    terminal.show(line)
  path = os.path.join(model_dir, f"{table.name}.json")
  with checkpointing.writing(path):
    files.write_text(path, json.dumps({"step": step, **table.content}, indent=2) + "\n")
  pictures.write_text(table.name, table.markdown, model_dir, step)


def file_name(step: int, changed: Mapping[str, Any] | None = None) -> str:
  """Returns the name of the file with an evaluation's figures; see `report`."""
  if not changed:
    return f"evaluation-{step}.json"
  text = json.dumps(dict(changed), sort_keys=True, default=str)
  return f"evaluation-{step}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
