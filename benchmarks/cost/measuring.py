"""Time, memory and load of other processes during a call in this process. Linux only."""

import os
import pathlib
import time
from collections.abc import Callable

_FEWEST_REPEATS = 3


class OtherCores:
  """Mean number of cores that other processes kept busy since this was made."""

  def __init__(self):
    self._start = self._now()

  @staticmethod
  def _now() -> tuple[float, float, float]:
    """Seconds: of the clock, that all cores were busy, that they were busy with this process."""
    first_line = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, _, _, irq, softirq, steal = map(int, first_line.split()[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    own_s = own.user + own.system + own.children_user + own.children_system
    return time.perf_counter(), busy, own_s

  def __call__(self) -> float:
    """Returns the mean up to now."""
    (clock, busy, own), (clock0, busy0, own0) = self._now(), self._start
    return max(0.0, ((busy - busy0) - (own - own0)) / max(clock - clock0, 1e-9))


def timed(
  call: Callable[[], object], repeats: int, warmup: int = 2, budget_s: float | None = None
) -> dict:
  """Times a call that returns when its result is there.

  Args:
    call: what to time.
    repeats: timed calls.
    warmup: calls before them; the first one traces.
    budget_s: once the timed calls have taken so long, three of them are enough.

  Returns:
    `seconds` of each timed call, `first_s` of the very first one, and `other_cores` of
    `OtherCores` meanwhile.
  """
  start = time.perf_counter()
  call()
  first_s = time.perf_counter() - start
  for _ in range(warmup - 1):
    call()
  others, seconds = OtherCores(), []
  for _ in range(repeats):
    start = time.perf_counter()
    call()
    seconds.append(time.perf_counter() - start)
    if budget_s is not None and len(seconds) >= _FEWEST_REPEATS and sum(seconds) > budget_s:
      break
  return {"seconds": seconds, "first_s": first_s, "other_cores": others()}


def resident_mib() -> float:
  """Returns the MiB that this process holds now."""
  return _status_mib("VmRSS")


def restart_peak() -> None:
  """Starts `peak_mib` again from what is held now."""
  pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
  """Returns the most MiB that this process held since `restart_peak`."""
  return _status_mib("VmHWM")


def _status_mib(name: str) -> float:
  status = pathlib.Path("/proc/self/status").read_text()
  (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
  return int(line.split()[1]) / 1024.0
