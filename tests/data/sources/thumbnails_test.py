"""Tests of small pictures for pages: which part of an image they show, how large, and how sharp."""

import io

import numpy as np
import pytest
from PIL import Image

from mtl_ssl_tf.data.sources import thumbnails
from tests.data import costly_images, voc_files


def _halves(image_format="PNG", height=40, width=80) -> bytes:
  """An image that is red on the left and blue on the right."""
  pixels = np.zeros([height, width, 3], np.uint8)
  pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 255
  return voc_files.image_bytes(Image.fromarray(pixels), image_format)


class TestPart:
  @pytest.mark.parametrize(
    ("part", "size", "scale", "colour"),
    [
      ((40, 0, 80, 40), (100, 100), 2.5, (0, 0, 255)),
      ((10, 5, 30, 40), (57, 100), 100 / 35, (255, 0, 0)),
      ((50, 30, 60, 35), (40, 20), 4.0, (0, 0, 255)),
      ((39, 7, 40, 8), (4, 4), 4.0, (255, 0, 0)),
    ],
  )
  def test_is_shown_at_the_size_that_is_asked_for(self, part, size, scale, colour):
    picture, found = thumbnails.decode_part(_halves(), part, 100)
    assert (picture.size, found) == (size, pytest.approx(scale))
    assert (np.asarray(picture) == colour).all()

  def test_of_a_large_part_is_smaller(self):
    picture, scale = thumbnails.decode_part(_halves("JPEG", 400, 800), (0, 0, 800, 10), 100)
    assert (picture.size, scale) == ((100, 1), 0.125)

  @pytest.mark.parametrize("encoded", [None, b"", b"<html>", _halves()[:60], _halves("GIF")])
  def test_no_picture(self, encoded):
    assert thumbnails.decode_part(encoded, (0, 0, 9, 9), 100) is None

  def test_too_many_pixels(self, monkeypatch):
    monkeypatch.setattr(thumbnails.image_files, "MAX_PIXELS", 40 * 80 - 1)
    assert thumbnails.decode_part(_halves(), (0, 0, 9, 9), 100) is None

  @pytest.mark.parametrize("name", costly_images.REFUSED)
  def test_an_image_that_costs_too_much_is_not_opened(self, name, monkeypatch):
    opened = []
    monkeypatch.setattr(Image, "open", lambda *args, **options: opened.append(args))
    encoded = costly_images.REFUSED[name][0]
    assert thumbnails.decode_part(encoded, (0, 0, 9, 9), 100) is None
    assert not opened


def test_lines_stay_sharp():
  pixels = np.full([48, 64, 3], 255, np.uint8)
  pixels[:, 21], pixels[30] = (255, 0, 0), (0, 0, 255)
  lengths = []
  for options, most in (({}, 0.6), ({"quality": 95}, 0.3)):
    content = thumbnails.encode(Image.fromarray(pixels), **options)
    with Image.open(io.BytesIO(content)) as image:
      assert image.format == "JPEG"
      assert np.abs(np.asarray(image).astype(int) - pixels).mean() < most
    lengths.append(len(content))
  assert lengths[0] < lengths[1]
