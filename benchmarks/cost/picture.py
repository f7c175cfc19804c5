"""The curves of growth in one picture: points, and the line that their lower half lies on."""

import matplotlib

matplotlib.use("Agg")

import pathlib

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.cost import lines, results, rows, summary

_ROWS = (("s", "seconds"), ("mib", "MiB over the process with its model"))
_CALLS = {"infer": ("inference", "tab:blue"), "train": ("training step", "tab:orange")}


def draw(found: results.Results, path: pathlib.Path) -> None:
  """Draws a column for each curve that was measured: time above, memory below.

  Raises:
    ValueError: there is none, or the suffix of the path is no format of pictures.
  """
  curves = summary.growth(found)
  names = [name for name in rows.CURVES if any(curve == name for curve, _ in curves)]
  if not names:
    raise ValueError("the results hold no curves of growth; accepted: those of --only growth")
  figure, axes = plt.subplots(
    len(_ROWS), len(names), figsize=(3.4 * len(names), 5.6), squeeze=False, layout="constrained"
  )
  try:
    for column, name in enumerate(names):
      for row, (quantity, label) in enumerate(_ROWS):
        axis = axes[row, column]
        for call, (words, color) in _CALLS.items():
          points = curves.get((name, f"{call}_{quantity}"))
          if points:
            _draw_curve(axis, points, words, color)
        axis.set_xlabel(name)
        axis.set_ylim(bottom=0.0)
        axis.grid(alpha=0.3)
        if column == 0:
          axis.set_ylabel(label)
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=100)
  finally:
    plt.close(figure)


def _draw_curve(axis: Axes, points: list[tuple[int, float]], words: str, color: str) -> None:
  places, values = zip(*points, strict=True)
  axis.plot(places, values, "o", color=color, markersize=4, label=words)
  line = lines.fit(places, values)
  if line is None:
    return
  ends = (places[0], places[-1])
  axis.plot(ends, [line.fixed + line.slope * end for end in ends], color=color, linewidth=0.8)
  if line.leaves_at is not None:
    axis.axvline(line.leaves_at, color=color, linestyle=":", linewidth=0.8)
