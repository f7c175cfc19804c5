"""Changes of colours: by hand, at random, and of batches against a slow oracle."""

import colorsys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.ops import color_ops

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
  return color_ops.random_color_jitter(tf.constant(image), [3, seed], **strengths).numpy()


def test_brightness_multiplies_and_is_cut():
  image = color_ops.adjust_brightness(pixels([100, 10, 0], [200, 20, 255]), 1.5)
  np.testing.assert_allclose(image, pixels([150, 15, 0], [255, 30, 255]))


def test_contrast_goes_by_the_mean_of_the_greyscale():
  # Greys of 100 and 0 have the mean 50.
  image = pixels([200 / RED_GREY / 2, 0, 0], [0, 0, 0])
  mean = 50.0
  np.testing.assert_allclose(color_ops.adjust_contrast(image, 0.0), np.full([1, 2, 3], mean))
  halved = 0.5 * image.numpy() + 0.5 * mean
  np.testing.assert_allclose(color_ops.adjust_contrast(image, 0.5), halved)
  # 1.5 x 0 - 0.5 x 50 is below 0, and 1.5 x 334.6 - 25 above 255.
  np.testing.assert_allclose(color_ops.adjust_contrast(image, 1.5), pixels([255, 0, 0], [0, 0, 0]))


def test_saturation_goes_by_each_pixels_own_grey():
  image = pixels([200, 0, 0], [0, 100, 0])
  red, green = 200 * RED_GREY, 100 * GREEN_GREY
  halved = color_ops.adjust_saturation(image, 0.5)
  expected = pixels([100 + red / 2, red / 2, red / 2], [green / 2, 50 + green / 2, green / 2])
  np.testing.assert_allclose(halved, expected, rtol=1e-5)
  more = color_ops.adjust_saturation(image, 2.0)
  np.testing.assert_allclose(more, pixels([255, 0, 0], [0, 200 - green, 0]), rtol=1e-5)


def test_hue_moves_around_the_circle():
  image = pixels([200, 0, 0], [250, 100, 100], [70, 70, 70])
  third = color_ops.adjust_hue(image, 1 / 3)
  np.testing.assert_allclose(third, pixels([0, 200, 0], [100, 250, 100], [70] * 3), atol=1e-2)
  back = color_ops.adjust_hue(image, -1 / 3)
  np.testing.assert_allclose(back, pixels([0, 0, 200], [100, 100, 250], [70] * 3), atol=1e-2)


def test_no_strength_returns_the_image_itself():
  image = tf.constant(MIDDLE)
  assert color_ops.random_color_jitter(image, [0, 0]) is image


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
  with mock.patch.object(color_ops, f"adjust_{name}", lambda image, amount, **_: image + amount):
    draw = tf.function(
      lambda seed: color_ops.random_color_jitter(
        tf.zeros([1, 1, 3]), tf.stack([7, seed]), **{name: strength}
      )[0, 0, 0]
    )
    amounts = np.array([draw(tf.constant(seed)) for seed in range(200)])
  assert np.all(np.abs(amounts - middle) <= strength + 1e-6)
  for end in (middle - strength, middle + strength):
    assert np.min(np.abs(amounts - end)) < 0.1 * strength


def test_the_order_is_random():
  with (
    mock.patch.object(color_ops, "adjust_brightness", lambda image, _: 2.0 * image),
    mock.patch.object(color_ops, "adjust_hue", lambda image, _: image + 1.0),
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
    mock.patch.object(color_ops, "adjust_brightness", lambda image, x: image + [1, 0, 0] * x),
    mock.patch.object(color_ops, "adjust_contrast", lambda image, x, **_: image + [0, 1, 0] * x),
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


# Batches.

STRENGTHS = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
SIZES = np.array([[5, 7], [6, 8], [1, 1], [4, 8], [6, 3]], np.float32)
SEEDS = np.array([[3, i] for i in range(len(SIZES))], np.int32)


def batch(seed=0) -> np.ndarray:
  """Five images of different sizes in an input of 6 x 8, padded with what must not count."""
  return np.random.default_rng(seed).uniform(0, 255, [len(SIZES), 6, 8, 3]).astype(np.float32)


def jitter_batch(images, probability=1.0, sizes=SIZES, seeds=SEEDS, compiled=False, **settings):
  jitter = tf.function(
    lambda *args: color_ops.jitter_colors(*args, probability=probability, **settings),
    jit_compile=compiled,
  )
  return jitter(tf.constant(images), tf.constant(sizes), tf.constant(seeds)).numpy()


def color_seed(seed) -> tf.Tensor:
  """The seed of an image's colours: the second of three."""
  return tf.random.split(seed, 3, alg="philox")[1]


def by_the_pixel(content: np.ndarray, seed) -> np.ndarray:
  """The oracle: the same changes in float64, by Python's own colour circle."""
  lows, highs = [0.2, 0.2, 0.2, -0.2], [1.8, 1.8, 1.8, 0.2]
  order, amounts = color_ops.draw_changes(color_seed(seed), lows, highs)
  image = content.astype(np.float64)
  for operation in order.numpy():
    amount = float(amounts[operation])
    luma = image @ [0.2989, 0.5870, 0.1140]
    if operation == 0:
      image = amount * image
    elif operation == 1:
      image = amount * image + (1 - amount) * luma.mean()
    elif operation == 2:
      image = amount * image + (1 - amount) * luma[..., np.newaxis]
    else:
      for row in image:
        for i, (red, green, blue) in enumerate(row / 255):
          hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
          row[i] = 255 * np.array(colorsys.hsv_to_rgb((hue + amount) % 1.0, saturation, value))
    image = np.clip(image, 0.0, 255.0)
  return image


@pytest.mark.parametrize("compiled", [False, True])
def test_a_batch_is_changed_as_the_oracle_has_it(compiled):
  images = batch()
  changed = jitter_batch(images, compiled=compiled, **STRENGTHS)
  for image, size, seed, found in zip(images, SIZES.astype(int), SEEDS, changed, strict=True):
    height, width = size
    expected = image.copy()
    expected[:height, :width] = by_the_pixel(image[:height, :width], seed)
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert np.abs(found - image)[:height, :width].max() > 1.0


def test_orders_and_amounts_of_the_oracle_differ_between_images():
  draws = [color_ops.draw_changes(color_seed(seed), [0.0] * 4, [1.0] * 4) for seed in SEEDS]
  assert len({tuple(order.numpy()) for order, _ in draws}) > 1
  assert len({tuple(amounts.numpy()) for _, amounts in draws}) == len(SEEDS)


def test_padding_changes_nothing_and_stays():
  images = batch()
  padded = images.copy()
  for image, (height, width) in zip(padded, SIZES.astype(int), strict=True):
    image[height:] = 0.0
    image[:, width:] = 0.0
  settings = {**STRENGTHS, "blur_probability": 1.0}
  changed, without = (jitter_batch(values, **settings) for values in (images, padded))
  for i, (height, width) in enumerate(SIZES.astype(int)):
    np.testing.assert_array_equal(changed[i, :height, :width], without[i, :height, :width])
    np.testing.assert_array_equal(changed[i, height:], images[i, height:])
    np.testing.assert_array_equal(without[i, :, width:], 0.0)


def test_an_image_does_not_depend_on_its_batch():
  images = batch()
  settings = {**STRENGTHS, "blur_probability": 1.0}
  whole = jitter_batch(images, **settings)
  for i in range(len(images)):
    alone = jitter_batch(
      images[i : i + 1], sizes=SIZES[i : i + 1], seeds=SEEDS[i : i + 1], **settings
    )
    np.testing.assert_allclose(alone[0], whole[i], atol=1e-3)


def test_probability_is_the_share_of_changed_images():
  sizes, seeds = (
    np.full([400, 2], 2.0, np.float32),
    np.array([[1, i] for i in range(400)], np.int32),
  )
  images = np.full([400, 2, 2, 3], 100.0, np.float32)
  for settings, share in (
    ({"probability": 0.8, "brightness": 0.5}, 0.8),
    ({"probability": 0.0, "brightness": 0.5}, 0.0),
    ({"probability": 0.0, "blur_probability": 0.3}, 0.0),  # Of an even image no pixel changes.
  ):
    changed = jitter_batch(images, sizes=sizes, seeds=seeds, **settings)
    # Three standard deviations are 0.06.
    assert np.mean(np.abs(changed - images).max((1, 2, 3)) > 0.01) == pytest.approx(share, abs=0.06)
  images[:, 0, 0] = 0.0
  blurred = jitter_batch(images, 0.0, sizes, seeds, blur_probability=0.3)
  # A standard deviation near 0.1 changes nothing to be seen.
  assert np.mean(np.abs(blurred - images).max((1, 2, 3)) > 0.01) == pytest.approx(0.28, abs=0.06)


def test_nothing_to_change_returns_the_images():
  images = batch()
  np.testing.assert_array_equal(jitter_batch(images, 0.8), images)


def test_blur_is_a_mean_of_the_content_near_a_pixel():
  image = batch()[0]
  height, width = 5, 7
  is_content = np.zeros([6, 8, 1], bool)
  is_content[:height, :width] = True
  for sigma in (0.3, 1.5):
    found = color_ops.gaussian_blur(tf.constant(image), sigma, tf.constant(is_content), 2.0).numpy()
    for y in range(height):
      for x in range(width):
        rows, columns = np.mgrid[:height, :width]
        weights = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
        # As far as the reach in each direction.
        weights *= (np.abs(rows - y) <= 6) & (np.abs(columns - x) <= 6)
        expected = (weights[..., np.newaxis] * image[:height, :width]).sum((0, 1)) / weights.sum()
        np.testing.assert_allclose(found[y, x], expected, rtol=1e-4)
