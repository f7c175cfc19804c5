"""The result of a comparison: figures by arm, paired differences, curves; as data and Markdown."""

import dataclasses
import importlib.metadata
import math
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_ssl_tf.comparison import arms as arms_lib
from mtl_ssl_tf.comparison import outcomes, statistics
from mtl_ssl_tf.reading import quoting

_PACKAGES = ("tensorflow", "tf-models-official", "tf_keras", "numpy")
_POINT = 1.0  # mAP, in per cent.


@dataclasses.dataclass(frozen=True)
class Result:
  """The findings of a comparison so far.

  Attributes:
    metric: name of the figure that is compared.
    arms: in their order; differences are to the first.
    by_step: step -> arm -> seed -> figure in per cent.
    cpu_minutes: arm -> CPU minutes of each run, those that were resumed left out.
    ablations: arm -> setting of refinement -> seed -> figure in per cent, with the same weights.
    intervals: arm -> interval of its difference over test images, in per cent; where it is known.
    differing: field -> arm -> value, what differs between the arms.
    about: command, commit, versions, machine.
  """

  metric: str
  arms: tuple[str, ...]
  by_step: Mapping[int, Mapping[str, Mapping[int, float]]]
  cpu_minutes: Mapping[str, Sequence[float]]
  ablations: Mapping[str, Mapping[str, Mapping[int, float]]]
  intervals: Mapping[str, tuple[float, float]]
  differing: Mapping[str, Mapping[str, Any]]
  about: Mapping[str, Any]

  @property
  def last_step(self) -> int:
    """Returns the last step that was evaluated."""
    return max(self.by_step)

  def difference(self, arm: str, step: int) -> statistics.Difference | None:
    """Returns the paired difference of an arm to the first one at a step."""
    found = self.by_step[step]
    return statistics.paired_difference(found.get(self.arms[0], {}), found.get(arm, {}))


def about(command: str) -> dict[str, Any]:
  """Returns what a reader needs to repeat a comparison."""
  return {
    "command": command,
    "commit": _commit(),
    "machine": f"{_processor()}, {os.cpu_count()} cores",
    "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    "python": platform.python_version(),
  }


def _commit() -> str:
  found = subprocess.run(
    ["git", "describe", "--always", "--dirty"],
    cwd=pathlib.Path(__file__).parent,
    capture_output=True,
    text=True,
  )
  return found.stdout.strip() or "unknown"


def _processor() -> str:
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return platform.machine()
  names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
  return names[0] if names else platform.machine()


def collect(
  metric: str,
  arms: Sequence[arms_lib.Arm],
  records: Sequence[Mapping[str, Any]],
  found: Mapping[str, Mapping[int, outcomes.Outcomes]],
  ablations: Mapping[tuple[str, int], Mapping[str, Mapping[str, float]]],
  differing: Mapping[str, Mapping[str, Any]],
  facts: Mapping[str, Any],
) -> Result:
  """Returns the result of the runs that are complete.

  Args:
    metric: name of a figure, a fraction.
    arms: of the comparison.
    records: contents of the runs' `run.json`.
    found: arm -> seed -> outcomes after the last step, for the bootstrap over images.
    ablations: (arm, seed) -> setting of refinement -> figures.
    differing: see `Result`.
    facts: see `about`.

  Raises:
    ValueError: a run has no such figure.
  """
  names = tuple(arm.name for arm in arms)
  by_step: dict[int, dict[str, dict[int, float]]] = {}
  minutes: dict[str, list[float]] = {name: [] for name in names}
  for record in records:
    for step, figures in record["figures"].items():
      if metric not in figures:
        accepted = ", ".join(sorted(name for name in figures if "/" in name)[:8])
        raise ValueError(
          f"--metric is {quoting.shown(metric)}, which {record['arm']} seed {record['seed']} lacks;"
          f" accepted: figures of an evaluation, such as {accepted}"
        )
      of_step = by_step.setdefault(int(step), {name: {} for name in names})
      of_step[record["arm"]][record["seed"]] = 100.0 * figures[metric]
    if not record["is_resumed"]:
      minutes[record["arm"]].append(record["cpu_minutes"])
  first = found.get(names[0], {})
  intervals = {
    name: statistics.bootstrap_difference(first, found[name])
    for name in names[1:]
    if found.get(name)
  }
  intervals = {name: interval for name, interval in intervals.items() if interval}
  ablated: dict[str, dict[str, dict[int, float]]] = {}
  for (arm, seed), settings in ablations.items():
    for setting, figures in settings.items():
      if metric not in figures:
        raise ValueError(
          f"--metric is {quoting.shown(metric)}, which {arm} seed {seed} with {setting} lacks;"
          " accepted: figures of all evaluations"
        )
      ablated.setdefault(arm, {}).setdefault(setting, {})[seed] = 100.0 * figures[metric]
  curves = dict(sorted(by_step.items()))
  return Result(metric, names, curves, minutes, ablated, intervals, differing, facts)


def as_json(result: Result) -> dict[str, Any]:
  """Returns the result as JSON takes it."""
  last = result.last_step
  return {
    **result.about,
    "metric": result.metric,
    "arms": list(result.arms),
    "figures": result.by_step,
    "cpu_minutes": result.cpu_minutes,
    "refinement_ablation": result.ablations,
    "differences": {
      arm: _difference_fields(result, arm, last)
      for arm in result.arms[1:]
      if result.difference(arm, last)
    },
    "what_differs": result.differing,
  }


def _difference_fields(result: Result, arm: str, step: int) -> dict[str, Any]:
  difference = result.difference(arm, step)
  fields = dataclasses.asdict(difference)
  return {
    **{name: None if math.isnan(value) else value for name, value in fields.items()},
    "word": difference.word,
    "interval_over_images": result.intervals.get(arm),
    "seeds_to_tell_one_point": statistics.seeds_to_tell(difference.deviation, _POINT),
  }


def markdown(result: Result) -> str:
  """Returns the report as Markdown."""
  parts = [
    "# Comparison",
    f"{result.metric} in per cent, after {result.last_step} steps.",
    table(arm_rows(result)),
    table(difference_rows(result)),
    "Differences are taken seed by seed. The interval over seeds is Student's t at 95 %: what other"
    " trainings would give on these test images. The one over images is a bootstrap: what other"
    " test images would give with these trainings. `better` and `worse` are written only where the"
    " interval over seeds leaves zero out.",
  ]
  if len(result.by_step) > 1:
    parts += ["## Along the training", table(curve_rows(result))]
  if result.ablations:
    parts += ["## Refinement, on the same weights", table(ablation_rows(result))]
  parts += ["## What differs between the arms", table(differing_rows(result))]
  parts += ["## How it was made", "\n".join(about_lines(result))]
  return "\n\n".join(parts) + "\n"


def arm_rows(result: Result) -> list[tuple[str, ...]]:
  """Returns header and rows: each arm's figures after the last step."""
  rows = [("arm", "seeds", "mean ± deviation", "each seed", "CPU minutes a run")]
  for arm in result.arms:
    found = result.by_step[result.last_step].get(arm, {})
    minutes = result.cpu_minutes[arm]
    rows.append(
      (
        arm,
        ", ".join(map(str, sorted(found))) or "none",
        _mean(list(found.values())),
        ", ".join(f"{found[seed]:.1f}" for seed in sorted(found)),
        f"{statistics.summary(minutes).mean:.1f}" if minutes else "",
      )
    )
  return rows


def difference_rows(result: Result) -> list[tuple[str, ...]]:
  """Returns header and rows: each arm against the first, after the last step."""
  first = result.arms[0]
  rows = [
    (
      f"against {first}",
      "difference",
      "interval over seeds",
      "interval over images",
      "",
      "seeds to tell 1 point",
    )
  ]
  for arm in result.arms[1:]:
    difference = result.difference(arm, result.last_step)
    if difference is None:
      rows.append((arm, "", "", "", "no seed in common yet", ""))
      continue
    needed = statistics.seeds_to_tell(difference.deviation, _POINT)
    rows.append(
      (
        arm,
        f"{difference.mean:+.2f}",
        _interval(difference.low, difference.high),
        _interval(*result.intervals[arm]) if arm in result.intervals else "",
        difference.word if difference.count > 1 else "one seed tells nothing",
        "" if needed is None else str(needed),
      )
    )
  return rows


def curve_rows(result: Result) -> list[tuple[str, ...]]:
  """Returns header and rows: mean and deviation of each arm at each evaluation."""
  rows = [("step", *result.arms)]
  for step, found in result.by_step.items():
    cells = (_mean(list(found.get(arm, {}).values())) for arm in result.arms)
    rows.append((str(step), *cells))
  return rows


def ablation_rows(result: Result) -> list[tuple[str, ...]]:
  """Returns header and rows: what refinement and each of its inputs are worth."""
  rows = [("arm", "refinement", "mean ± deviation", "to the arm itself", "interval over seeds", "")]
  for arm, settings in result.ablations.items():
    whole = result.by_step[result.last_step][arm]
    for setting, found in settings.items():
      difference = statistics.paired_difference(whole, found)
      if difference is None:
        rows.append((arm, setting.replace("_", " "), _mean(list(found.values())), "", "", ""))
        continue
      rows.append(
        (
          arm,
          setting.replace("_", " "),
          _mean(list(found.values())),
          f"{difference.mean:+.2f}",
          _interval(difference.low, difference.high),
          difference.word if difference.count > 1 else "one seed tells nothing",
        )
      )
  return rows


def differing_rows(result: Result) -> list[tuple[str, ...]]:
  """Returns header and rows: the fields that are not the same in all arms."""
  rows = [("field", *result.arms)]
  for field, values in result.differing.items():
    rows.append((field, *(str(values[arm]) for arm in result.arms)))
  return rows


def about_lines(result: Result) -> list[str]:
  """Returns what a reader needs to repeat the comparison, a line each."""
  facts = result.about
  versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
  return [
    f"* command: `{facts['command']}`",
    f"* commit: {facts['commit']}",
    f"* machine: {facts['machine']}; Python {facts['python']}, {versions}",
    *(f"* {name}: {value}" for name, value in facts.get("times", {}).items()),
  ]


def table(rows: Sequence[Sequence[str]]) -> str:
  """Returns rows as a table of Markdown, the first one its header."""
  lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
  lines.insert(1, "|" + "---|" * len(rows[0]))
  return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
  if not values:
    return ""
  found = statistics.summary(values)
  return f"{found.mean:.1f}" + ("" if found.count < 2 else f" ± {found.deviation:.1f}")


def _interval(low: float, high: float) -> str:
  return "" if math.isnan(low) else f"{low:+.2f} to {high:+.2f}"
