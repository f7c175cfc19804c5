"""Markdown tables of the benchmark of audits."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.accuracy import tables as accuracy_tables
from benchmarks.auditing import arms, figures

OURS = "ours"
_SIZES = ("small", "medium", "large")
_HEAD = ("data", "erased", "detections", "rule", "n")


def report(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns the tables, and how far ours is above the best of the others.

  Args:
    rows: of `runs.judge`.
  """
  groups: dict[tuple, dict[str, list]] = {}
  for row in rows:
    key = row["data"], row["share"], row["column"]
    groups.setdefault(key, {}).setdefault(row["arm"], []).append(row)
  sizes = [f"recall at N, {size}" for size in _SIZES]
  parts = [
    "Share of the erased boxes, per cent, mean ± standard deviation over seeds.",
    _table(groups, figures.NAMES),
    "By size of the erased boxes.",
    _table(groups, sizes),
    "\n".join(f"* {line}" for key in groups if (line := verdict(key, groups[key]))),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


def verdict(key: tuple[str, str, str], by_arm: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
  """Returns how far ours is above the best other rule, in AP; empty where it is not known."""
  others = [name for name in by_arm if name != OURS]
  if OURS not in by_arm or not others:
    return ""
  best = max(others, key=lambda name: statistics.mean(_values(by_arm[name], "AP")))
  own, other = (
    {row["seed"]: row["figures"]["AP"] for row in by_arm[name]} for name in (OURS, best)
  )
  above = [100.0 * (own[seed] - other[seed]) for seed in sorted(own.keys() & other.keys())]
  if len(above) < 2:
    return ""
  mean, twice = statistics.mean(above), 2.0 * statistics.stdev(above)
  word = "shown" if mean > twice else "not shown"
  return (
    f"{key[0]}, {key[1]} erased, {key[2]}: ours is above {best} by {mean:+.1f} points of AP;"
    f" two standard deviations of the difference are {twice:.1f}: {word}"
  )


def _table(groups: Mapping, names: Sequence[str]) -> str:
  lines = [_row([*_HEAD, *names]), _row(["---"] * (len(_HEAD) + len(names)))]
  for key, by_arm in sorted(groups.items()):
    for arm in sorted(by_arm, key=[*arms.RULES].index):
      rows = by_arm[arm]
      cells = [accuracy_tables.mean_deviation(_values(rows, name)) for name in names]
      lines.append(_row([*key, arm, str(len(rows)), *cells]))
  return "\n".join(lines)


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
  values = [100.0 * row["figures"][name] for row in rows]
  return [value for value in values if not math.isnan(value)]


def _row(cells: Sequence[str]) -> str:
  return f"| {' | '.join(cells)} |"
