"""Colours of composites: each change by itself, how often it comes, and the blur by hand."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.data.composites import colors
from tests import fixtures

IMAGE = tf.cast(fixtures.noise_image(24, 24), tf.float32)
OFF = insloc_config.Colors(jitter_probability=0.0, grey_probability=0.0, blur_probability=0.0)


def change(seed=0, image=IMAGE, **settings) -> np.ndarray:
  return colors.random_colors(image, [4, seed], OFF.replace(**settings)).numpy()


def test_a_blur_of_nothing_changes_nothing():
  found = change(blur_probability=1.0, blur_sigma_min=0.0, blur_sigma_max=0.0)
  np.testing.assert_allclose(found, IMAGE, atol=1e-3)


def test_nothing_is_changed_where_all_probabilities_are_0():
  np.testing.assert_array_equal(change(), IMAGE)


def test_grey_is_the_luminance_three_times():
  image = tf.constant([[[100.0, 200.0, 50.0], [0.0, 0.0, 200.0]]])
  expected = [0.2989 * 100 + 0.587 * 200 + 0.114 * 50, 0.114 * 200]
  np.testing.assert_allclose(
    colors.greyscale(image), np.tile(np.reshape(expected, [1, 2, 1]), 3), rtol=1e-3
  )
  np.testing.assert_array_equal(change(grey_probability=1.0), colors.greyscale(IMAGE))


def test_jitter_has_the_settings_strengths():
  only = insloc_config.Colors().jitter.replace(contrast=0.0, saturation=0.0, hue=0.0)
  image = tf.fill([24, 24, 3], 100.0)
  factors = [
    change(seed, image, jitter_probability=1.0, jitter=only)[0, 0, 0] / 100.0 for seed in range(40)
  ]
  assert min(factors) >= 0.6 - 1e-5 and max(factors) <= 1.4 + 1e-5
  assert min(factors) < 0.7 and max(factors) > 1.3
  # All four change the colours of a noisy image, too.
  changed = change(jitter_probability=1.0)
  assert np.abs(np.diff(changed - IMAGE, axis=-1)).max() > 1.0


@pytest.mark.parametrize("sigma", [0.4, 1.3, 2.0])
def test_blur_is_a_weighted_mean_over_the_mirrored_image(sigma):
  image = np.random.default_rng(0).uniform(0.0, 255.0, [9, 9, 3]).astype(np.float32)
  found = colors.blur(tf.constant(image), tf.constant(sigma), 2.0).numpy()
  # Three of the largest standard deviations in each direction.
  weights = np.exp(-0.5 * (np.arange(-6, 7) / sigma) ** 2)
  weights /= weights.sum()
  padded = np.pad(image, [(6, 6), (6, 6), (0, 0)], "symmetric")
  for y in range(9):
    for x in range(9):
      around = padded[y : y + 13, x : x + 13]
      expected = np.einsum("i,j,ijc->c", weights, weights, around)
      np.testing.assert_allclose(found[y, x], expected, rtol=1e-4)


@pytest.mark.parametrize(("side", "sigma"), [(256, 2.0), (128, 1.0)])
def test_blur_goes_with_the_composite(side, sigma):
  image = np.zeros([side, side, 3], np.float32)
  image[50, 50] = 100.0
  found = change(
    image=tf.constant(image), blur_probability=1.0, blur_sigma_min=2.0, blur_sigma_max=2.0
  )
  expected = colors.blur(tf.constant(image), tf.constant(sigma), sigma)
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_blur_may_reach_further_than_the_image():
  image = np.random.default_rng(0).uniform(0.0, 255.0, [4, 4, 3]).astype(np.float32)
  found = colors.blur(tf.constant(image), tf.constant(50.0), 50.0)
  # So wide, it is nearly the plain mean, which ends where the mirrored image does.
  padded = np.pad(image, [(4, 4), (4, 4), (0, 0)], "symmetric")
  for y in range(4):
    for x in range(4):
      expected = padded[y : y + 9, x : x + 9].mean(axis=(0, 1))
      np.testing.assert_allclose(found[y, x], expected, rtol=0.01)


def test_sigmas_fill_their_range():
  image = np.zeros([32, 32, 3], np.float32)
  image[16, 16] = 100.0
  peaks = []
  for seed in range(30):
    found = change(
      seed, tf.constant(image), blur_probability=1.0, blur_sigma_min=4.0, blur_sigma_max=16.0
    )
    peaks.append(found.max())
  # Sigma is 0.5 to 2 pixels here, and the peak falls with its square.
  ends = [
    colors.blur(tf.constant(image), tf.constant(sigma), 2.0).numpy().max() for sigma in (0.5, 2.0)
  ]
  assert max(peaks) <= ends[0] + 0.01 and min(peaks) >= ends[1] - 0.01
  assert max(peaks) > 0.6 * ends[0] and min(peaks) < 1.3 * ends[1]


@pytest.mark.parametrize("name", ["jitter_probability", "grey_probability", "blur_probability"])
def test_each_change_comes_with_its_probability(name):
  image = IMAGE[:8, :8]
  # Enough to be seen in so small an image.
  settings = OFF.replace(**{name: 0.3, "blur_sigma_min": 40.0, "blur_sigma_max": 40.0})
  draw = tf.function(lambda seed: colors.random_colors(image, tf.stack([9, seed]), settings))
  changed = [bool(np.any(draw(tf.constant(seed)) != image)) for seed in range(150)]
  assert 0.2 < np.mean(changed) < 0.4


def test_changes_come_independently():
  # With one seed for two changes, they would always come together.
  image = IMAGE[:8, :8]

  def changed(**settings):
    settings = OFF.replace(blur_sigma_min=40.0, blur_sigma_max=40.0, **settings)
    draw = tf.function(lambda seed: colors.random_colors(image, tf.stack([2, seed]), settings))
    return [bool(np.any(draw(tf.constant(seed)) != image)) for seed in range(60)]

  names = ("jitter_probability", "grey_probability", "blur_probability")
  found = [changed(**{name: 0.5}) for name in names]
  for i, j in ((0, 1), (0, 2), (1, 2)):
    assert {*zip(found[i], found[j], strict=True)} == {
      (False, False), (False, True), (True, False), (True, True)
    }  # fmt: skip
