"""Curves as SVG that is part of a page: its colours are the page's, its words are text."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mtl_ssl_tf import web_page

# Units of the drawing; on a page about a pixel each.
_WIDTH, _HEIGHT = 320, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 38
_MAX_POINTS = 400
_NUM_COLORS = 4
# Beyond these, lengths of axes and distances of ticks would be infinite, or zero.
_MAX_VALUE, _MIN_RANGE = 1e300, 1e-300


class Line(NamedTuple):
  """A curve.

  Attributes:
    name: in the legend; empty for none.
    points: x and y of each; those that are not finite leave a gap.
    is_dashed: whether it is.
    dots: whether each point is marked.
  """

  name: str
  points: Sequence[tuple[float, float]]
  is_dashed: bool = False
  dots: bool = False


class Axis(NamedTuple):
  """One side of a chart.

  Attributes:
    label: text.
    low: where it begins; None takes the smallest value.
    high: where it ends; None takes the largest.
  """

  label: str
  low: float | None = None
  high: float | None = None


def chart(
  title: str,
  description: str,
  lines: Sequence[Line],
  x_axis: Axis,
  y_axis: Axis,
  *,
  bars: Sequence[tuple[float, float, float]] = (),
  marks: Sequence[tuple[float, float]] = (),
) -> str:
  """Returns a figure with a caption and a legend.

  Args:
    title: the caption.
    description: says what the drawing shows, to those who do not see it.
    lines: curves; the first four have colours of their own.
    x_axis: below.
    y_axis: left.
    bars: left end, right end and height of each bar, behind the curves.
    marks: points that are set off.
  """
  xs = [x for line in lines for x, _ in line.points] + [x for bar in bars for x in bar[:2]]
  ys = [y for line in lines for _, y in line.points] + [bar[2] for bar in bars]
  horizontal = _Scale(x_axis, xs, _LEFT, _WIDTH - _RIGHT)
  vertical = _Scale(y_axis, ys, _HEIGHT - _BOTTOM, _TOP)
  parts = [*_grid(horizontal, vertical, x_axis.label, y_axis.label)]
  for left, right, height in bars:
    x, y = horizontal(left), vertical(height)
    parts.append(
      f'<rect class="area" x="{x:.1f}" y="{y:.1f}" width="{horizontal(right) - x:.1f}"'
      f' height="{vertical(vertical.low) - y:.1f}"/>'
    )
  for number, line in enumerate(lines):
    parts += _line(line, horizontal, vertical, number % _NUM_COLORS)
  for x, y in marks:
    parts.append(f'<circle class="mark" cx="{horizontal(x):.1f}" cy="{vertical(y):.1f}" r="4"/>')
  drawing = (
    f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{web_page.escape(description)}">'
    f"{''.join(parts)}</svg>"
  )
  legend = "".join(
    f'<span class="key c{number % _NUM_COLORS}{" dashed" * line.is_dashed}">'
    f"{web_page.escape(line.name)}</span>"
    for number, line in enumerate(lines)
    if line.name
  )
  return (
    f'<figure class="chart">{drawing}<figcaption>{web_page.escape(title)}{legend}</figcaption>'
    "</figure>"
  )


class _Scale:
  """Values of an axis to places in the drawing."""

  def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float):
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    finite = [min(max(value, -_MAX_VALUE), _MAX_VALUE) for value in finite]
    low = min(finite) if axis.low is None else axis.low
    high = max(finite) if axis.high is None else axis.high
    if not low + _MIN_RANGE < high:
      low, high = low - _margin(low), high + _margin(high)
    self.low, self.high, self._start, self._end = low, high, start, end

  def __call__(self, value: float) -> float:
    share = (value - self.low) / (self.high - self.low)
    return self._start + min(max(share, 0.0), 1.0) * (self._end - self._start)

  def ticks(self) -> list[float]:
    """Round values, some four of them."""
    rough = (self.high - self.low) / 4.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(self.low / step - 1e-9)
    last = math.floor(self.high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _margin(value: float) -> float:
  """Length of an axis on either side of its only value."""
  return 0.5 * (abs(value) if abs(value) > _MIN_RANGE else 1.0)


def _grid(horizontal: _Scale, vertical: _Scale, x_label: str, y_label: str) -> list[str]:
  left, right, top, bottom = _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM
  parts = []
  for value in vertical.ticks():
    y = vertical(value)
    parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
    parts.append(f'<text x="{left - 5}" y="{y + 3.5:.1f}" class="end">{_shown(value)}</text>')
  for value in horizontal.ticks():
    x = horizontal(value)
    parts.append(f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>')
    parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" class="middle">{_shown(value)}</text>')
  middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
  parts.append(
    f'<text x="{middle_x}" y="{_HEIGHT - 6}" class="middle">{web_page.escape(x_label)}</text>'
    f'<text x="11" y="{middle_y}" class="middle" transform="rotate(-90 11 {middle_y})">'
    f"{web_page.escape(y_label)}</text>"
  )
  return parts


def _shown(value: float) -> str:
  if abs(value) >= 10_000:
    return f"{value / 1000:g}k"
  return f"{value:.6g}"


def _line(line: Line, horizontal: _Scale, vertical: _Scale, number: int) -> list[str]:
  points = _thinned(line.points)
  commands, is_open = [], False
  for x, y in points:
    if not (math.isfinite(x) and math.isfinite(y)):
      is_open = False
      continue
    commands.append(f"{'L' if is_open else 'M'}{horizontal(x):.1f} {vertical(y):.1f}")
    is_open = True
  if not commands:
    return []
  style = f'class="line c{number}{" dashed" * line.is_dashed}"'
  parts = [f'<path {style} d="{"".join(commands)}"/>']
  if line.dots:
    parts += [
      f'<circle class="dot c{number}" cx="{horizontal(x):.1f}" cy="{vertical(y):.1f}" r="2.5"/>'
      for x, y in points
      if math.isfinite(x) and math.isfinite(y)
    ]
  return parts


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
  """At most so many points, the first and the last among them."""
  if len(points) <= _MAX_POINTS:
    return points
  stride = (len(points) - 1) / (_MAX_POINTS - 1)
  return [points[round(number * stride)] for number in range(_MAX_POINTS)]
