"""Writes and reads the folder that repeats a step with a loss or gradient that was not finite.

It holds the weights from before the step, the batch, the configuration, the files that the task
needs, and a report.
"""

import io
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from official.core import config_definitions as cfg
from official.core import train_utils

from mtl_ssl_tf import files
from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.training import averaged_weights, nonfinite, run_folder
from mtl_ssl_tf.training import task as task_lib

WEIGHTS, BATCH_FILE, REPORT_FILE = "weights", "batch.npz", "report.json"


def save(folder: str, trainer: Any, inputs: Any, numbers: dict[str, int], text: str) -> None:
  """Writes the folder.

  Args:
    folder: to be made.
    trainer: a `TaskTrainer` with the weights from before the step.
    inputs: the batch, whole: tuples and mappings of tensors.
    numbers: of step and batch, for the report.
    text: the report.
  """
  tf.io.gfile.makedirs(folder)
  trainer.checkpoint.write(os.path.join(folder, WEIGHTS))
  content = io.BytesIO()  # Files of TensorFlow cannot be written here and there.
  np.savez(content, **{path: np.asarray(value) for path, value in _flatten(inputs)})
  with tf.io.gfile.GFile(os.path.join(folder, BATCH_FILE), "wb") as file:
    file.write(content.getvalue())
  train_utils.serialize_config(trainer.config, folder)
  run_folder.copy_files(trainer.config.task, folder)
  report = {**numbers, "report": text.split("\n")}
  files.write_text(os.path.join(folder, REPORT_FILE), json.dumps(report, indent=2))


def repeat(params: cfg.ExperimentConfig, folder: str) -> tuple[dict[str, float], dict[str, int]]:
  """Losses by name, and the number of gradients' entries that are not finite by variable.

  Args:
    params: of the run, its files those in the folder.
    folder: as `save` wrote it.

  Raises:
    ValueError: a file of it is missing or cannot be read.
  """
  weights = os.path.join(folder, WEIGHTS)
  found = run_checkpoints.fault(weights)
  if found is not None:
    raise ValueError(f"{weights} cannot be read ({found})")
  path = os.path.join(folder, BATCH_FILE)
  try:
    with np.load(path) as arrays:
      inputs = _unflatten({name: tf.constant(arrays[name]) for name in arrays.files})
  except (OSError, ValueError, KeyError) as error:
    raise ValueError(f"{path} cannot be read ({error})") from error
  task = task_lib.class_of(params.task).for_run(params.task, params.runtime)
  model = task.build_model()
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  averages = averaged_weights.create(
    params.trainer.optimizer_config.ema, model
  )  # Read for nothing but what they were put in the place of.
  checkpoint = averaged_weights.Checkpoint(averages, model=model, optimizer=optimizer)
  checkpoint.read(weights).expect_partial()
  return nonfinite.take_apart(task, model, optimizer, inputs, jit_compile=params.runtime.enable_xla)


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
  """The tensors of a batch by their path: `0` and `1/gt_classes` of (images, {"gt_classes": …})."""
  if isinstance(value, tuple | list):
    value = {str(place): part for place, part in enumerate(value)}
  if isinstance(value, dict):
    for name, part in value.items():
      yield from _flatten(part, f"{path}/{name}" if path else name)
  else:
    yield path, value


def _unflatten(values: dict[str, Any]) -> Any:
  """Undoes `_flatten`; a mapping with the keys 0, 1, … becomes a tuple.

  Raises:
    KeyError: the keys are not those of a batch.
  """
  if set(values) == {""}:
    return values[""]
  parts: dict[str, dict[str, Any]] = {}
  for path, value in values.items():
    name, _, rest = path.partition("/")
    parts.setdefault(name, {})[rest] = value
  if all(name.isdecimal() for name in parts):
    return tuple(_unflatten(parts[str(place)]) for place in range(len(parts)))
  return {name: _unflatten(part) for name, part in parts.items()}
