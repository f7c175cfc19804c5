"""Loads whole models from checkpoints of this project: of a run, or of a model alone."""

import tensorflow as tf
import tf_keras


def load_model(model: tf_keras.Model, path: str, source: str) -> None:
  """Loads all of a model's variables from a checkpoint, which may hold more.

  Args:
    model: takes the weights.
    path: of the checkpoint, without suffix.
    source: how the path came about, for the message.

  Raises:
    ValueError: the checkpoint cannot be read, or is of another model.
  """
  try:
    status = tf.train.Checkpoint(model=model).read(path)
    status.expect_partial().assert_existing_objects_matched()
  except (tf.errors.OpError, AssertionError, ValueError) as error:
    reason = str(error).strip().split("\n")[0]
    raise ValueError(f"{source} {path!r} is no checkpoint of this model ({reason})") from error
