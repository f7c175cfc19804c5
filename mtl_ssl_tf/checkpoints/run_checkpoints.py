"""Decides which checkpoint of a folder is used, for training, evaluation, export and prediction.

TensorFlow writes a checkpoint as `NAME_temp/…`, then `NAME.data-…`, then `NAME.index`, and notes it
in the file `checkpoint` last. A process that is killed may leave any beginning of this behind, and
a failing disk anything at all; so what counts here is what can be read, not what that file says.
Whoever is given another checkpoint than the first choice is told so in one line.

    newest_usable(folder)         of a run: the highest step; what training resumes from
    usable(folder)                of a folder of any kind; of `best/`, the best one
    choose(model_dir, ...)        the one to export or to predict with
"""

import functools
import glob
import logging
import math
import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.reading import json_text, quoting, regular_files

NAME, BEST_NAME = "ckpt", "best_ckpt"
INFO_FILE = "info.json"  # Of a folder of best checkpoints: these and their figures, the best first.
_KEPT = {"checkpoint": str, "step": int, "figure": float}
BEST, LATEST, GIVEN = "best", "latest", "given"
# What a detector is made of, and what training resumes from where that is averages of it.
_WEIGHTS = ("model/", "training_weights/")
_OPTIMIZER_SLOT = ".OPTIMIZER_SLOT"
# That a checkpoint may lack before its tensors are tried: reading tells more of what is wrong.
_MAX_MISSING_BYTES = 64 * 2**20
_LOGGER = logging.getLogger(__name__)


class Choice(NamedTuple):
  """A checkpoint, and why it is that one.

  Attributes:
    path: prefix of its files.
    kind: `best` of the run, `latest` of the run, or `given` by the caller.
  """

  path: str
  kind: str


def reason(error: Exception) -> str:
  """Returns the first line of what TensorFlow or the system reports as wrong."""
  text = getattr(error, "message", None) or getattr(error, "strerror", None) or str(error)
  first = str(text).strip().split("\n")[0]
  # Nobody needs to know which of TensorFlow's operations it was.
  return re.sub(r"\{\{.*?\}\} *| *\[Op:\w+\]", "", first) or type(error).__name__


def numbered(folder: str, name: str = NAME) -> dict[int, str]:
  """The checkpoints of a folder that have an index, by number, the highest first."""
  if not tf.io.gfile.isdir(folder):
    return {}
  matches = (re.fullmatch(rf"({name}-(\d+))\.index", file) for file in tf.io.gfile.listdir(folder))
  found = {int(match[2]): os.path.join(folder, match[1]) for match in matches if match}
  return dict(sorted(found.items(), reverse=True))


def fault(path: str) -> str | None:
  """Returns why a checkpoint cannot be read, or None: every tensor is read, checksums included."""
  try:
    for _ in _tensors(path):
      pass
  except _UnreadableError as error:
    return str(error)
  return None


def why_unusable(path: str) -> str | None:
  """Returns why no run, export or prediction should use a checkpoint, or None.

  Returns:
    Words that go on from `it is left out, as`: it cannot be read, or its weights are not finite.
  """
  not_finite = []
  try:
    for key, value in _tensors(path):
      is_weight = key.startswith(_WEIGHTS) and _OPTIMIZER_SLOT not in key
      if is_weight and value.dtype.kind == "f" and not np.all(np.isfinite(value)):
        not_finite.append(key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"))
  except _UnreadableError as error:
    return f"it cannot be read ({error})"
  if not_finite:
    return f"weights in it are not finite ({len(not_finite)}, such as {min(not_finite)})"
  return None


def newest_usable(folder: str) -> str | None:
  """Returns the usable checkpoint of a run with the highest step; warns of newer ones."""
  return _first_usable(numbered(folder).values())


def usable(folder: str) -> str | None:
  """Returns the checkpoint that a folder of any kind means; warns of what it would rather be.

  Args:
    folder: of a run, whose newest one counts; of the best checkpoints, of which the best does; or
      another one, of which that does which TensorFlow noted last.
  """
  return _first_usable(candidates(folder))


def candidates(folder: str) -> list[str]:
  """Returns the checkpoints of a folder, usable or not, those that it rather means first."""
  of_run = list(numbered(folder).values())
  if of_run or not tf.io.gfile.isdir(folder):
    return of_run
  names = [*_ranked(folder), *_noted(folder)]
  paths = [os.path.join(folder, name) for name in names]
  paths += numbered(folder, BEST_NAME).values()
  # Checkpoints in the format of 2016 are one file without ending.
  return [
    path
    for path in dict.fromkeys(paths)
    if tf.io.gfile.exists(f"{path}.index") or tf.io.gfile.exists(path)
  ]


def choose(model_dir: str, best_subdir: str, given: str | None = None) -> Choice:
  """Returns the checkpoint of a run to use; one line tells where it is not the one to expect.

  Args:
    model_dir: of the run.
    best_subdir: folder in it that takes the best checkpoints; empty if the run keeps none.
    given: a checkpoint that was asked for, without ending, or a folder with checkpoints; by default
      the best of the run, or else its newest.

  Raises:
    ValueError: there is none that can be used, or not the one that was asked for.
  """
  if given:
    return Choice(_given(model_dir, given), GIVEN)
  if best_subdir:
    best_dir = os.path.join(model_dir, best_subdir)
    best = usable(best_dir)
    if best is not None:
      return Choice(best, BEST)
  newest = newest_usable(model_dir)
  if newest is None:
    has_some = numbered(model_dir) or (best_subdir and candidates(best_dir))
    found = "holds checkpoints, but none that can be used" if has_some else "holds no checkpoint"
    raise ValueError(f"--model_dir {model_dir!r} {found}; accepted: that of a training run")
  if best_subdir:
    _warn(f"{best_dir} holds no best checkpoint to use; {newest} is taken, the newest")
  return Choice(newest, LATEST)


def _given(model_dir: str, given: str) -> str:
  is_folder = tf.io.gfile.isdir(given)
  path = usable(given) if is_folder else given
  if path is None or not tf.io.gfile.exists(f"{path}.index"):
    raise ValueError(
      f"--checkpoint {given!r} is no checkpoint; accepted: a path without ending such as"
      f" {os.path.join(model_dir, 'ckpt-1000')!r}, or a folder with checkpoints"
    )
  found = None if is_folder else why_unusable(path)
  if found is not None:
    raise ValueError(f"--checkpoint {given!r} cannot be used, as {found}; accepted: another one")
  return path


def _first_usable(paths: Iterable[str]) -> str | None:
  for path in paths:
    found = why_unusable(path)
    if found is None:
      return path
    _warn(f"checkpoint {path} is left out, as {found}")
  return None


@functools.cache
def _warn(text: str) -> None:
  """Warns once of the same: a command may ask for a folder's checkpoint more than once."""
  _LOGGER.warning(text)


def is_best_name(name: str) -> bool:
  """Whether a best checkpoint may be called so in its folder."""
  return re.fullmatch(rf"{BEST_NAME}-\d+", name) is not None


def read_info(folder: str) -> dict[str, Any]:
  """The content of the `info.json` in a folder of best checkpoints, figures that are NaN as None.

  Returns:
    Figures by name; `best_ckpt_global_step`, if it is there; and, also if it is there, `kept`: the
    checkpoints, the best first, each with its name in this folder as `checkpoint`, its `step` and
    its `figure`.

  Raises:
    ValueError: the file is missing or another one, in words that follow its path.
  """
  path = os.path.join(folder, INFO_FILE)
  try:
    info = json_text.loads(regular_files.read_bytes(path))
    json_text.check(info, {"kept?": list}, "content")
    figures = {name: None if value != value else value for name, value in info.items()}
    kept = figures.pop("kept", None)
    json_text.check(figures, {str: (float, None)}, "content")
    json_text.check(kept, ([_KEPT], None), "kept")
  except OSError as error:
    raise ValueError(f"cannot be read ({error.strerror})") from error
  except ValueError as error:
    raise ValueError(f"cannot be used ({error})") from error
  for one in kept or ():
    # Whoever drops a checkpoint deletes the files of this name.
    if not is_best_name(one["checkpoint"]):
      name = quoting.shown(one["checkpoint"])
      raise ValueError(f"cannot be used ({name} as a checkpoint; accepted: {BEST_NAME}-STEP)")
  return figures if kept is None else {**figures, "kept": kept}


def _ranked(folder: str) -> list[str]:
  """Names of the best checkpoints by `info.json`, the best first; none where it does not tell."""
  try:
    return [kept["checkpoint"] for kept in read_info(folder).get("kept", ())]
  except ValueError:
    return []


def _noted(folder: str) -> list[str]:
  """Names in the file `checkpoint`: the latest, then the others, those noted last first."""
  state = tf.train.get_checkpoint_state(folder)
  if state is None:
    return []
  paths = [state.model_checkpoint_path, *reversed(state.all_model_checkpoint_paths)]
  return [os.path.basename(path) for path in paths]


class _UnreadableError(Exception):
  """A checkpoint, or a part of it, cannot be read."""


def _tensors(path: str) -> Iterable[tuple[str, np.ndarray]]:
  """Every tensor of a checkpoint, by its key.

  Raises:
    _UnreadableError: with the reason.
  """
  try:
    _check_files(path)
    reader = tf.train.load_checkpoint(path)
    shapes = reader.get_variable_to_shape_map()
    _check_sizes(path, shapes, reader.get_variable_to_dtype_map())
    for key in shapes:
      yield key, np.asarray(reader.get_tensor(key))
  except OSError as error:
    raise _UnreadableError(f"{error.filename} is {error.strerror}") from error
  except (tf.errors.OpError, IndexError, ValueError, RuntimeError) as error:  # By its own status.
    raise _UnreadableError(reason(error)) from error


def _check_files(path: str) -> None:
  """Refuses what is no file, for which TensorFlow would wait.

  Raises:
    OSError: a pipe, device or socket is in the place of a file.
  """
  for file in (path, f"{path}.index", *_data_files(path)):
    regular_files.check_if_present(file)


def _check_sizes(path: str, shapes: dict[str, list[int]], dtypes: dict[str, tf.DType]) -> None:
  """Refuses shapes for which TensorFlow would make far more room than the files have bytes.

  Raises:
    _UnreadableError: with the reason.
  """
  if not tf.io.gfile.exists(f"{path}.index"):
    return  # In the format of 2016, which may be compressed.
  expected = sum(
    math.prod(shape) * (1 if dtypes[key] == tf.string else dtypes[key].size)
    for key, shape in shapes.items()
  )
  there = sum(tf.io.gfile.stat(file).length for file in _data_files(path))
  if expected > there + _MAX_MISSING_BYTES:
    raise _UnreadableError(f"tensors of {expected} bytes in files of {there}")


def _data_files(path: str) -> list[str]:
  return tf.io.gfile.glob(f"{glob.escape(path)}.data-*")
