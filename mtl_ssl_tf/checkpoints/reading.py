"""TensorFlow checkpoints of any age as arrays by name."""

import glob
import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.reading import regular_files

# What a checkpoint of `tf.train.Checkpoint` holds besides its variables.
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def find(path: str, source: str) -> str:
  """Returns the checkpoint that a path means: itself, or that of a folder (`run_checkpoints`).

  Args:
    path: of a checkpoint, with or without one of its endings, or of a folder.
    source: how the path came about, for the message.

  Raises:
    ValueError: if there is none.
  """
  if tf.io.gfile.isdir(path):
    check_files([os.path.join(path, "checkpoint")], source)
    found = run_checkpoints.usable(path)
    if found is None:
      has_some = bool(run_checkpoints.candidates(path))
      which = "whose checkpoints cannot be used" if has_some else "without checkpoints"
      raise ValueError(f"{source} {path!r} is a folder {which}; accepted: one with checkpoints")
    return found
  for ending in (".index", ".data-00000-of-00001", ".meta"):
    path = path.removesuffix(ending)
  # Checkpoints in the format of 2016, as TF-slim published them, are one file without ending.
  if not any(tf.io.gfile.exists(f"{path}{ending}") for ending in (".index", "")):
    near = _neighbours(path)
    hint = f"; that folder holds {near}" if near else ""
    raise ValueError(f"{source} {path!r} does not exist{hint}")
  check_files([path, f"{path}.index", *tf.io.gfile.glob(f"{glob.escape(path)}.data-*")], source)
  return path


def check_files(paths: Iterable[str], source: str) -> None:
  """Refuses pipes, devices and sockets, for which a reader would wait, where files should be.

  Raises:
    ValueError: naming the path.
  """
  for path in paths:
    try:
      regular_files.check_if_present(path)
    except OSError as error:
      raise ValueError(f"{source} {path!r} is {error.strerror}; accepted: a file") from error


def names(path: str, source: str) -> list[str]:
  """Returns the names of what a checkpoint holds; raises ValueError if it cannot be read."""
  return sorted(_open(path, source).get_variable_to_shape_map())


def arrays(path: str, source: str) -> dict[str, np.ndarray]:
  """Returns all of a checkpoint by name.

  Raises:
    ValueError: if it cannot be read, or only in part.
  """
  reader = _open(path, source)
  found = {}
  for name in sorted(reader.get_variable_to_shape_map()):
    try:
      found[name] = reader.get_tensor(name)
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
      raise ValueError(
        f"{source} {path!r} is damaged: {name!r} cannot be read ({_first_line(error)}); "
        "accepted: a whole checkpoint, all of its files side by side"
      ) from error
  return found


def _open(path: str, source: str):
  try:
    return tf.train.load_checkpoint(path)
  except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
    raise ValueError(
      f"{source} {path!r} is no checkpoint that can be read ({_first_line(error)})"
    ) from error


def _neighbours(path: str) -> str:
  folder = os.path.dirname(path) or "."
  if not tf.io.gfile.isdir(folder):
    return ""
  stems = {
    name.removesuffix(".index")
    for name in tf.io.gfile.listdir(folder)
    if name.endswith((".index", ".ckpt", ".h5", ".pth", ".pt"))
  }
  return ", ".join(sorted(stems)[:5])


def _first_line(error: Exception) -> str:
  return str(error).strip().split("\n")[0]
