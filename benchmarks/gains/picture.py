"""Draws accuracy, and what an arm gains, against the number of images; a column for each data."""

import matplotlib

matplotlib.use("Agg")

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import pyplot as plt
from matplotlib import ticker

from mtl_ssl_tf.comparison import statistics


def draw(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
  """Draws mAP@0.5 above, with the seeds' standard deviation, and the gain below, with its interval.

  Args:
    rows: of `tables.rows`, at least one.
    path: of the PNG file.
  """
  names = sorted({row["data"] for row in rows})
  figure, axes = plt.subplots(
    2,
    len(names),
    figsize=(1.5 + 4.5 * len(names), 6.5),
    squeeze=False,
    sharex="col",
    layout="constrained",
    height_ratios=(3, 2),
  )
  try:
    for column, data in enumerate(names):
      above, below = axes[:, column]
      of_data = [row for row in rows if row["data"] == data]
      for number, arm in enumerate(dict.fromkeys(row["arm"] for row in of_data)):
        colour = f"C{number}"
        xs, means, deviations = zip(*accuracies(of_data, arm), strict=True)
        above.errorbar(xs, means, deviations, color=colour, marker="o", capsize=3, label=arm)
        gained = gains(of_data, arm)
        if gained:
          xs, means, lows, highs = zip(*gained, strict=True)
          reach = [
            [m - low for m, low in zip(means, lows, strict=True)],
            [high - m for m, high in zip(means, highs, strict=True)],
          ]
          below.errorbar(xs, means, reach, color=colour, marker="o", capsize=3, label=arm)
      images = sorted({row["images"] for row in of_data})
      below.axhline(0.0, color="0.5", linewidth=1)
      below.set_xscale("log")
      below.set_xticks(images, map(str, images))
      below.xaxis.set_minor_locator(ticker.NullLocator())
      below.set_xlabel("images to train on")
      above.set_title(data)
      above.legend(loc="lower right")
      for axis in (above, below):
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("mAP@0.5, %")
    axes[1, 0].set_ylabel("points gained, 95 % interval")
    figure.savefig(path, dpi=110)
  finally:
    plt.close(figure)


def accuracies(rows: Sequence[Mapping[str, Any]], arm: str) -> list[tuple[int, float, float]]:
  """Returns (images, mean, standard deviation or 0) of an arm."""
  points = []
  for row in rows:
    if row["arm"] == arm:
      found = statistics.summary(list(row["figures"].values()))
      points.append((row["images"], found.mean, found.deviation if found.count > 1 else 0.0))
  return points


def gains(rows: Sequence[Mapping[str, Any]], arm: str) -> list[tuple[int, float, float, float]]:
  """Returns (images, mean difference, low, high) of an arm; the ends are the mean of one seed."""
  points = []
  for row in rows:
    found = row["difference"]
    if row["arm"] == arm and found is not None:
      low, high = (
        found[end] if found[end] is not None else found["mean"] for end in ("low", "high")
      )
      points.append((row["images"], found["mean"], low, high))
  return points
