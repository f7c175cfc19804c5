"""Boxes with a colour and a text each, by their pixels."""

from mtl_ssl_tf.visualization import marks
from tests import fixtures

_RED, _BLUE = (255, 0, 0), (0, 0, 255)


def test_outlines_two_pixels_wide_the_later_on_top():
  image = fixtures.solid_image(60, 80)
  drawn = marks.draw_marks(
    image, [marks.Mark([10, 20, 40, 60], "", _RED), marks.Mark([10, 20, 40, 50], "", _BLUE)]
  )
  assert drawn.shape == image.shape and not image.any()
  assert [tuple(pixel) for pixel in drawn[25, 57:61]] == [(0, 0, 0), _RED, _RED, (0, 0, 0)]
  assert tuple(drawn[25, 20]) == tuple(drawn[25, 21]) == tuple(drawn[10, 30]) == _BLUE
  assert tuple(drawn[10, 55]) == _RED


def test_dashes_and_text():
  image = fixtures.solid_image(60, 80)
  dashed = marks.draw_marks(image, [marks.Mark([10, 20, 40, 60], "", _RED, is_dashed=True)])
  top = dashed[10, 20:60].any(axis=1)
  assert top.any() and not top.all()
  labelled = marks.draw_marks(image, [marks.Mark([30, 20, 50, 60], "cat", _BLUE)])
  assert (labelled[16:30, 20:40] == _BLUE).all(axis=2).sum() > 50
