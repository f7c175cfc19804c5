"""Loads whole detectors from checkpoints of this project."""

import tensorflow as tf

from mtl_ssl_tf.modeling import detector


def load_detector(model: detector.Detector, path: str, source: str) -> None:
  """Loads all weights of a detector from a checkpoint of a run, or of a detector alone.

  Args:
    model: the detector.
    path: of the checkpoint, without suffix.
    source: how the path came about, for the message.

  Raises:
    ValueError: if the checkpoint cannot be read, or holds another detector.
  """
  try:
    status = tf.train.Checkpoint(model=model).read(path)
    status.expect_partial().assert_existing_objects_matched()
  except (tf.errors.OpError, AssertionError, ValueError) as error:
    reason = str(error).strip().split("\n")[0]
    raise ValueError(f"{source} {path!r} is no checkpoint of this detector ({reason})") from error
