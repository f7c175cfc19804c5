"""Pictures of evaluations: what they draw, at one class and at many."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from mtl_ssl_tf.visualization import evaluation_plots

KINDS = ("localisation", "false_negative")


@pytest.fixture(name="drawn")
def _drawn(monkeypatch):
  """The figures that were drawn, still open."""
  figures = []
  monkeypatch.setattr(plt, "close", figures.append)
  yield figures
  monkeypatch.undo()
  plt.close("all")


def texts(axis):
  return [text.get_text() for text in axis.texts]


@pytest.mark.parametrize("count", [1, 3, 20, 80])
def test_precision_recall(tmp_path, drawn, count):
  points = np.array([[0.5, 1.0, 0.9], [0.5, 0.5, 0.8], [1.0, 2 / 3, 0.7]])
  names = [f"class {number}" for number in range(count)]
  curves = dict.fromkeys(names, points) | {names[-1]: np.zeros([0, 3])}
  ap = dict.fromkeys(names, 0.25) | {names[-1]: float("nan")}
  evaluation_plots.plot_precision_recall(curves, ap, tmp_path / "curves.png")
  shown = [axis for axis in drawn[0].axes if axis.axison]
  assert len(shown) == count
  assert shown[-1].get_title() == f"{names[-1]}\nno objects"
  if count > 1:
    assert shown[0].get_title() == "class 0\nAP 25.0"
    np.testing.assert_array_equal(shown[0].lines[0].get_xdata(), points[:, 0])
    np.testing.assert_array_equal(shown[0].lines[0].get_ydata(), points[:, 1])
  assert max(Image.open(tmp_path / "curves.png").size) < 3000


@pytest.mark.parametrize("count", [1, 3, 20, 80])
def test_errors(tmp_path, drawn, count):
  names = [f"class {number}" for number in range(count)]
  costs = {"localisation": 0.125, "false_negative": float("nan")}
  class_costs = {kind: np.linspace(-0.1, 0.3, count) for kind in KINDS}
  class_costs["localisation"][0] = np.nan
  evaluation_plots.plot_errors(costs, class_costs, names, tmp_path / "errors.png")
  top, below = drawn[0].axes
  assert texts(top) == ["12.5", "0.0"]
  assert [label.get_text() for label in top.get_yticklabels()] == ["localisation", "false negative"]
  assert [label.get_text() for label in below.get_yticklabels()] == names
  # Two bars a class; neither NaN nor a loss has a length.
  widths = [bar.get_width() for bar in below.patches]
  assert len(widths) == 2 * count and min(widths) == widths[0] == widths[count] == 0.0
  if count > 1:
    assert below.patches[-1].get_width() == pytest.approx(30.0)
    assert below.patches[-1].get_x() == pytest.approx(30.0)


@pytest.mark.parametrize("count", [1, 3, 20, 80])
def test_confusion(tmp_path, drawn, count):
  names = [f"class {number}" for number in range(count)]
  counts = np.diag(np.arange(count + 1) + 5)
  counts[0, 0], counts[1, 0] = 0, 2
  evaluation_plots.plot_confusion(counts, names, "title", tmp_path / "confusion.png")
  axis = drawn[0].axes[0]
  assert [label.get_text() for label in axis.get_yticklabels()] == [*names, "background"]
  shares = axis.images[0].get_array()
  assert shares[0, 0] == pytest.approx(6 / 8)
  assert shares[0, -1] == pytest.approx(2 / 8)  # The background comes last.
  numbers = ["6", "2", *(str(number) for number in range(7, 6 + count))]
  assert texts(axis) == (numbers if count <= 25 else [])


def test_names_are_shortened_and_never_formulas(tmp_path, drawn):
  names = ["a" * 40, "cost $5$"]
  evaluation_plots.plot_confusion(np.eye(3, dtype=int), names, "title", tmp_path / "names.png")
  labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
  assert labels[:2] == ["a" * 21 + "…", r"cost \$5\$"]


def test_figures_are_closed(tmp_path):
  evaluation_plots.plot_confusion(np.eye(2, dtype=int), ["a"], "title", tmp_path / "a.png")
  evaluation_plots.plot_errors({"x": 0.1}, {"x": np.ones(1)}, ["a"], tmp_path / "b.png")
  evaluation_plots.plot_precision_recall({"a": np.zeros([0, 3])}, {"a": 0.0}, tmp_path / "c.png")
  assert plt.get_fignums() == []
