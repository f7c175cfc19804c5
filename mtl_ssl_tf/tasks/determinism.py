"""Kernels that always round alike."""

import contextlib
from collections.abc import Iterator

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
