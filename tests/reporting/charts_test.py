"""Charts: places of points, gaps, and text that is only text."""

import re

import pytest

from mtl_ssl_tf.reporting import charts

X, Y = charts.Axis("x", 0.0, 1.0), charts.Axis("y", 0.0, 1.0)


def paths(text):
  return re.findall(r'<path class="line[^"]*" d="([^"]*)"', text)


def test_places():
  drawn = charts.chart("t", "d", [charts.Line("", [(0.0, 0.0), (1.0, 1.0)])], X, Y)
  # The lower left and the upper right corner of the field.
  assert paths(drawn) == ["M44.0 182.0L310.0 10.0"]
  beyond = charts.chart("t", "d", [charts.Line("", [(-1.0, 2.0)])], X, Y)
  assert paths(beyond) == ["M44.0 10.0"]


def test_values_that_are_not_finite_leave_gaps():
  points = [(0.0, 0.0), (0.5, float("nan")), (1.0, 1.0)]
  assert paths(charts.chart("t", "d", [charts.Line("", points)], X, Y)) == [
    "M44.0 182.0M310.0 10.0"
  ]
  assert paths(charts.chart("t", "d", [charts.Line("", points[1:2])], X, Y)) == []


@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [1e-7, 2e-7], [-5.0, 1e6]])
def test_any_values_have_a_scale(values):
  points = list(enumerate(values))
  drawn = charts.chart("t", "d", [charts.Line("", points)], charts.Axis("x"), charts.Axis("y"))
  assert "nan" not in drawn and "inf" not in drawn
  assert 2 <= drawn.count('class="end"') <= 8


def test_text_is_only_text():
  evil = '<script>alert(1)</script>"'
  drawn = charts.chart(evil, evil, [charts.Line(evil, [])], charts.Axis(evil), charts.Axis(evil))
  assert "<script" not in drawn and drawn.count("&lt;script&gt;") == 5
  assert 'role="img" aria-label="&lt;script' in drawn


def test_long_curves_are_thinned():
  points = [(x / 10_000, 0.5) for x in range(10_001)]
  (path,) = paths(charts.chart("t", "d", [charts.Line("", points)], X, Y))
  assert path.count("L") == 399 and path.endswith("L310.0 96.0")
