"""Pictures of an evaluation: precision-recall curves, costs of errors, confusions."""

import math
import os
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import ticker

_COLORS = plt.get_cmap("tab10").colors
# Above so many classes a confusion matrix has no room for numbers.
_MAX_NUMBERED = 25
_MAX_NAME = 22


def plot_precision_recall(
  curves: Mapping[str, np.ndarray],
  average_precision: Mapping[str, float],
  path: str | os.PathLike[str],
) -> None:
  """Draws a panel for each class: the curve as measured, and its envelope.

  Args:
    curves: by class, float [R, 3]: recall, precision and score, best score first.
    average_precision: by class, NaN without objects.
    path: the picture to write.
  """
  num_classes = len(curves)
  columns = min(num_classes, max(1, math.ceil(math.sqrt(1.4 * num_classes))))
  rows = math.ceil(num_classes / columns)
  side = 4.0 if num_classes == 1 else 2.2 if num_classes <= 24 else 1.7
  # Inches between and around the panels. With a layout that matplotlib finds, or axes that share
  # their limits, eighty panels take ten seconds.
  gap, edge = 0.45, 0.65
  width, height = columns * (side + gap / 2) + edge, rows * (side + gap) + edge
  figure, axes = plt.subplots(
    rows,
    columns,
    figsize=(width, height),
    squeeze=False,
    gridspec_kw={
      "left": edge / width,
      "right": 1.0 - 0.1 / width,
      "bottom": edge / height,
      "top": 1.0 - 0.45 / height,
      "wspace": gap / 2 / side,
      "hspace": gap / side,
    },
  )
  try:
    for axis, (name, points) in zip(axes.flat, curves.items(), strict=False):
      ap = average_precision[name]
      recall, precision = points[:, 0], points[:, 1]
      axis.set(xlim=(0.0, 1.02), ylim=(0.0, 1.04))
      if not math.isnan(ap) and len(points):
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        axis.fill_between(
          np.append(0.0, recall), np.append(envelope[0], envelope), step="pre", alpha=0.2
        )
        axis.plot(recall, precision, linewidth=0.9)
      value = "no objects" if math.isnan(ap) else f"AP {100 * ap:.1f}"
      axis.set_title(f"{_short(name)}\n{value}", fontsize=8)
      axis.grid(alpha=0.3)
      axis.tick_params(labelsize=7)
    for number, axis in enumerate(axes.flat):
      if number >= num_classes:
        axis.set_axis_off()
      # Numbers stand below the lowest panel of each column, and left of the first column.
      axis.tick_params(labelbottom=number + columns >= num_classes, labelleft=not number % columns)
    figure.supxlabel("recall", fontsize=9, y=0.15 / height)
    figure.supylabel("precision", fontsize=9, x=0.12 / width)
    figure.savefig(path, dpi=100)
  finally:
    plt.close(figure)


def plot_errors(
  costs: Mapping[str, float],
  class_costs: Mapping[str, np.ndarray],
  class_names: Sequence[str],
  path: str | os.PathLike[str],
) -> None:
  """Draws the mean AP that each kind of error costs, and below it the same by class.

  Args:
    costs: mean AP by kind, fractions.
    class_costs: by kind, float [C - 1]; NaN without objects.
    class_names: class 1 first.
    path: the picture to write.
  """
  kinds = [kind.replace("_", " ") for kind in costs]
  class_height = 1.2 + 0.22 * len(class_names)
  figure, (top, below) = plt.subplots(
    2, 1, figsize=(9, 2.6 + class_height), layout="constrained", height_ratios=[2.6, class_height]
  )
  try:
    means = 100.0 * np.nan_to_num(np.array(list(costs.values())))
    colors = _COLORS[: len(kinds)]
    bars = top.barh(kinds, means, color=colors, height=0.7)
    top.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
    top.margins(x=0.1)
    top.invert_yaxis()
    top.set_title("mean AP gained by fixing one kind of error", fontsize=10)
    top.set_xlabel("points of mean AP", fontsize=9)

    bottom = np.zeros(len(class_names))
    places = np.arange(len(class_names))
    for kind, color, values in zip(kinds, colors, class_costs.values(), strict=True):
      # A class may lose by fixing; there is no bar for that.
      widths = 100.0 * np.maximum(np.nan_to_num(values), 0.0)
      below.barh(places, widths, left=bottom, color=color, label=kind, height=0.7)
      bottom += widths
    below.set_yticks(places, [_short(name) for name in class_names], fontsize=8)
    below.set_ylim(len(class_names) - 0.4, -0.6)
    below.set_title("by class, kinds side by side (they do not add up)", fontsize=10)
    below.set_xlabel("points of AP", fontsize=9)
    below.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for axis in (top, below):
      axis.grid(axis="x", alpha=0.3)
      axis.set_axisbelow(True)
    figure.savefig(path, dpi=100)
  finally:
    plt.close(figure)


def plot_confusion(
  counts: np.ndarray, class_names: Sequence[str], title: str, path: str | os.PathLike[str]
) -> None:
  """Draws a confusion matrix, coloured by the share of each row.

  Args:
    counts: int [C, C], true class by row and detected class by column; 0 is the background, which
      is drawn last.
    class_names: class 1 first.
    title: above the picture.
    path: the picture to write.
  """
  counts = np.roll(counts, -1, axis=(0, 1))
  names = [*map(_short, class_names), "background"]
  shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
  numbered = len(class_names) <= _MAX_NUMBERED
  side = max(4.5, (0.5 if numbered else 0.2) * len(names) + 1.5)
  figure, axis = plt.subplots(figsize=(side + 0.9, side), layout="constrained")
  try:
    image = axis.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    size = 9 if len(names) <= 12 else 7
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axis.set_yticks(range(len(names)), names, fontsize=size)
    if numbered:
      for (row, column), count in np.ndenumerate(counts):
        if count:
          color = "white" if shares[row, column] > 0.5 else "black"
          axis.text(
            column, row, str(count), ha="center", va="center", color=color, fontsize=size - 1
          )
    edge = len(names) - 1.5
    for line in (axis.axhline, axis.axvline):
      line(edge, color="gray", linewidth=0.8)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("detected class", fontsize=9)
    axis.set_ylabel("true class", fontsize=9)
    bar = figure.colorbar(image, ax=axis, fraction=0.04, pad=0.02)
    bar.set_label("share of the row", fontsize=8)
    bar.ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    bar.ax.tick_params(labelsize=8)
    # The layout leaves long names of rows no room for their axis' own.
    figure.savefig(path, dpi=100, bbox_inches="tight")
  finally:
    plt.close(figure)


def _short(name: str) -> str:
  """Shortens a name to fit next to or above a picture; dollar signs would start a formula."""
  shown = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
  return shown.replace("$", r"\$")
