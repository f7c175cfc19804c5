"""Findings of the comparisons of a study, as rows and as Markdown."""

import statistics as means
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_ssl_tf.comparison import statistics

_REFINEMENT_OFF = "refinement_off"


def rows(comparisons: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns a row for each arm of each set.

  Args:
    comparisons: contents of `comparison.json` by the name of their folder,
      `DATA_IMAGES_STEPSsteps`.

  Returns:
    Rows with `data`, `images`, `arm`, `steps`, `figures` (seed -> mAP in per cent after the last
    step), `unrefined` (the same with refinement off, where there is any), `earlier` (step -> mean
    before) and `difference` (to the first arm: mean, low, high, count; None of the first arm),
    those of few images and steps first.
  """
  found = []
  for name, comparison in comparisons.items():
    data, images, _ = name.rsplit("_", 2)
    steps = sorted(map(int, comparison["figures"]))
    by_step = {step: comparison["figures"][str(step)] for step in steps}
    last = by_step[steps[-1]]
    for arm in comparison["arms"]:
      if not last[arm]:
        continue
      unrefined = comparison["refinement_ablation"].get(arm, {}).get(_REFINEMENT_OFF, {})
      found.append(
        {
          "data": data,
          "images": int(images),
          "arm": arm,
          "steps": steps[-1],
          "figures": last[arm],
          "unrefined": unrefined,
          "earlier": {
            step: means.fmean(by_step[step][arm].values()) for step in steps if by_step[step][arm]
          },
          "difference": comparison["differences"].get(arm),
          "cpu_minutes": means.fmean(comparison["cpu_minutes"][arm] or [float("nan")]),
        }
      )
  return sorted(found, key=lambda row: (row["data"], row["images"], row["steps"]))


def report(found: Sequence[Mapping[str, Any]], first: str = "the baseline") -> str:
  """Returns a table of all rows; `first` is what the first arm is called in its head."""
  lines = [
    f"| data | images | steps | arm | n | mAP@0.5 | to {first}, 95 % interval over seeds |"
    " the same weights, refinement off | CPU min |",
    "|---|---|---|---|---|---|---|---|---|",
  ]
  for row in found:
    cells = [
      row["data"],
      str(row["images"]),
      str(row["steps"]),
      row["arm"],
      str(len(row["figures"])),
      _mean(row["figures"]),
      difference(row["difference"]),
      _mean(row["unrefined"]),
      f"{row['cpu_minutes']:.1f}",
    ]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def difference(found: Mapping[str, Any] | None) -> str:
  """Returns e.g. `+2.1 (+1.0 to +3.2)`; a blank for None."""
  if found is None:
    return ""
  text = f"{found['mean']:+.1f}"
  if found["low"] is None:
    return text
  return f"{text} ({found['low']:+.1f} to {found['high']:+.1f})"


def _mean(figures: Mapping[str, float]) -> str:
  if not figures:
    return ""
  summary = statistics.summary(list(figures.values()))
  return f"{summary.mean:.1f}" + (f" ± {summary.deviation:.1f}" if summary.count > 1 else "")
