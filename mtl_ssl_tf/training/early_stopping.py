"""The end of a run that no longer gets better."""

import math

import tensorflow as tf

from mtl_ssl_tf.configs import fields, training
from mtl_ssl_tf.training import best_checkpoints


class EarlyStopping(tf.Module):
  """Counts evaluations without improvement; what it knows is part of the run's checkpoints."""

  def __init__(self, patience: int, comparison: str, first_step: int = 0):
    """Starts without evaluations.

    Args:
      patience: evaluations in a row without improvement that end the run; 0 never ends it.
      comparison: `higher` or `lower` is better.
      first_step: evaluations before this step end nothing.
    """
    super().__init__()
    self._patience, self._comparison, self._first_step = patience, comparison, first_step
    # float64 and int64, as the figures are Python's.
    self._best = tf.Variable(math.nan, dtype=tf.float64, trainable=False)
    self._best_step = tf.Variable(-1, dtype=tf.int64, trainable=False)
    self._num_waited = tf.Variable(0, dtype=tf.int64, trainable=False)
    self._last_step = tf.Variable(-1, dtype=tf.int64, trainable=False)

  @property
  def last_step(self) -> int:
    """The step evaluated last, -1 if there is none."""
    return int(self._last_step.numpy())

  @property
  def is_over(self) -> bool:
    """Whether the run should end."""
    return 0 < self._patience <= int(self._num_waited.numpy())

  def update(self, figure: float, step: int) -> None:
    """Counts the evaluation of a step; a step's second one changes nothing."""
    if step == self.last_step:
      return
    self._last_step.assign(step)
    if best_checkpoints.is_better(figure, float(self._best.numpy()), self._comparison):
      self._best.assign(figure)
      self._best_step.assign(step)
      self._num_waited.assign(0)
    elif step > self._first_step:
      self._num_waited.assign_add(1)

  def state(self) -> str:
    """Returns how far the run is from an early end, in words."""
    if not self._patience:
      return "early stopping: off"
    best_step = int(self._best_step.numpy())
    since = "" if best_step < 0 else f" since step {best_step}"
    return (
      f"early stopping: {int(self._num_waited.numpy())} of {self._patience} evaluations without "
      f"improvement{since}"
    )


def first_counted_step(config: training.Trainer) -> int:
  """The last boundary of a stepwise learning rate: figures often rise only after a drop of it."""
  rate = config.optimizer_config.learning_rate
  if rate.type != "stepwise":
    return 0
  return max(rate.stepwise.boundaries or [0])


def describe(config: training.Trainer) -> str:
  """Returns a line on the checkpoints that a run keeps and on early stopping, for its log."""
  text = (
    f"best/: the {config.best_checkpoints_to_keep} best checkpoints by "
    f"{config.best_checkpoint_eval_metric} ({config.best_checkpoint_metric_comp} is better); "
  )
  if not config.early_stopping_patience:
    return text + "early stopping: off"
  text += f"early stopping: after {config.early_stopping_patience} evaluations without improvement"
  first = first_counted_step(config)
  text += f", counted after step {first}, the last drop of the rate" if first else ""
  return text + ("" if can_act(config) else "; the run has too few and never ends early")


def can_act(config: training.Trainer) -> bool:
  """Returns whether the run has evaluations enough to end before its last step."""
  interval, first, last = config.validation_interval, first_counted_step(config), config.train_steps
  num_counted = (last - 1) // interval - min(first, last - 1) // interval
  # The first evaluation of a run is its best one so far.
  return num_counted - (first < interval) >= config.early_stopping_patience


def warnings(config: training.Trainer) -> list[str]:
  """Returns a line where early stopping is asked for and can never act.

  The default asks for nothing: it is there for long runs.
  """
  patience = config.early_stopping_patience
  default = fields.field_of(config, "early_stopping_patience").default
  if patience in (0, default) or can_act(config):
    return []
  first = first_counted_step(config)
  return [
    f"trainer.early_stopping_patience is {patience}, which never ends the run: one evaluation in "
    f"{config.validation_interval} steps (trainer.validation_interval) is too few between step "
    f"{first} and trainer.train_steps ({config.train_steps})"
  ]
