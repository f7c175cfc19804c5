"""Which canvases there are, and which of them suits an image."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import canvases, fitting


@pytest.mark.parametrize("canvas_size", [(600, 1000), (1000, 600)])
def test_sizes(canvas_size):
  assert canvases.sizes("square", canvas_size) == [canvas_size]
  assert canvases.sizes("aspect_buckets", canvas_size) == [(600, 1000), (1000, 600)]


@pytest.mark.parametrize(
  ("canvas", "canvas_size", "message"),
  [
    ("round", (600, 1000), r"^canvas is 'round'; accepted: square, aspect_buckets$"),
    ("aspect_buckets", (600, 600), r"^canvas_size is \[600, 600\]; accepted with canvas aspect_bu"),
    ("aspect_buckets", (600,), r"^canvas_size is \[600\]; accepted with canvas aspect_buckets"),
  ],
)
def test_refused(canvas, canvas_size, message):
  with pytest.raises(ValueError, match=message):
    canvases.sizes(canvas, canvas_size)


def scales(image_size, short_side, long_side):
  """By how much an image is scaled on the lying and on the standing canvas of 60 × 100."""
  sizes = canvases.sizes("aspect_buckets", (60, 100))
  image_size = tf.constant(image_size, tf.float32)
  fitted = [fitting.fitted_size(image_size, size, short_side, long_side) for size in sizes]
  return [float(size[0] / image_size[0]) for size in fitted]


IMAGES = [(480, 640), (640, 480), (300, 300), (100, 900), (901, 100), (59, 60), (7, 5)]


@pytest.mark.parametrize("image_size", IMAGES)
@pytest.mark.parametrize(("short_side", "long_side"), [(60, 100), (50, 80), (90, 200)])
def test_an_image_is_scaled_down_least_on_its_canvas(image_size, short_side, long_side):
  (standing,) = canvases.fit_standing(np.array([image_size]))
  on_canvases = scales(image_size, short_side, long_side)
  assert on_canvases[int(standing)] == max(on_canvases)
  # And on the one canvas that takes the place of both it is as large.
  single_size, *limits = canvases.single("aspect_buckets", (100, 60), short_side, long_side)
  fitted = fitting.fitted_size(tf.constant(image_size, tf.float32), single_size, *limits)
  assert float(fitted[0]) / image_size[0] == pytest.approx(max(on_canvases))


def test_square_images_lie():
  np.testing.assert_array_equal(canvases.fit_standing(np.array([[5, 5], [6, 5]])), [False, True])


def test_single_of_one_canvas():
  assert canvases.single("square", [60, 100], 70, 110) == ((60, 100), 70, 110)
