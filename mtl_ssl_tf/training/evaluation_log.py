"""Reports an evaluation: a table to read and a file of all its figures."""

import json
import logging
import os
from typing import Any

from mtl_ssl_tf import files
from mtl_ssl_tf.training import best_checkpoints, checkpointing
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

  Raises:
    RunError: the file cannot be written.
  """
  figures = {name: float(value) for name, value in figures.items()}
  path = os.path.join(model_dir, f"evaluation-{step}.json")
  # NaN, a class without ground truth, is no JSON.
  finite = {name: value if value == value else None for name, value in figures.items()}
  with checkpointing.writing(path):
    files.write_text(path, json.dumps({"step": step, **finite}, indent=2))
  lines = task.describe_evaluation(figures)
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
