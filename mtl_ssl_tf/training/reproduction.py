"""Writes and reads the folder that repeats a step with a loss or gradient that was not finite.

It holds the weights from before the step, the batch, the configuration, the files that the task
needs, and a report.
"""

import io
import json
import math
import os
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf
from official.core import config_definitions as cfg
from official.core import train_utils

from mtl_ssl_tf import files
from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.reading import quoting, regular_files
from mtl_ssl_tf.training import averaged_weights, nonfinite, run_folder
from mtl_ssl_tf.training import task as task_lib

WEIGHTS, BATCH_FILE, REPORT_FILE = "weights", "batch.npz", "report.json"
_ACCEPTED = "accepted: the folder as the run left it"
_MAX_LEVELS = 8  # Of mappings in a batch; ours has two.


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
    ValueError: a file of it is missing, cannot be read, or does not fit the others.
  """
  weights, path = os.path.join(folder, WEIGHTS), os.path.join(folder, BATCH_FILE)
  found = run_checkpoints.fault(weights)
  if found is not None:
    raise ValueError(f"{weights} cannot be read ({found}); {_ACCEPTED}")
  inputs = _read_batch(path)
  task = task_lib.class_of(params.task).for_run(params.task, params.runtime)
  model = task.build_model()
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  averages = averaged_weights.create(
    params.trainer.optimizer_config.ema, model
  )  # Read for nothing but what they were put in the place of.
  checkpoint = averaged_weights.Checkpoint(averages, model=model, optimizer=optimizer)
  try:
    checkpoint.read(weights).expect_partial()
  except Exception as error:  # Of weights that are others, TensorFlow may raise nearly anything.
    raise ValueError(
      f"{weights} does not fit {run_folder.PARAMS_FILE} ({quoting.one_line(str(error))});"
      f" {_ACCEPTED}"
    ) from error
  try:
    return nonfinite.take_apart(
      task, model, optimizer, inputs, jit_compile=params.runtime.enable_xla
    )
  except Exception as error:  # So may the step with tensors that are none of a batch.
    raise ValueError(
      f"{path} is no batch that the step can be taken with ({quoting.one_line(str(error))});"
      f" {_ACCEPTED}"
    ) from error


def _read_batch(path: str) -> Any:
  """The batch in a file of a folder that may come from anybody.

  Raises:
    ValueError: it cannot be read.
  """
  try:
    if regular_files.is_remote(path):
      content = tf.io.gfile.GFile(path, "rb").read()
      return _unflatten(_arrays(io.BytesIO(content), len(content)))
    with regular_files.open_file(path) as file:
      return _unflatten(_arrays(file, os.fstat(file.fileno()).st_size))
  except Exception as error:  # Reading damaged bytes may raise nearly anything.
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    raise ValueError(f"{path} cannot be read ({quoting.one_line(reason)}); {_ACCEPTED}") from error


def _arrays(file: BinaryIO, num_bytes: int) -> dict[str, tf.Tensor]:
  """The tensors of a batch by their path, as `numpy.savez` wrote them.

  They take no more memory than the file does: it is not compressed, and each array has the size of
  its shape.

  Raises:
    Exception: of nearly any type; it is another file.
  """
  found = {}
  with zipfile.ZipFile(file) as archive:
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
      raise ValueError("it is compressed")
    if sum(member.file_size for member in members) > num_bytes:
      raise ValueError("its arrays are larger than the file")
    for member in members:
      with archive.open(member) as content:
        _check_size(content, member)
      with archive.open(member) as content:
        array = np.lib.format.read_array(content, allow_pickle=False)
      name = member.filename.removesuffix(".npy")
      if name.count("/") >= _MAX_LEVELS:
        raise ValueError(f"{name.count('/') + 1} levels; at most {_MAX_LEVELS}")
      found[name] = tf.constant(array)
  return found


def _check_size(content: BinaryIO, member: zipfile.ZipInfo) -> None:
  """Refuses an array whose shape asks for other memory than its values take.

  Raises:
    ValueError: naming the array.
  """
  version = np.lib.format.read_magic(content)
  read_header = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }[version]
  shape, _, dtype = read_header(content)
  expected = math.prod(shape) * dtype.itemsize
  if dtype.hasobject or expected != member.file_size - content.tell():
    raise ValueError(f"{member.filename}: shape {shape} and type {dtype} of other values")


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
