"""Tests of the brushes of the embedded data set."""

import numpy as np
import pytest

from mtl_ssl_tf.data.synthetic_scenes import brushes as drawing


def test_look_alikes_are_drawn_identically():
  orange = drawing.draw_object(drawing.KINDS["orange"], np.random.default_rng(7))
  ball = drawing.draw_object(drawing.KINDS["ball"], np.random.default_rng(7))
  np.testing.assert_array_equal(orange.rgb, ball.rgb)
  np.testing.assert_array_equal(orange.alpha, ball.alpha)


@pytest.mark.parametrize("name", drawing.KINDS)
def test_sprite_is_tight_coloured_and_of_the_size_of_its_kind(name):
  kind = drawing.KINDS[name]
  for seed in range(20):
    sprite = drawing.draw_object(kind, np.random.default_rng(seed))
    assert sprite.rgb.shape == (*sprite.mask.shape, 3)
    assert sprite.rgb.dtype == sprite.alpha.dtype == np.float32
    assert sprite.rgb.min() >= 0.0 and sprite.rgb.max() <= 1.0
    assert sprite.rgb[sprite.mask].std() > 0.05
    np.testing.assert_array_equal(sprite.mask, sprite.alpha >= 0.5)
    for edge in (sprite.mask[0], sprite.mask[-1], sprite.mask[:, 0], sprite.mask[:, -1]):
      assert edge.any()
    # A cone is up to 1.4 times as tall as wide, a turned napkin up to sqrt(2) times as wide.
    longer = max(sprite.mask.shape)
    assert kind.size_px[0] - 2 <= longer <= 1.45 * kind.size_px[1] + 2


def test_unit_scales_and_tiny_shrinks():
  sphere = drawing.KINDS["ball"]
  [(single, _), (double, _), (tiny, _)] = [
    drawing.draw_object(sphere, np.random.default_rng(3), **how).mask.shape
    for how in ({}, {"unit": 2.0}, {"tiny": True})
  ]
  assert abs(double - 2 * single) <= 2
  assert 11 <= tiny <= 18


@pytest.mark.parametrize(("height", "width"), [(96, 96), (192, 256), (130, 97)])
def test_background_fills_any_size_and_never_repeats(height, width):
  one, two = (drawing.draw_background(np.random.default_rng(s), height, width) for s in (0, 1))
  assert one.shape == (height, width, 3) and one.dtype == np.float32
  assert np.isfinite(one).all()
  assert one.std() > 0.02
  assert np.abs(one - two).mean() > 0.02


def test_to_bytes_rounds_and_clips():
  np.testing.assert_array_equal(
    drawing.to_bytes(np.array([-0.1, 0.0, 0.5, 1.0, 1.2], np.float32)), [0, 0, 128, 255, 255]
  )
