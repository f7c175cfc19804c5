"""Computes the steps that fill a budget of CPU seconds from points (step, CPU seconds) of a run."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Rate:
  """The CPU cost of training: `start_up_s + steps * step_s`.

  Attributes:
    start_up_s: CPU seconds of imports, building, compilation, and whatever else does not depend on
      the number of steps.
    step_s: CPU seconds of a step.
  """

  start_up_s: float
  step_s: float

  def steps(self, cpu_s: float) -> int:
    """Returns how many whole steps fit into so many CPU seconds, at least one."""
    return max(1, int((cpu_s - self.start_up_s) / self.step_s))


def rate(points: Sequence[tuple[int, float]]) -> Rate | None:
  """Returns the rate between the first and the last point; None if there are fewer than two.

  The first point comes after the first steps, so that tracing and compilation count as start-up.
  """
  if len(points) < 2:
    return None
  (first_step, first_s), (last_step, last_s) = points[0], points[-1]
  if last_step <= first_step or last_s <= first_s:
    return None
  step_s = (last_s - first_s) / (last_step - first_step)
  return Rate(max(0.0, first_s - first_step * step_s), step_s)


def is_enough(points: Sequence[tuple[int, float]], cpu_s: float) -> bool:
  """Returns whether a calibration has trained for so many CPU seconds after its first point."""
  return len(points) > 2 and points[-1][1] - points[0][1] >= cpu_s
