"""Bars, switches and pictures of pages, by the HTML that comes out."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from mtl_ssl_tf.visualization import html_parts
from tests import fixtures, web_page_test


@pytest.mark.parametrize(
  ("share", "width"), [(0.25, "25.0%"), (0.0, "0.0%"), (-1.0, "0.0%"), (1.5, "100.0%")]
)
def test_a_bar_is_cut_to_its_track(share, width):
  assert f"width:{width}" in html_parts.bar(share)
  assert "background" not in html_parts.bar(share)
  assert f"width:{width};background:#ff0010" in html_parts.bar(share, (255, 0, 16))


@pytest.mark.parametrize(
  ("value", "largest", "bar"),
  [
    (1.0, 4.0, 'class="up" style="width:12.5%"'),
    (-4.0, 4.0, 'class="down" style="width:50.0%"'),
    (-9.0, 4.0, 'class="down" style="width:50.0%"'),
    (0.0, 0.0, 'class="up" style="width:0.0%"'),
  ],
)
def test_a_signed_bar_goes_either_way_from_the_middle(value, largest, bar):
  assert bar in html_parts.signed_bar(value, largest)


def test_switches_are_labelled_checkboxes_that_hide_their_layer():
  html, style = html_parts.layer_switches({"a": (web_page_test.EVIL, True), "b": ("two", False)})
  reader = web_page_test.Reader(html)
  boxes = [attributes for tag, attributes in reader.tags if tag == "input"]
  assert [(box["id"], "checked" in box) for box in boxes] == [("show-a", True), ("show-b", False)]
  assert [tag for tag, _ in reader.tags].count("label") == 2
  assert "script" not in [tag for tag, _ in reader.tags]
  assert "body:has(#show-b:not(:checked)) .layer-b { display: none; }" in style


@pytest.mark.parametrize(("longest", "size"), [(None, (64, 48)), (32, (32, 24)), (100, (64, 48))])
def test_a_jpeg_is_reduced_but_never_enlarged(longest, size):
  content = html_parts.jpeg(fixtures.noise_image(48, 64), longest)
  with Image.open(io.BytesIO(content)) as picture:
    assert (picture.format, picture.size) == ("JPEG", size)


def test_a_swatch_has_its_colour():
  assert re.findall("#[0-9a-f]{6}", html_parts.swatch((1, 2, 255))) == ["#0102ff"]
  assert html_parts.css_color(tuple(np.uint8([0, 16, 255]))) == "#0010ff"
