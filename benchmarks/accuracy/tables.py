"""Markdown tables of a comparison: accuracy at each budget, and where points and time go."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_KINDS = ("classification", "localisation", "redundancy", "background", "false_negative")
_KIND_WORDS = {"redundancy": "duplicate", "false_negative": "missed"}


def report(runs: Sequence[Mapping[str, Any]]) -> str:
  """Returns all tables.

  Args:
    runs: contents of `run.json`.
  """
  groups = grouped(runs)
  parts = [_accuracy(groups), _costs(groups), _time(groups)]
  return "\n\n".join(parts) + "\n"


def grouped(runs: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, float], list]:
  """Returns the runs by data set, arm and budget, smaller budgets first."""
  groups = {}
  for run in sorted(runs, key=lambda run: (run["data"], run["minutes"], run["arm"], run["seed"])):
    groups.setdefault((run["data"], run["arm"], run["minutes"]), []).append(run)
  return groups


def mean_deviation(values: Sequence[float | None], digits: int = 1) -> str:
  """Returns e.g. `56.2 ± 0.8`; of one value the value alone, of none a blank."""
  known = [value for value in values if value is not None]
  if not known:
    return ""
  text = f"{statistics.mean(known):.{digits}f}"
  return text if len(known) < 2 else f"{text} ± {statistics.stdev(known):.{digits}f}"


def _accuracy(groups: Mapping) -> str:
  columns = {
    "n": lambda runs: str(len(runs)),
    "mAP@0.5": _column("mAP50"),
    "COCO AP": _column("AP"),
    "CPU min": _column("cpu_minutes"),
    "wall min": _column("wall_minutes"),
    "steps": _mean("steps", 0),
    "CPU s a step": _mean("step_s", 3),
    "start-up, CPU s": _mean("start_up_s", 0),
    "evaluation, CPU s": _mean("evaluation_cpu_s", 0),
  }
  return _table("Accuracy at a budget of CPU minutes, mean ± standard deviation", columns, groups)


def _costs(groups: Mapping) -> str:
  columns = {"mAP@0.5": _column("mAP50")}
  for kind in _KINDS:
    columns[_KIND_WORDS.get(kind, kind)] = _cost(kind)
  columns["proposals: recall at 0.5"] = _mean("proposal_recall_50", 1)
  columns["at 0.7"] = _mean("proposal_recall_70", 1)
  columns["most confused: true > detected (objects)"] = _confused
  title = "Where the points go: mAP@0.5 that fixing all errors of a kind would gain"
  return _table(title, columns, groups)


def _time(groups: Mapping) -> str:
  columns = {
    part: (lambda runs, part=part: _share(runs, part)) for part in ("start-up", "input", "step")
  }
  title = "Where the CPU time of training goes, per cent; `step` is the step without its input"
  return _table(title, columns, groups)


def _share(runs: Sequence[Mapping[str, Any]], part: str) -> str:
  values = []
  for run in runs:
    if run["start_up_s"] is None or not run["step_s"]:
      continue
    total = 60.0 * run["cpu_minutes"]
    start_up = 100.0 * run["start_up_s"] / total
    fed = None
    if run.get("input_s") is not None:
      fed = (100.0 - start_up) * min(1.0, run["input_s"] / run["step_s"])
    step = None if fed is None else 100.0 - start_up - fed
    values.append({"start-up": start_up, "input": fed, "step": step}[part])
  known = [value for value in values if value is not None]
  return f"{statistics.mean(known):.0f}" if known else ""


def _column(name: str) -> Callable[[Sequence], str]:
  return lambda runs: mean_deviation([run[name] for run in runs])


def _mean(name: str, digits: int) -> Callable[[Sequence], str]:
  def cell(runs: Sequence[Mapping[str, Any]]) -> str:
    known = [run[name] for run in runs if run.get(name) is not None]
    return f"{statistics.mean(known):.{digits}f}" if known else ""

  return cell


def _cost(kind: str) -> Callable[[Sequence], str]:
  return lambda runs: mean_deviation([run["costs"][kind] for run in runs])


def _confused(runs: Sequence[Mapping[str, Any]]) -> str:
  numbers = {}
  for run in runs:
    for true, detected, number in run["confused"]:
      numbers[true, detected] = numbers.get((true, detected), 0) + number
  largest = sorted(numbers.items(), key=lambda item: -item[1])[:2]
  return ", ".join(
    f"{true} > {detected} ({number / len(runs):.0f})" for (true, detected), number in largest
  )


def _table(title: str, columns: Mapping[str, Callable], groups: Mapping) -> str:
  lines = [f"{title}.", "", f"| data | arm | budget | {' | '.join(columns)} |"]
  lines.append("|---" * (len(columns) + 3) + "|")
  for (data, arm, minutes), runs in groups.items():
    cells = [data, arm, f"{minutes:g}", *(cell(runs) for cell in columns.values())]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def arms_of(groups: Mapping, data: str) -> list[str]:
  """Returns the arms of a data set, each once, in alphabetical order."""
  return sorted({arm for name, arm, _ in groups if name == data})
