"""Input sizes of each layout, and the one that suits an image."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import fitting, input_sizes


@pytest.mark.parametrize("input_size", [(600, 1000), (1000, 600)])
def test_sizes(input_size):
  assert input_sizes.sizes("single", input_size) == [input_size]
  assert input_sizes.sizes("by_orientation", input_size) == [(600, 1000), (1000, 600)]


@pytest.mark.parametrize(
  ("layout", "input_size", "message"),
  [
    ("round", (600, 1000), r"^input_layout is 'round'; accepted: single, by_orientation$"),
    ("by_orientation", (600, 600), r"^input_size is \[600, 600\]; accepted with input_layout by"),
    ("by_orientation", (600,), r"^input_size is \[600\]; accepted with input_layout by"),
  ],
)
def test_refused(layout, input_size, message):
  with pytest.raises(ValueError, match=message):
    input_sizes.sizes(layout, input_size)


def scales(image_size, short_side, long_side):
  """By how much an image is scaled to fit the landscape and the portrait input of 60 × 100."""
  sizes = input_sizes.sizes("by_orientation", (60, 100))
  image_size = tf.constant(image_size, tf.float32)
  fitted = [fitting.fitted_size(image_size, size, short_side, long_side) for size in sizes]
  return [float(size[0] / image_size[0]) for size in fitted]


IMAGES = [(480, 640), (640, 480), (300, 300), (100, 900), (901, 100), (59, 60), (7, 5)]


@pytest.mark.parametrize("image_size", IMAGES)
@pytest.mark.parametrize(("short_side", "long_side"), [(60, 100), (50, 80), (90, 200)])
def test_an_image_is_scaled_down_least_for_its_input(image_size, short_side, long_side):
  (portrait,) = input_sizes.is_portrait(np.array([image_size]))
  factors = scales(image_size, short_side, long_side)
  assert factors[int(portrait)] == max(factors)
  # And in the one input that takes the place of both it is as large.
  single_size, *limits = input_sizes.single("by_orientation", (100, 60), short_side, long_side)
  fitted = fitting.fitted_size(tf.constant(image_size, tf.float32), single_size, *limits)
  assert float(fitted[0]) / image_size[0] == pytest.approx(max(factors))


def test_square_images_lie():
  np.testing.assert_array_equal(input_sizes.is_portrait(np.array([[5, 5], [6, 5]])), [False, True])


def test_single_of_one_size():
  assert input_sizes.single("single", [60, 100], 70, 110) == ((60, 100), 70, 110)
