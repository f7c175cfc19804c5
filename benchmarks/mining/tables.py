"""Markdown tables of the study of Co-mining."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.accuracy import tables as accuracy_tables
from benchmarks.mining import arms as arms_lib

Runs = Sequence[Mapping[str, Any]]
# Arms in the order of the table; others follow by name.
_ORDER = (*arms_lib.named(),)
_QUARTERS = 4


def report(runs: Runs) -> str:
  """Returns all tables and, for each training set, whether Co-mining is above joint training.

  Args:
    runs: contents of `run.json`.
  """
  groups = grouped(runs)
  parts = [_accuracy(groups), _curves(groups)]
  verdicts = [verdict(groups, *key) for key in sorted({key[:2] for key in groups})]
  verdicts = [f"* {text}" for text in verdicts if text]
  if verdicts:
    parts.append("\n".join(verdicts))
  return "\n\n".join(parts) + "\n"


def grouped(runs: Runs) -> dict[tuple[str, str, str], list[Mapping[str, Any]]]:
  """Returns the runs by data set, training set and arm, seeds in order."""

  def place(run: Mapping[str, Any]) -> tuple:
    arm = run["arm"]
    number = _ORDER.index(arm) if arm in _ORDER else len(_ORDER)
    return run["data"], run["set"], number, arm, run["seed"]

  groups = {}
  for run in sorted(runs, key=place):
    groups.setdefault((run["data"], run["set"], run["arm"]), []).append(run)
  return groups


def differences(runs: Runs, others: Runs, metric: str = "mAP50") -> list[float]:
  """Returns by how much runs are above others of the same seeds."""
  of_seed = {run["seed"]: run[metric] for run in others}
  return [run[metric] - of_seed[run["seed"]] for run in runs if run["seed"] in of_seed]


def verdict(groups: Mapping, data: str, set_name: str) -> str:
  """Returns how far Co-mining is above joint training, in standard deviations; empty if unknown."""
  found = [groups.get((data, set_name, arm)) for arm in (arms_lib.CO_MINING, arms_lib.JOINT)]
  if not all(found) or min(map(len, found)) < 2:
    return ""
  values = [[run["mAP50"] for run in runs] for runs in found]
  above = statistics.mean(values[0]) - statistics.mean(values[1])
  twice = 2.0 * max(map(statistics.stdev, values))
  return (
    f"{data} {set_name}: Co-mining is above joint training by {above:+.1f}; two standard"
    f" deviations, of the arm that varies more, are {twice:.1f}:"
    f" {'shown' if above > twice else 'not shown'}"
  )


def _accuracy(groups: Mapping) -> str:
  head = ["data", "training set", "arm", "n", "steps", "mAP@0.5", "COCO AP", "above joint"]
  head += ["mined a view", "precision", "recall", "CPU min"]
  lines = ["mAP on complete annotations, mean ± standard deviation over seeds.", "", _row(head)]
  lines.append(_row(["---"] * len(head)))
  for (data, set_name, arm), runs in groups.items():
    joint = groups.get((data, set_name, arms_lib.JOINT), ())
    above = differences(runs, joint) if arm != arms_lib.JOINT else ()
    steps = ", ".join(map(str, sorted({run["steps"] for run in runs})))
    cells = [data, set_name, arm, str(len(runs)), steps]
    cells += [_mean([run[name] for run in runs]) for name in ("mAP50", "AP")]
    cells.append(_mean(above))
    cells += [_mean(_ends(runs, name), digits) for name, digits in _MEASURES]
    cells.append(_mean([run["cpu_minutes"] for run in runs]))
    lines.append(_row(cells))
  return "\n".join(lines)


_MEASURES = (("boxes", 1), ("precision", 2), ("recall", 2))


def _curves(groups: Mapping) -> str:
  head = ["data", "training set", "arm", "measure"]
  head += [f"{number}/{_QUARTERS} of the steps" for number in range(1, _QUARTERS + 1)]
  lines = ["Mined boxes against erased annotations, means over seeds.", "", _row(head)]
  lines.append(_row(["---"] * len(head)))
  for (data, set_name, arm), runs in groups.items():
    for name, digits in (*_MEASURES, ("score", 2), ("agreement", 2)):
      quarters = [_at(runs, name, number / _QUARTERS) for number in range(1, _QUARTERS + 1)]
      if any(quarters):
        means = [f"{statistics.mean(found):.{digits}f}" if found else "" for found in quarters]
        lines.append(_row([data, set_name, arm, name, *means]))
  return "\n".join(lines)


def _at(runs: Runs, measure: str, part: float) -> list[float]:
  """A measure of each run at a part of its steps, or at the last one logged before."""
  found = []
  for run in runs:
    points = [point for point in run["curve"] if point["step"] <= part * run["steps"]]
    if points and measure in points[-1]:
      found.append(points[-1][measure])
  return found


def _ends(runs: Runs, measure: str) -> list[float]:
  return _at(runs, measure, 1.0)


def _mean(values: Sequence[float | None], digits: int = 1) -> str:
  return accuracy_tables.mean_deviation(values, digits)


def _row(cells: Sequence[str]) -> str:
  return f"| {' | '.join(cells)} |"
