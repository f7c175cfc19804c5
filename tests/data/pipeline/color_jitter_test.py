"""Changes of colours: brightness, contrast, saturation and hue, by hand and at random."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import color_jitter

# Red, green and blue weigh 0.2989, 0.5870 and 0.1140 in the greyscale.
RED_GREY, GREEN_GREY = 0.2989, 0.5870
# In the middle of the range, so that small changes are cut nowhere.
MIDDLE = np.array([[[100, 100, 100], [120, 90, 60]], [[60, 140, 110], [90, 80, 130]]], np.float32)


def grey(image) -> np.ndarray:
  return np.asarray(tf.image.rgb_to_grayscale(image))


def pixels(*values) -> tf.Tensor:
  """An image of one row."""
  return tf.constant([values], tf.float32)


def jitter(seed=0, image=MIDDLE, **strengths) -> np.ndarray:
  return color_jitter.random_color_jitter(tf.constant(image), [3, seed], **strengths).numpy()


def test_brightness_multiplies_and_is_cut():
  image = color_jitter.adjust_brightness(pixels([100, 10, 0], [200, 20, 255]), 1.5)
  np.testing.assert_allclose(image, pixels([150, 15, 0], [255, 30, 255]))


def test_contrast_goes_by_the_mean_of_the_greyscale():
  # Greys of 100 and 0 have the mean 50.
  image = pixels([200 / RED_GREY / 2, 0, 0], [0, 0, 0])
  mean = 50.0
  np.testing.assert_allclose(color_jitter.adjust_contrast(image, 0.0), np.full([1, 2, 3], mean))
  halved = 0.5 * image.numpy() + 0.5 * mean
  np.testing.assert_allclose(color_jitter.adjust_contrast(image, 0.5), halved)
  # 1.5 x 0 - 0.5 x 50 is below 0, and 1.5 x 334.6 - 25 above 255.
  np.testing.assert_allclose(
    color_jitter.adjust_contrast(image, 1.5), pixels([255, 0, 0], [0, 0, 0])
  )


def test_saturation_goes_by_each_pixels_own_grey():
  image = pixels([200, 0, 0], [0, 100, 0])
  red, green = 200 * RED_GREY, 100 * GREEN_GREY
  halved = color_jitter.adjust_saturation(image, 0.5)
  expected = pixels([100 + red / 2, red / 2, red / 2], [green / 2, 50 + green / 2, green / 2])
  np.testing.assert_allclose(halved, expected, rtol=1e-5)
  more = color_jitter.adjust_saturation(image, 2.0)
  np.testing.assert_allclose(more, pixels([255, 0, 0], [0, 200 - green, 0]), rtol=1e-5)


def test_hue_moves_around_the_circle():
  image = pixels([200, 0, 0], [250, 100, 100], [70, 70, 70])
  third = color_jitter.adjust_hue(image, 1 / 3)
  np.testing.assert_allclose(third, pixels([0, 200, 0], [100, 250, 100], [70] * 3), atol=1e-2)
  back = color_jitter.adjust_hue(image, -1 / 3)
  np.testing.assert_allclose(back, pixels([0, 0, 200], [100, 100, 250], [70] * 3), atol=1e-2)


def test_no_strength_returns_the_image_itself():
  image = tf.constant(MIDDLE)
  assert color_jitter.random_color_jitter(image, [0, 0]) is image


def test_each_strength_belongs_to_its_operation():
  for seed in range(5):
    brighter = jitter(seed, brightness=0.2) / MIDDLE
    np.testing.assert_allclose(brighter, np.broadcast_to(brighter[0, 0, 0], MIDDLE.shape), 1e-5)
    assert brighter[0, 0, 0] != 1.0
    contrast = jitter(seed, contrast=0.2)
    np.testing.assert_allclose(np.mean(grey(contrast)), np.mean(grey(MIDDLE)), 1e-3)
    assert np.std(grey(contrast)) != pytest.approx(np.std(grey(MIDDLE)), 1e-4)
    saturated = jitter(seed, saturation=0.2)
    np.testing.assert_allclose(grey(saturated), grey(MIDDLE), 1e-3)
    assert np.abs(saturated - MIDDLE).max() > 0.1
    turned = jitter(seed, hue=0.2)
    np.testing.assert_allclose(np.max(turned, -1), np.max(MIDDLE, -1), 1e-4)
    np.testing.assert_allclose(np.min(turned, -1), np.min(MIDDLE, -1), 1e-4)
    assert np.abs(turned - MIDDLE).max() > 0.1


@pytest.mark.parametrize(
  ("name", "strength", "middle"),
  [("brightness", 0.4, 1.0), ("contrast", 0.3, 1.0), ("saturation", 0.2, 1.0), ("hue", 0.1, 0.0)],
)
def test_amounts_fill_their_range(name, strength, middle):
  with mock.patch.object(color_jitter, f"adjust_{name}", lambda image, amount: image + amount):
    draw = tf.function(
      lambda seed: color_jitter.random_color_jitter(
        tf.zeros([1, 1, 3]), tf.stack([7, seed]), **{name: strength}
      )[0, 0, 0]
    )
    amounts = np.array([draw(tf.constant(seed)) for seed in range(200)])
  assert np.all(np.abs(amounts - middle) <= strength + 1e-6)
  for end in (middle - strength, middle + strength):
    assert np.min(np.abs(amounts - end)) < 0.05 * strength


def test_the_order_is_random():
  with (
    mock.patch.object(color_jitter, "adjust_brightness", lambda image, _: 2.0 * image),
    mock.patch.object(color_jitter, "adjust_hue", lambda image, _: image + 1.0),
  ):
    found = [
      jitter(seed, np.ones([1, 1, 3], np.float32), brightness=0.1, hue=0.1)[0, 0, 0]
      for seed in range(30)
    ]
  # 2 x 1 + 1 and 2 x (1 + 1), each about 15 times.
  assert set(found) == {3.0, 4.0}
  assert 5 <= found.count(3.0) <= 25


def test_amounts_of_two_operations_are_independent():
  with (
    mock.patch.object(color_jitter, "adjust_brightness", lambda image, x: image + [1, 0, 0] * x),
    mock.patch.object(color_jitter, "adjust_contrast", lambda image, x: image + [0, 1, 0] * x),
  ):
    amounts = np.stack(
      [
        jitter(seed, np.zeros([1, 1, 3], np.float32), brightness=0.4, contrast=0.4)[0, 0]
        for seed in range(40)
      ]
    )
  assert abs(np.corrcoef(amounts[:, 0], amounts[:, 1])[0, 1]) < 0.5


def test_same_seed_same_image():
  strengths = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
  np.testing.assert_array_equal(jitter(1, **strengths), jitter(1, **strengths))
  assert np.abs(jitter(1, **strengths) - jitter(2, **strengths)).max() > 1.0
