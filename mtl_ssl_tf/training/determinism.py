"""Kernels that always round alike, without slowing down the input."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import config as tf_config  # The public names cannot undo it.


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
  """Inside, equal inputs give equal bits on CPUs, if that is wanted.

  By default several threads add up the gradient of native crops in the order in which they get
  there, and a run that went on would drift from one that was never interrupted. With a GPU nothing
  is changed: TensorFlow has no such form of all kernels there, and refuses to run the others.
  """
  if not wanted or tf.config.get_visible_devices("GPU") or tf_config.is_op_determinism_enabled():
    yield
    return
  tf.config.experimental.enable_op_determinism()
  try:
    yield
  finally:
    tf_config.disable_op_determinism()


@contextlib.contextmanager
def suspended() -> Iterator[None]:
  """Inside, `deterministic` does not hold; for what begins to read data.

  Reading is the same every time by itself (`data/pipeline/reader.py`), but TensorFlow would not
  know, and have a single thread decode all images.
  """
  if not tf_config.is_op_determinism_enabled():
    yield
    return
  tf_config.disable_op_determinism()
  try:
    yield
  finally:
    tf.config.experimental.enable_op_determinism()


class Batches:
  """A data set whose iterators are begun while `deterministic` is suspended."""

  def __init__(self, dataset: Iterable[Any]):
    """Takes a `tf.data` or a distributed data set."""
    self._dataset = dataset

  def __iter__(self) -> Iterator[Any]:
    with suspended():
      return iter(self._dataset)
