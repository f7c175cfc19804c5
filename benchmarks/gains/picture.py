"""Draws accuracy and what an arm gains: against images or steps, and arm beside arm."""

import matplotlib

matplotlib.use("Agg")

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import ticker

from mtl_ssl_tf.comparison import statistics

_LABELS = {"images": "images to train on", "steps": "training steps, each point a training"}


def draw(rows: Sequence[Mapping[str, Any]], against: str, path: pathlib.Path) -> None:
  """Draws mAP@0.5 above, with the seeds' standard deviation, and the gain below, with its interval.

  There is a column for each data set and number of steps, or of images. Where arms have several
  points, those with a single one are left out.

  Args:
    rows: of `tables.rows`, at least one.
    against: `images` or `steps`, what is drawn to the right.
    path: of the PNG file.
  """
  columns = grouped(rows, against)
  figure, axes = plt.subplots(
    2,
    len(columns),
    figsize=(1.5 + 4.0 * len(columns), 6.5),
    squeeze=False,
    sharex="col",
    sharey="row",
    layout="constrained",
    height_ratios=(3, 2),
  )
  try:
    for (above, below), (title, found) in zip(axes.T, columns.items(), strict=True):
      for number, arm in enumerate(drawn_arms(found)):
        style = {"color": f"C{number}", "marker": "o", "capsize": 3, "label": arm}
        xs, means, deviations = zip(*accuracies(found, against, arm), strict=True)
        above.errorbar(xs, means, deviations, **style)
        gained = gains(found, against, arm)
        if gained:
          xs, means, lows, highs = map(np.array, zip(*gained, strict=True))
          below.errorbar(xs, means, [means - lows, highs - means], **style)
      ticks = sorted({row[against] for row in found})
      below.axhline(0.0, color="0.5", linewidth=1)
      below.set_xscale("log")
      below.set_xticks(ticks, map(str, ticks))
      below.xaxis.set_minor_locator(ticker.NullLocator())
      below.set_xlabel(_LABELS[against])
      above.set_title(title)
      above.legend()
      for axis in (above, below):
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("mAP@0.5, %")
    axes[1, 0].set_ylabel("points gained, 95 % interval")
    figure.savefig(path, dpi=110)
  finally:
    plt.close(figure)


def drawn_arms(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns the arms of a column that are drawn: all, or those with several points."""
  counts = collections.Counter(row["arm"] for row in rows)
  return [arm for arm, count in counts.items() if count > 1 or max(counts.values()) == 1]


def draw_arms(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
  """Draws the gain of each arm of the sets that have several, one below the other.

  Args:
    rows: of `tables.rows`.
    path: of the PNG file; none is written where no set has two arms besides the first.
  """
  sets = {title: found for title, found in compared_arms(rows).items() if len(found) > 1}
  if not sets:
    return
  longest = max(map(len, sets.values()))
  figure, axes = plt.subplots(
    1,
    len(sets),
    figsize=(2.0 + 4.5 * len(sets), 1.2 + 0.4 * longest),
    squeeze=False,
    layout="constrained",
  )
  try:
    for axis, (title, found) in zip(axes[0], sets.items(), strict=True):
      names, means, lows, highs = zip(*found, strict=True)
      center, places = np.array(means), np.arange(len(names))
      axis.errorbar(
        center, places, xerr=[center - lows, np.array(highs) - center], fmt="o", capsize=3
      )
      axis.axvline(0.0, color="0.5", linewidth=1)
      axis.set_yticks(places, names)
      axis.invert_yaxis()
      axis.set_title(title)
      axis.set_xlabel("points of mAP@0.5 gained, 95 % interval")
      axis.grid(alpha=0.3, axis="x")
    figure.savefig(path, dpi=110)
  finally:
    plt.close(figure)


def compared_arms(
  rows: Sequence[Mapping[str, Any]],
) -> dict[str, list[tuple[str, float, float, float]]]:
  """Returns title of a set -> (arm, mean difference, low, high) of each arm but the first."""
  found: dict[str, list] = {}
  for row in rows:
    if row["difference"] is not None:
      title = f"{row['data']}, {row['images']} images, {row['steps']} steps"
      found.setdefault(title, []).append((row["arm"], *_interval(row["difference"])))
  return found


def grouped(rows: Sequence[Mapping[str, Any]], against: str) -> dict[str, list[Mapping[str, Any]]]:
  """Returns title -> rows that differ in the arm and in what they are drawn against."""
  (other,) = _LABELS.keys() - {against}
  found: dict[str, list] = {}
  for row in sorted(rows, key=lambda row: (row["data"], row[other], row[against])):
    found.setdefault(f"{row['data']}, {row[other]} {other}", []).append(row)
  return found


def accuracies(
  rows: Sequence[Mapping[str, Any]], against: str, arm: str
) -> list[tuple[int, float, float]]:
  """Returns (images or steps, mean, standard deviation or 0) of an arm."""
  points = []
  for row in rows:
    if row["arm"] == arm:
      found = statistics.summary(list(row["figures"].values()))
      points.append((row[against], found.mean, found.deviation if found.count > 1 else 0.0))
  return points


def gains(
  rows: Sequence[Mapping[str, Any]], against: str, arm: str
) -> list[tuple[int, float, float, float]]:
  """Returns (images or steps, mean difference, low, high) of an arm.

  Of one seed the ends are the mean.
  """
  points = []
  for row in rows:
    found = row["difference"]
    if row["arm"] == arm and found is not None:
      points.append((row[against], *_interval(found)))
  return points


def _interval(difference: Mapping[str, Any]) -> tuple[float, float, float]:
  mean = difference["mean"]
  low, high = (mean if difference[end] is None else difference[end] for end in ("low", "high"))
  return mean, low, high
