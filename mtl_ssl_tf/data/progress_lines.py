"""Lines of progress, one every few seconds, about work that consists of many like pieces."""

import time
from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 3.0


class Progress:
  """Logs how many pieces of how many are done, how fast, and how long the rest will take."""

  def __init__(self, what: str, total: int | None, log: Callable[[str], object]):
    """Starts the clock.

    Args:
      what: the beginning of each line.
      total: number of pieces; None if it is not known.
      log: takes each line, e.g. `logger.info`.
    """
    self._what, self._total, self._log = what, total, log
    self._done = self._skipped = 0
    self._start = self._last = time.monotonic()

  def skip(self, count: int) -> None:
    """Counts pieces that took no time, so that they do not count for the estimate of the rest."""
    self._done += count
    self._skipped += count

  def step(self, count: int = 1) -> None:
    """Counts pieces that were just done."""
    self._done += count
    now = time.monotonic()
    if now - self._last < _SECONDS_BETWEEN_LINES or self._done == self._skipped:
      return
    self._last = now
    per_second = (self._done - self._skipped) / (now - self._start)
    digits = 0 if per_second >= 10.0 else 1
    speed = f"{per_second:.{digits}f} a second"
    if self._total is None:
      self._log(f"{self._what}: {self._done}, {speed}")
      return
    seconds_left = max(self._total - self._done, 0) / per_second
    self._log(f"{self._what}: {self._done}/{self._total}, {speed}, {seconds_left:.0f} s left")
