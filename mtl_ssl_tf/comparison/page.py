"""The report of a comparison as one HTML file with its picture in it."""

import io
import pathlib
from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf import files, web_page
from mtl_ssl_tf.comparison import report

# The picture has black letters.
_STYLE = "img { background: white; }"


def write(path: pathlib.Path, result: report.Result) -> None:
  """Writes the page.

  Args:
    path: of the file.
    result: of the comparison.

  Raises:
    OSError: it cannot be written.
  """
  title = f"Comparison: {', '.join(result.arms)}"
  parts = [
    f"<h1>Comparison of {len(result.arms)} arms</h1>",
    f"<p>{web_page.escape(result.metric)} in per cent, after {result.last_step} steps.</p>",
    _table(report.arm_rows(result), "Figures of each arm"),
    web_page.image(draw(result), "png", "Figures of each arm by training step"),
    "<h2>Differences, seed by seed</h2>",
    _table(report.difference_rows(result), "Differences"),
    "<p>The interval over seeds says what other trainings would give, at 95 %. The interval over"
    " images says what other test images would give.</p>",
    "<h2>Along the training</h2>",
    _table(report.curve_rows(result), "Figures along the training"),
    *_ablation(result),
    "<h2>What differs between the arms</h2>",
    _table(report.differing_rows(result), "Settings that differ"),
    "<h2>How it was made</h2>",
    *(f"<p>{web_page.escape(line.removeprefix('* '))}</p>" for line in report.about_lines(result)),
  ]
  files.write_bytes(path, web_page.page(title, parts, _STYLE))


def _ablation(result: report.Result) -> list[str]:
  if not result.ablations:
    return []
  table = _table(report.ablation_rows(result), "Figures with other refinements")
  return ["<h2>Refinement, on the same weights</h2>", table]


def _table(rows: Sequence[Sequence[str]], label: str) -> str:
  header, *body = rows
  return web_page.table(header, body, label)


def draw(result: report.Result) -> bytes:
  """Returns a PNG of each arm's mean by step, with a line from the lowest to the highest seed."""
  # Matplotlib takes a while to load.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(8.0, 4.5), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots()
  for arm in result.arms:
    points = [
      (step, list(found[arm].values())) for step, found in result.by_step.items() if found.get(arm)
    ]
    if not points:
      continue
    steps = [step for step, _ in points]
    means = np.array([np.mean(values) for _, values in points])
    below = means - [min(values) for _, values in points]
    above = np.array([max(values) for _, values in points]) - means
    axes.errorbar(steps, means, [below, above], marker="o", capsize=3, label=arm)
  axes.set_xlabel("training step")
  axes.set_ylabel(f"{result.metric}, %")
  axes.grid(alpha=0.3)
  axes.legend()
  content = io.BytesIO()
  figure.savefig(content, format="png", dpi=110)
  return content.getvalue()
