"""Prints the progress of a run: a line every few seconds, a table after each evaluation."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import orbit
import tensorflow as tf
from absl import logging as absl_logging
from orbit import controller as orbit_controller

from mtl_ssl_tf import terminal

MIN_SECONDS_BETWEEN_LINES = 5.0
# Share that the newest measurement has in the smoothed rate.
RATE_SMOOTHING = 0.3
TOTAL_LOSS, RATE = "training_loss", "learning_rate"
_LOGGER = logging.getLogger(__name__)


class ProgressLine:
  """Orbit train action: step, every loss, images a second, time left; on standard output.

  The time left is that of the steps to come, without evaluations.
  """

  def __init__(
    self,
    global_step: tf.Variable,
    train_steps: int,
    images_per_step: int,
    counters: Sequence[str] = (),
    count_warning: Callable[[dict[str, float]], str | None] = lambda values: None,
    describe: Callable[[dict[str, float]], str] = lambda values: "",
    write: Callable[[str], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Starts the clock.

    Args:
      global_step: counts the steps of the run.
      train_steps: of the whole run.
      images_per_step: over all replicas.
      counters: names of logs that are no losses, and not shown.
      count_warning: the warning that logs give rise to, or None; logged once.
      describe: words on the logs that come after the losses; empty adds none.
      write: takes each line; standard output by default.
      clock: seconds.
    """
    self._global_step = global_step
    self._train_steps = train_steps
    self._images_per_step = images_per_step
    self._counters, self._count_warning = tuple(counters), count_warning
    self._describe = describe
    self._write = write or terminal.show
    self._clock = clock
    self._last_line_time = None
    self._steps_per_second = 0.0
    self._num_rates = 0
    self._warned = False
    self.resume()

  def resume(self) -> None:
    """Measures the rate from here on; called when training starts or resumes."""
    self._last_time, self._last_step = self._clock(), int(self._global_step.numpy())

  def __call__(self, output: dict[str, tf.Tensor]) -> None:
    now, step = self._clock(), int(self._global_step.numpy())
    rate = (step - self._last_step) / max(now - self._last_time, 1e-9)
    # The first steps spend most of their time on building the graph.
    share = RATE_SMOOTHING if self._num_rates > 1 else 1.0
    self._num_rates += 1
    self._steps_per_second += share * (rate - self._steps_per_second)
    self._last_time, self._last_step = now, step
    values = as_numbers(output)
    warning = None if self._warned else self._count_warning(values)
    if warning is not None:
      self._warned = True
      _LOGGER.warning(warning)
    is_due = self._last_line_time is None or now - self._last_line_time >= MIN_SECONDS_BETWEEN_LINES
    if is_due or step >= self._train_steps:
      self._last_line_time = now
      self._write(self._line(step, values))

  def _line(self, step: int, values: dict[str, float]) -> str:
    losses = " ".join(
      f"{name} {value:.3f}"
      for name, value in values.items()
      if name != TOTAL_LOSS and name not in (RATE, *self._counters)
    )
    seconds_left = (self._train_steps - step) / max(self._steps_per_second, 1e-9)
    words = self._describe(values)
    return (
      f"step {step}/{self._train_steps} | loss {values[TOTAL_LOSS]:.3f} ({losses}) | "
      f"{words}{' | ' if words else ''}rate {values[RATE]:.2g} | "
      f"{self._steps_per_second * self._images_per_step:.1f} images/s | "
      f"{format_seconds(seconds_left)} left"
    )


class ReportingController(orbit.Controller):
  """Orbit's controller, with our lines in the place of its own.

  Attributes:
    report: called with the figures of each evaluation and the step; returns the text to print.
    progress: the train action whose clock runs only while training does.
  """

  def __init__(
    self,
    *args,
    report: Callable[[dict[str, float], int], str],
    progress: ProgressLine | None = None,
    **kwargs,
  ):
    self._report = report
    self._progress = progress
    with _orbit_logging_only():
      super().__init__(*args, **kwargs)

  def train(self, *args, **kwargs):
    """Trains; the progress line leaves out the time since the last step."""
    if self._progress is not None:
      self._progress.resume()
    with _orbit_logging_only():
      super().train(*args, **kwargs)

  def evaluate(self, steps: int = -1):
    """Evaluates, then prints the report."""
    start = time.monotonic()
    with _orbit_logging_only():
      output = super().evaluate(steps)
    step = int(self.global_step.numpy())
    seconds = time.monotonic() - start
    terminal.show(f"evaluation at step {step}, {seconds:.1f} s\n{self._report(output, step)}")
    return output

  def restore_checkpoint(self, checkpoint_path: str | None = None) -> str | None:
    """Restores, and prints from where; see `orbit.Controller`."""
    with _orbit_logging_only():
      restored = super().restore_checkpoint(checkpoint_path)
    if restored is not None:
      terminal.show(f"restored from checkpoint: {restored}")
    return restored

  def _maybe_save_checkpoint(self, check_interval: bool = True) -> bool:
    with _orbit_logging_only():
      is_saved = super()._maybe_save_checkpoint(check_interval)
    if is_saved:
      terminal.show(f"saved checkpoint: {self.checkpoint_manager.latest_checkpoint}")
    return is_saved


def as_numbers(output: Mapping[str, tf.Tensor]) -> dict[str, float]:
  """Returns the logs of a loop as numbers."""
  return {name: float(np.asarray(value)) for name, value in output.items()}


def format_seconds(seconds: float) -> str:
  """Returns e.g. 1:02:03, or 2:03 below an hour."""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def _orbit_logging_only() -> Iterator[None]:
  """Makes Orbit log what it would print, so that only `--verbosity=0` shows it."""
  usual, orbit_controller._log = orbit_controller._log, absl_logging.info
  try:
    yield
  finally:
    orbit_controller._log = usual
