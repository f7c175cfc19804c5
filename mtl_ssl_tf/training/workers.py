"""Coordinates several processes that train one model: what each writes, what they agree on.

All workers do the same, step by step, also what only the chief's files show: where a variable is
read, a checkpoint written or a picture drawn, workers may have to wait for each other.
"""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.training import stopping, strategies


@contextlib.contextmanager
def own_folder(strategy: tf.distribute.Strategy, model_dir: str) -> Iterator[str]:
  """Yields the folder that this process may write into: `model_dir` if it is the chief.

  The others get one that is removed in the end, and print and warn of nothing meanwhile: the chief
  does.

  Args:
    strategy: of the run.
    model_dir: folder of the run.
  """
  if strategies.is_chief(strategy):
    yield model_dir
    return
  usual = tempfile.tempdir
  logger = logging.getLogger("mtl_ssl_tf")
  usual_level = logger.level
  with tempfile.TemporaryDirectory(prefix="worker_") as folder:
    # The runner makes such a worker a temporary folder for its checkpoints, and leaves it behind.
    tempfile.tempdir = folder
    logger.setLevel(logging.ERROR)
    try:
      with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield folder
    finally:
      tempfile.tempdir = usual
      logger.setLevel(usual_level)


def stop_together(strategy: tf.distribute.Strategy, stop: stopping.StopRequest) -> None:
  """Makes all workers end at the same step once one of them is asked to.

  Args:
    strategy: of the run.
    stop: this worker's; all workers must check theirs equally often.
  """
  if strategies.is_multi_worker(strategy):
    is_asked = stop.should_stop
    stop.should_stop = lambda: _sum(strategy, is_asked()) > 0


def as_the_chief(strategy: tf.distribute.Strategy, decision: bool) -> bool:
  """Returns the chief's decision at every worker; all of them call this."""
  if not strategies.is_multi_worker(strategy):
    return decision
  return _sum(strategy, decision and strategies.is_chief(strategy)) > 0


def _sum(strategy: tf.distribute.Strategy, value: bool) -> float:
  """Returns the sum of a value over all replicas of all workers."""
  values = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(float(value))
  )
  return float(strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None))


def check_same_start(
  strategy: tf.distribute.Strategy, model_dir: str, checkpoint: str | None
) -> None:
  """Refuses workers that would resume from different checkpoints.

  Args:
    strategy: of the run; all its workers call this.
    model_dir: folder of the run.
    checkpoint: the last one in it, as this worker sees it.

  Raises:
    ValueError: on every worker, as their `model_dir` is not one and the same folder.
  """
  if not strategies.is_multi_worker(strategy):
    return
  name = "" if checkpoint is None else os.path.basename(checkpoint)

  @tf.function(autograph=False)
  def gather_numbers():
    own = strategy.run(lambda: tf.constant([_number(name)], tf.int64))
    return strategy.gather(own, axis=0)

  found = gather_numbers().numpy()
  if np.unique(found).size > 1:
    raise ValueError(
      f"--model_dir {model_dir!r} does not hold the same last checkpoint for every worker; this one"
      f" sees {name or 'none'!r}; accepted: one folder that all workers share"
    )


@contextlib.contextmanager
def losing_none(strategy: tf.distribute.Strategy) -> Iterator[None]:
  """Reports in one line that another worker is gone, where TensorFlow would in pages.

  Raises:
    ValueError: in place of TensorFlow's error.
  """
  try:
    yield
  except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
    if not strategies.is_multi_worker(strategy):
      raise
    reason = str(error).strip().split("\n")[0][:200]
    raise ValueError(
      "another worker of the run has stopped, or cannot be reached any more; start all workers"
      f" again with the same --model_dir, and they resume from the last checkpoint ({reason})"
    ) from error


def _number(name: str) -> int:
  """Returns a number for a checkpoint's name; strings cannot be gathered."""
  digits = name.rpartition("-")[2]
  return int(digits) + 1 if digits.isdigit() else 0
