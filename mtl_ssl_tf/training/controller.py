"""Saves, evaluates and ends a run at multiples of steps, which interruptions do not shift."""

import time
from collections.abc import Callable

from mtl_ssl_tf import terminal
from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.training import (
  checkpointing,
  early_stopping,
  nonfinite,
  progress,
  step_times,
  stopping,
)

_SECONDS_BETWEEN_LOOKS = 1.0


class ResumableController(progress.ReportingController):
  """Orbit's controller for runs that are interrupted and resumed.

  Loops end, checkpoints are saved and evaluations are made at multiples of their intervals,
  wherever the process began; so it does not show in a run how often it was interrupted.
  """

  def __init__(
    self,
    *args,
    metric: str,
    early_stopping: early_stopping.EarlyStopping | None = None,
    recover: Callable[[nonfinite.NonFiniteError, checkpointing.RunCheckpoints], None] | None = None,
    times: step_times.StepTimes | None = None,
    **kwargs,
  ):
    """Builds the controller, and restores the run.

    Args:
      *args: Orbit's.
      metric: name of the figure that `early_stopping` goes by.
      early_stopping: counts evaluations; None in runs that only evaluate.
      recover: called when a step was not applied; brings back an earlier checkpoint, or raises.
      times: the trainer's, written for TensorBoard after each loop; None writes none.
      **kwargs: Orbit's and those of `ReportingController`.
    """
    self._metric, self._early_stopping, self._recover = metric, early_stopping, recover
    self._times = times or step_times.StepTimes()
    self._writes_times = times is not None
    self._examined: dict[int, str] | None = None
    super().__init__(*args, **kwargs)

  @property
  def steps_per_loop(self) -> int:
    """Steps to the next end of a loop or checkpoint, whichever comes first."""
    step = int(self.global_step.numpy())
    intervals = [self._steps_per_loop]
    if self.checkpoint_manager is not None:
      intervals.append(self.checkpoint_manager.checkpoint_interval)
    return min(interval - step % interval for interval in intervals)

  def train(self, steps: int, checkpoint_at_completion: bool = True) -> None:
    """Trains until `steps` steps are done; saves when asked to end.

    Raises:
      StoppedError: the run was asked to end; all it did is saved.
      RunError: a step is at fault, or a checkpoint cannot be written.
    """
    while int(self.global_step.numpy()) < steps:
      self._train_or_recover(steps)
    if checkpoint_at_completion:
      self._maybe_save_checkpoint(check_interval=False)

  def train_and_evaluate(self, train_steps: int, eval_steps: int = -1, eval_interval=None):
    """Trains and evaluates by turns; where nothing is left to train, evaluates.

    Begins with the evaluation that an interruption kept from happening. Ends early where
    `early_stopping` says so.
    """
    interval = eval_interval or train_steps
    output = None
    while True:
      step = int(self.global_step.numpy())
      is_new = step != self._last_evaluated()
      if step >= train_steps:
        is_due = is_new or output is None
      else:
        is_due = is_new and step > 0 and step % interval == 0
      if is_due:
        output = self._evaluate_or_save(eval_steps)
      if step >= train_steps or self._is_over(step):
        break
      self._train_or_recover(min(step + interval - step % interval, train_steps))
    self._maybe_save_checkpoint(check_interval=False)
    self._sync_on_async_checkpointing()
    return output

  def evaluate(self, steps: int = -1):
    """Evaluates, prints the report and counts the evaluation."""
    output = super().evaluate(steps)
    if self._early_stopping is not None:
      self._early_stopping.update(float(output[self._metric]), int(self.global_step.numpy()))
      terminal.show(self._early_stopping.state())
    return output

  def evaluate_continuously(self, steps: int = -1, timeout=None, timeout_fn=None):
    """Evaluates the newest checkpoint that can be used, and then each that another process adds.

    Args:
      steps: batches of an evaluation; -1 is all.
      timeout: seconds without a new checkpoint that end it, or call `timeout_fn`; None waits on.
      timeout_fn: whether no more are to come; also called after each evaluation.

    Raises:
      StoppedError: the evaluation was asked to end.
    """
    output, last = None, None
    self._examined = None
    while True:
      path = self._next_checkpoint(last, timeout)
      if path is not None:
        last = path
        self.restore_checkpoint(path)
        output = self.evaluate(steps)
      if timeout_fn() if timeout_fn is not None else path is None:
        return output

  def _next_checkpoint(self, last: str | None, timeout: float | None) -> str | None:
    """Waits for a usable checkpoint other than `last`; None once the time is over."""
    folder = self.checkpoint_manager.directory
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
      self.evaluator.stop.check()
      present = run_checkpoints.numbered(folder)
      if present != self._examined:  # Else reading them again would tell nothing new.
        self._examined, path = present, run_checkpoints.newest_usable(folder)
        if path not in (None, last):
          return path
      if deadline is not None and time.monotonic() >= deadline:
        return None
      time.sleep(_SECONDS_BETWEEN_LOOKS)

  def _train_n_steps(self, num_steps: int) -> None:
    with self._times.between():
      super()._train_n_steps(num_steps)
    if self._writes_times:
      # By Orbit's writer: of two event files in a folder TensorBoard follows only the later one.
      self.summary_manager.write_summaries(self._times.take(num_steps))
      self.summary_manager.flush()

  def _maybe_save_checkpoint(self, check_interval: bool = True) -> bool:
    with self._times.between():
      return super()._maybe_save_checkpoint(check_interval)

  def _train_or_recover(self, steps: int) -> None:
    """Trains until `steps` steps are done, or goes back to an earlier one."""
    try:
      super().train(steps, checkpoint_at_completion=False)
    except nonfinite.NonFiniteError as error:
      if self._recover is None:
        raise
      self._recover(error, self.checkpoint_manager)
    except stopping.StoppedError:
      self._save_before_end()
      raise

  def _evaluate_or_save(self, steps: int):
    try:
      return self.evaluate(steps)
    except stopping.StoppedError:
      self._save_before_end()
      raise

  def _save_before_end(self) -> None:
    guard = getattr(self.trainer, "guard", None)
    if guard is not None:
      try:
        guard.check()
      except nonfinite.NonFiniteError:
        return  # The step count is not that of the weights; the last checkpoint will do.
    self._maybe_save_checkpoint(check_interval=False)

  def _last_evaluated(self) -> int:
    return -1 if self._early_stopping is None else self._early_stopping.last_step

  def _is_over(self, step: int) -> bool:
    if self._early_stopping is None or not self._early_stopping.is_over:
      return False
    terminal.show(f"the run ends early, at step {step}; {self._early_stopping.state()}")
    return True
