"""Locks the folder of a run, and checks its checkpoints against the configuration."""

import contextlib
import copy
import fcntl
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import tensorflow as tf
from official.core import config_definitions as cfg
from official.core import train_utils

from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.configs import loading
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.reading import quoting
from mtl_ssl_tf.training import task as task_lib

PARAMS_FILE = "params.yaml"
LOCK_FILE = ".lock"
_MAX_OWNER = 200  # Characters of what the lock file says.
_LOGGER = logging.getLogger(__name__)
# Fields of a task that figures of given weights do not depend on. The content of the label map is
# checked by itself.
_NOT_IN_FIGURES = (
  "task.evaluation.auxiliary_costs",
  "task.evaluation.results_dir",
  "task.init_checkpoint",
  "task.init_modules",
  "task.label_map",
  "task.pictures.",
  "task.train_data.",
)
# What the state in a checkpoint depends on, whatever the task.
_FIXED = ("trainer.optimizer_config.optimizer.type",)
# Of averaged weights the trained ones cannot be found without the averages; they can begin late.
_KEPT = ("trainer.optimizer_config.ema.average_decay",)


@contextlib.contextmanager
def locked(model_dir: str) -> Iterator[None]:
  """Keeps another process from training in the same folder.

  The lock is the operating system's and ends with the process, however that ends; the file that
  stays behind means nothing. Remote folders, and file systems without locks, are not locked.

  Raises:
    ValueError: another process has the lock, or the folder cannot be written to.
  """
  if record_index.is_remote(model_dir):
    yield
    return
  path = os.path.join(model_dir, LOCK_FILE)
  with contextlib.ExitStack() as stack:
    try:
      os.makedirs(model_dir, exist_ok=True)
      file = stack.enter_context(_open_lock(path))
    except OSError as error:
      raise ValueError(f"--model_dir {model_dir!r} cannot be written to: {error}") from error
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      owner = quoting.one_line(file.read(_MAX_OWNER)) or "unknown"
      raise ValueError(
        f"--model_dir {model_dir!r} is being trained in by another process ({owner}); accepted: a "
        "folder of its own for each run"
      ) from error
    except OSError as error:
      _LOGGER.warning(f"{path}: this file system has no locks ({error.strerror})")
    else:
      file.truncate(0)
      file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
      file.flush()
    yield


def _open_lock(path: str) -> TextIO:
  """Opens a file that is emptied, and so must not be one of another folder."""
  descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
  return open(descriptor, "r+", encoding="utf-8", errors="replace")


@contextlib.contextmanager
def writing_to(model_dir: str) -> Iterator[None]:
  """Turns TensorFlow's errors into one that names the folder.

  Raises:
    ValueError: the folder cannot be written to.
  """
  try:
    yield
  except (tf.errors.OpError, OSError) as error:
    raise ValueError(
      f"--model_dir {model_dir!r} cannot be written to: {run_checkpoints.reason(error)}"
    ) from error


def describe_run(params: cfg.ExperimentConfig, model_dir: str) -> None:
  """Writes the configuration and the task's files next to the checkpoints."""
  with writing_to(model_dir):
    tf.io.gfile.makedirs(model_dir)
    train_utils.serialize_config(params, model_dir)
    copy_files(params.task, model_dir)


def configuration_text(model_dir: str) -> str:
  """Returns the configuration that `describe_run` left, as YAML."""
  with tf.io.gfile.GFile(os.path.join(model_dir, PARAMS_FILE)) as file:
    return file.read()


def copy_files(config: cfg.TaskConfig, folder: str) -> None:
  """Copies the files into a folder that a checkpoint of the task means nothing without."""
  for name, path in task_lib.class_of(config).files(config).items():
    tf.io.gfile.copy(path, os.path.join(folder, name), overwrite=True)


def find_checkpoint(model_dir: str) -> str | None:
  """Returns the checkpoint that a run resumes from, None for a new run.

  Raises:
    ValueError: there are checkpoints, and none can be used.
  """
  found = run_checkpoints.newest_usable(model_dir)
  if found is None and run_checkpoints.numbered(model_dir):
    raise ValueError(
      f"--model_dir {model_dir!r} holds checkpoints, but none that can be used; accepted: one that "
      "can, or none at all"
    )
  return found


def compare(params: cfg.ExperimentConfig, model_dir: str) -> list[str]:
  """Returns a line for each field that differs from the run so far, for the log.

  Args:
    params: of this start.
    model_dir: folder of a run with checkpoints.

  Raises:
    ValueError: the weights depend on something that has changed.
  """
  changed = _changes(params, model_dir)
  task_class = task_lib.class_of(params.task)
  refused = [
    f"{field} {was!r} -> {now!r}"
    for field, (was, now) in changed.items()
    if _is_fixed(task_class, field, was, now)
  ]
  refused += task_class.check_files(params.task, model_dir)
  if refused:
    raise ValueError(
      f"--model_dir {model_dir!r} belongs to a run that was configured otherwise, and its weights "
      f"depend on that: {'; '.join(refused)}; accepted: the earlier values, or another folder, "
      "which --init can start from these weights"
    )
  return [f"{field} {was!r} -> {now!r}" for field, (was, now) in changed.items()]


def evaluation_changes(params: cfg.ExperimentConfig, model_dir: str) -> dict[str, Any]:
  """Returns the settings that figures depend on and that differ from the run's, by field.

  Args:
    params: of an evaluation.
    model_dir: folder of the run.
  """
  return {
    field: now
    for field, (_, now) in _changes(params, model_dir).items()
    if field.startswith("task.") and not field.startswith(_NOT_IN_FIGURES)
  }


def _changes(params: cfg.ExperimentConfig, model_dir: str) -> dict[str, tuple[Any, Any]]:
  """Returns the values of the run so far and of this start where they differ, by field."""
  path = os.path.join(model_dir, PARAMS_FILE)
  if not tf.io.gfile.exists(path):
    return {}
  before = copy.deepcopy(params)
  try:
    loading.override_with_file(before, path)
  except (ValueError, KeyError, TypeError) as error:  # Model Garden checks types here and there.
    _LOGGER.warning(f"what has changed in the configuration is not known: {error}")
    return {}
  old, new = flatten(before.as_dict()), flatten(params.as_dict())
  return {
    field: (old.get(field), new.get(field))
    for field in sorted(old.keys() | new.keys())
    if old.get(field) != new.get(field)
  }


def flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """The leaves of nested mappings by their path with dots."""
  leaves = {}
  for name, value in fields.items():
    if isinstance(value, Mapping):
      leaves |= flatten(value, f"{prefix}{name}.")
    else:
      leaves[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
  return leaves


def _is_fixed(task_class: type[task_lib.TrainableTask], field: str, was: Any, now: Any) -> bool:
  if field in task_class.switch_fields:
    return bool(was) != bool(now)
  if field in _KEPT:
    return now is None
  fixed_fields = (*task_class.fixed_fields, *_FIXED)
  return any(field == fixed or field.startswith(f"{fixed}.") for fixed in fixed_fields)
