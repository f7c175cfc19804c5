"""Writes the checkpoints of a run, and clears away what killed processes left of theirs.

`checkpoints/run_checkpoints.py` chooses the one that a run resumes from.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from mtl_ssl_tf import files
from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.training import averaged_weights, stopping

STATE_FILE = "checkpoint"
_ADVICE = (
  "To change: a lower trainer.optimizer_config.learning_rate, a warm-up, or global_clipnorm of the"
  " optimizer; then the same command resumes from the last checkpoint"
)
_ADVICE_AT_START = "To change: the start weights, task.init_checkpoint or --init"
_LOGGER = logging.getLogger(__name__)


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
  """Turns what keeps a file from being written into one line.

  Raises:
    RunError: it cannot be written.
  """
  try:
    yield
  except (tf.errors.OpError, OSError) as error:
    raise stopping.RunError(
      f"{path} cannot be written ({run_checkpoints.reason(error)})"
    ) from error


@contextlib.contextmanager
def reporting_full_disk(folder: str) -> Iterator[None]:
  """Turns a full disk, wherever it shows, into one line; other errors are left as they are.

  Raises:
    RunError: the disk is full.
  """
  try:
    yield
  except tf.errors.ResourceExhaustedError as error:  # Also raised where memory is short.
    if "No space left on device" not in str(error):
      raise
    raise stopping.RunError(
      f"{folder} cannot be written to ({run_checkpoints.reason(error)})"
    ) from error


def advice(step: int) -> str:
  """Returns what to change where the weights after so many steps are not finite."""
  return _ADVICE if step else _ADVICE_AT_START


def check_finite(
  checkpoint: averaged_weights.Checkpoint, path: str, step: int, others: str
) -> None:
  """Refuses to save weights that are not finite.

  Args:
    checkpoint: that is to be saved.
    path: where.
    step: that they are of.
    others: words on the checkpoints that there are, for the message.

  Raises:
    RunError: they are not, in one line that says what to change.
  """
  found = checkpoint.weights.fault()
  if found is not None:
    raise stopping.RunError(f"checkpoint {path} is not saved, as {found}; {others}. {advice(step)}")


def note_checkpoints(folder: str, latest: str, names: Sequence[str]) -> None:
  """Writes the file by which TensorFlow finds a folder's checkpoints.

  Args:
    folder: holds the checkpoints.
    latest: name of the one that counts as the latest.
    names: of all that TensorFlow should know, the oldest first.
  """
  lines = [f"model_checkpoint_path: {json.dumps(latest)}"]
  lines += [f"all_model_checkpoint_paths: {json.dumps(name)}" for name in names]
  for name in names:  # Without times a `CheckpointManager` would keep all of these for good.
    time_ns = tf.io.gfile.stat(os.path.join(folder, f"{name}.index")).mtime_nsec
    lines.append(f"all_model_checkpoint_timestamps: {time_ns / 1e9}")
  files.write_text(os.path.join(folder, STATE_FILE), "\n".join(lines) + "\n")


def remove(path: str) -> None:
  """Deletes all there is of a checkpoint; the index first, so that it never looks whole."""
  folder, name = os.path.split(path)
  # Not by a pattern: the path may contain a bracket, and mean another folder then.
  pattern = re.compile(rf"{re.escape(name)}\.(index|data-\d+-of-\d+)")
  files = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
  for file in sorted(filter(pattern.fullmatch, files), key=lambda file: not file.endswith("index")):
    tf.io.gfile.remove(os.path.join(folder, file))
  if tf.io.gfile.isdir(f"{path}_temp"):
    tf.io.gfile.rmtree(f"{path}_temp")


def tidy(folder: str, newest: str | None) -> None:
  """Deletes what a killed process had begun to write, and lists the others in `checkpoint`.

  A checkpoint that has its index is never deleted here, be it readable or not.

  Args:
    folder: of the run; nobody else may be writing there.
    newest: the checkpoint that the run resumes from.
  """
  if not tf.io.gfile.isdir(folder):
    return
  listed = run_checkpoints.numbered(folder)
  pattern = re.compile(rf"({run_checkpoints.NAME}-(\d+))(\.data-\d+-of-\d+|_temp)/?")
  begun = {
    match[1]: int(match[2])
    for match in map(pattern.fullmatch, tf.io.gfile.listdir(folder))
    if match and (int(match[2]) not in listed or match[3] == "_temp")
  }
  for name, number in sorted(begun.items()):
    path = os.path.join(folder, name)
    if number in listed:  # Written again, and the first part of that is all there is.
      tf.io.gfile.rmtree(f"{path}_temp")
    else:
      remove(path)
      _LOGGER.warning(f"checkpoint {path} was half written and is deleted")
  if newest is None:
    if tf.io.gfile.exists(os.path.join(folder, STATE_FILE)):
      tf.io.gfile.remove(os.path.join(folder, STATE_FILE))
    return
  number = next(n for n, path in listed.items() if path == newest)
  names = [os.path.basename(path) for n, path in sorted(listed.items()) if n <= number]
  note_checkpoints(folder, names[-1], names)


class RunCheckpoints(tf.train.CheckpointManager):
  """Saves at multiples of the interval, and whenever asked to, but each step once."""

  def __init__(
    self,
    checkpoint: averaged_weights.Checkpoint,
    directory: str,
    restore_from: str | None,
    global_step: tf.Variable,
    interval: int,
    max_to_keep: int,
    init_fn: Callable[[], object],
  ):
    """Sets up the manager, with `restore_from` as the latest checkpoint.

    Args:
      checkpoint: what is saved and restored.
      directory: written to; workers that are not the chief have one of their own.
      restore_from: a checkpoint that can be read, see `run_checkpoints`; None starts a new run.
      global_step: number of each checkpoint.
      interval: steps between checkpoints.
      max_to_keep: the older ones are deleted.
      init_fn: called where nothing is restored.
    """
    super().__init__(
      checkpoint,
      directory=directory,
      max_to_keep=max_to_keep,
      checkpoint_name=run_checkpoints.NAME,
      step_counter=global_step,
      checkpoint_interval=interval,
      init_fn=init_fn,
    )
    self._latest_checkpoint = restore_from

  def save(self, checkpoint_number=None, check_interval=True, options=None) -> str | None:
    """Saves, unless this step is saved already or none of the interval's.

    Raises:
      RunError: weights are not finite, or the checkpoint cannot be written. The earlier ones are as
        they were.
    """
    step = int(self._step_counter.numpy())
    if step == self._last_checkpoint_step or (check_interval and step % self._checkpoint_interval):
      return None
    before, path = self._last_checkpoint_step, f"{self._checkpoint_prefix}-{step}"
    last = "none yet" if before is None else f"{self._checkpoint_prefix}-{before}"
    check_finite(self.checkpoint, path, step, f"the last one is {last}")
    try:
      remove(path)  # Left from a process that got no further.
      return super().save(step, check_interval=False, options=options)
    except (tf.errors.OpError, OSError) as error:
      self._last_checkpoint_step = before
      # A disk that is full may still delete; one that is gone cannot.
      with contextlib.suppress(tf.errors.OpError, OSError):
        if run_checkpoints.fault(path) is not None:
          remove(path)
      reason = run_checkpoints.reason(error)
      raise stopping.RunError(
        f"checkpoint {path} cannot be written ({reason}); the last one is {last}"
      ) from error
