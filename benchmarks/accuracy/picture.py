"""Draws accuracy against CPU minutes, a column for each data set."""

import matplotlib

matplotlib.use("Agg")

import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import pyplot as plt

from benchmarks.accuracy import tables

_METRICS = {"mAP50": "mAP@0.5, %", "AP": "COCO AP, %"}


def draw(runs: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
  """Draws mAP@0.5 above and COCO AP below; bars are a standard deviation of the seeds.

  Args:
    runs: contents of `run.json`, at least one.
    path: of the PNG file.
  """
  groups = tables.grouped(runs)
  names = sorted({data for data, _, _ in groups})
  figure, axes = plt.subplots(
    len(_METRICS),
    len(names),
    figsize=(1.5 + 4.5 * len(names), 7.0),
    squeeze=False,
    sharex="col",
    layout="constrained",
  )
  try:
    for column, data in enumerate(names):
      for row, (metric, label) in enumerate(_METRICS.items()):
        axis = axes[row, column]
        for arm in tables.arms_of(groups, data):
          points = curve(groups, data, arm, metric)
          minutes, means, deviations = zip(*points, strict=True)
          axis.errorbar(minutes, means, deviations, marker="o", capsize=3, label=arm)
        axis.set_xlim(left=0.0)
        axis.grid(alpha=0.3)
        axis.set_ylabel(label)
      axes[0, column].set_title(data)
      axes[-1, column].set_xlabel("CPU minutes of training, start-up included")
      axes[0, column].legend(fontsize=8)
    figure.savefig(path, dpi=110)
  finally:
    plt.close(figure)


def curve(groups: Mapping, data: str, arm: str, metric: str) -> list[tuple[float, float, float]]:
  """Returns (mean CPU minutes, mean of the metric, standard deviation) at each budget."""
  points = []
  for (name, other, _), runs in groups.items():
    if (name, other) == (data, arm):
      values = [run[metric] for run in runs]
      spread = statistics.stdev(values) if len(values) > 1 else 0.0
      minutes = statistics.mean(run["cpu_minutes"] for run in runs)
      points.append((minutes, statistics.mean(values), spread))
  return points
