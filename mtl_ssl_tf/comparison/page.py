"""The report of a comparison as one HTML file with its picture in it."""

import base64
import html
import io
import pathlib
from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf import files
from mtl_ssl_tf.comparison import report

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8888; padding: 0.3rem 0.8rem 0.3rem 0; text-align: left; }
img { background: white; max-width: 100%; }
code { overflow-wrap: anywhere; }
"""


def write(path: pathlib.Path, result: report.Result) -> None:
  """Writes the page.

  Args:
    path: of the file.
    result: of the comparison.

  Raises:
    OSError: it cannot be written.
  """
  picture = base64.b64encode(draw(result)).decode()
  parts = [
    "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
    "<meta name='viewport' content='width=device-width, initial-scale=1'>",
    f"<title>Comparison: {html.escape(', '.join(result.arms))}</title>",
    f"<style>{_STYLE}</style></head><body>",
    f"<h1>Comparison of {len(result.arms)} arms</h1>",
    f"<p>{html.escape(result.metric)} in per cent, after {result.last_step} steps.</p>",
    _table(report.arm_rows(result)),
    f"<img alt='Figures of each arm by training step' src='data:image/png;base64,{picture}'>",
    "<h2>Differences, seed by seed</h2>",
    _table(report.difference_rows(result)),
    "<p>The interval over seeds says what other trainings would give, at 95 %. The interval over"
    " images says what other test images would give.</p>",
    "<h2>Along the training</h2>",
    _table(report.curve_rows(result)),
    *_ablation(result),
    "<h2>What differs between the arms</h2>",
    _table(report.differing_rows(result)),
    "<h2>How it was made</h2>",
    "".join(
      f"<p>{html.escape(line.removeprefix('* '))}</p>" for line in report.about_lines(result)
    ),
    "</body></html>",
  ]
  files.write_text(path, "\n".join(parts) + "\n")


def _ablation(result: report.Result) -> list[str]:
  if not result.ablations:
    return []
  return ["<h2>Refinement, on the same weights</h2>", _table(report.ablation_rows(result))]


def _table(rows: Sequence[Sequence[str]]) -> str:
  header, *body = rows
  lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in header) + "</tr>"]
  for row in body:
    lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
  return "<div class='wide'><table>" + "\n".join(lines) + "</table></div>"


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
