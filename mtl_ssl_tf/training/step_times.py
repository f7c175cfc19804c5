"""Measures what the time of training is spent on: input, steps, and what happens between them.

Measured by the clock of the process, outside of the steps, which stay one program each.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

# Begins the names of the curves, milliseconds a step.
NAME = "time/step_ms"


class StepTimes:
  """Adds up the time of steps in three parts, from one call of `take` to the next.

  * `input`: the process waits for the next batch. On an accelerator an earlier step may still run
    meanwhile; what the accelerator itself waits is this time at most.
  * `step`: the rest of the loop over steps. It ends once the values of the last step have arrived,
    so it holds the whole work of the device that did not overlap with `input`; and in the first
    loop the building of the programs.
  * `rest`: the parts of training marked by `between`, such as logs, pictures and checkpoints;
    evaluations are no part of it.

  Where TensorFlow runs the loop by itself (`trainer.train_tf_while_loop`), `input` is part of
  `step`.
  """

  def __init__(self, clock: Callable[[], float] = time.perf_counter):
    """Takes a clock of seconds."""
    self._clock = clock
    self._seconds = dict.fromkeys(("input", "step", "rest"), 0.0)

  @contextlib.contextmanager
  def input(self) -> Iterator[None]:
    """Counts the block as `input`, and takes it off the loop around it."""
    with self._counted("input", taken_off="step"):
      yield

  @contextlib.contextmanager
  def loop(self) -> Iterator[None]:
    """Counts the block, a loop over steps, and takes it off the `between` around it."""
    with self._counted("step", taken_off="rest"):
      yield

  @contextlib.contextmanager
  def between(self) -> Iterator[None]:
    """Counts the block as `rest`."""
    with self._counted("rest"):
      yield

  def take(self, num_steps: int) -> dict[str, float]:
    """Returns milliseconds a step by the name of each curve, and begins again.

    Args:
      num_steps: taken since the last call.
    """
    found = {
      f"{NAME}/{part}": 1000.0 * seconds / max(num_steps, 1)
      for part, seconds in self._seconds.items()
    }
    self._seconds = dict.fromkeys(self._seconds, 0.0)
    return found

  @contextlib.contextmanager
  def _counted(self, part: str, taken_off: str | None = None) -> Iterator[None]:
    start = self._clock()
    try:
      yield
    finally:
      seconds = self._clock() - start
      self._seconds[part] += seconds
      if taken_off is not None:
        self._seconds[taken_off] -= seconds
