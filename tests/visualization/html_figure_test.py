"""Figures of pages: places as fractions of the picture, layers, and labels that stay text."""

import base64
import io
import re

import numpy as np
from PIL import Image

from mtl_ssl_tf.visualization import html_figure, html_parts
from tests import fixtures, web_page_test

RED = (255, 0, 0)


def figure() -> html_figure.Figure:
  """Of an image of 50 × 100 pixels."""
  return html_figure.Figure(html_parts.jpeg(fixtures.noise_image(50, 100)), (50, 100), "picture")


def test_a_box_is_given_in_fractions_and_cut_to_the_picture():
  drawn = figure()
  drawn.boxes("boxes", [html_figure.Box((10, 20, 30, 120), RED)])
  html = drawn.html()
  place = 'x="0.20000" y="0.20000" width="0.80000" height="0.40000"'
  assert html.count(f"<rect {place}") == 2  # Its shadow and itself.
  assert f'<rect {place} stroke="#ff0000" stroke-width="2"/>' in html
  assert '<g class="layer-boxes">' in html


def test_dashes_and_tint():
  drawn = figure()
  drawn.boxes("a", [html_figure.Box((0, 0, 9, 9), RED, dashes=(5, 4), filled=True)])
  assert 'stroke-dasharray="5 4" style="fill:#ff000055"' in drawn.html()


def test_boxes_that_are_nowhere_are_left_out():
  drawn = figure()
  nowhere = [(np.nan, 0, 9, 9), (0, 0, np.inf, 9)]
  drawn.boxes("a", [html_figure.Box(box, RED, "label") for box in nowhere])
  assert "rect" not in drawn.html() and "label" not in drawn.html()


def labels(*boxes: html_figure.Box) -> list[tuple[str, str]]:
  """Class and style of each label."""
  drawn = figure()
  drawn.boxes("boxes", boxes, "names")
  return re.findall(r'<span class="([^"]*)" style="([^"]*)">', drawn.html())


def test_labels_have_a_layer_of_their_own_and_lie_inside_the_picture():
  (within, at_top, at_right) = labels(
    html_figure.Box((25, 20, 30, 30), RED, "a"),
    html_figure.Box((0, 20, 30, 30), RED, "b"),
    html_figure.Box((25, 80, 30, 90), RED, "c"),
  )
  assert within[0] == "tag layer-boxes layer-names"
  assert within[1].startswith("left:20.00%;bottom:50.00%")
  assert at_top[1].startswith("left:20.00%;top:0.00%")
  assert at_right[1].startswith("right:10.00%;bottom:50.00%")


def test_labels_are_text():
  drawn = figure()
  drawn.boxes("a", [html_figure.Box((0, 0, 9, 9), RED, web_page_test.EVIL)])
  drawn.line("a", (0, 0), (9, 9), RED, 2.0, web_page_test.EVIL)
  reader = web_page_test.Reader(drawn.html())
  assert "script" not in [tag for tag, _ in reader.tags]
  assert len([text for text in reader.texts if text.startswith("<script>")]) == 2


def test_lines_and_dots_keep_their_direction():
  drawn = figure()
  drawn.line("closeness", (10, 20), (40, 70), RED, 3.25, "0.50")
  drawn.dot("closeness", (10, 20), RED, 8.0)
  html = drawn.html()
  assert 'd="M0.20000 0.20000L0.70000 0.80000" stroke="#ff0000" stroke-width="3.2"' in html
  assert "left:70.00%;top:80.00%" in html
  assert 'd="M0.20000 0.20000l0 0" stroke="#ff0000" stroke-width="8.0"' in html


def test_a_mask_is_a_tint_where_it_is_1():
  drawn = figure()
  drawn.mask("foreground", np.float32([[0.0, 1.0, 0.5]]), (0, 210, 120))
  found = re.search(r'class="mask layer-foreground"><img[^>]*base64,([^"]+)"', drawn.html())
  with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
    assert np.asarray(picture).tolist() == [
      [[0, 210, 120, 0], [0, 210, 120, 150], [0, 210, 120, 75]]
    ]
