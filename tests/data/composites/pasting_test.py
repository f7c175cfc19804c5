"""Crops and where they are pasted: worked cases, the published statistics, a NumPy oracle."""

import math
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.data.composites import pasting

AREAS, ASPECTS = (0.2, 1.0), (0.5, 2.0)
DEFAULTS = insloc_config.Composite()


def seeds(count, first=0):
  return tf.stack([tf.fill([count], 7), tf.range(first, first + count)], axis=-1)


def crops(image_size, count, areas=AREAS, aspects=ASPECTS) -> np.ndarray:
  """[count, 4]: height, width, top and left of crops."""

  @tf.function
  def draw():
    return tf.map_fn(
      lambda seed: tf.concat(pasting.random_crop(tf.constant(image_size), seed, areas, aspects), 0),
      seeds(count),
      fn_output_signature=tf.int32,
      parallel_iterations=1,
    )

  return draw().numpy()


def oracle_crop(rng, height, width) -> tuple[int, int, int, int]:
  """The rule as it is written down, in plain Python."""
  for _ in range(10):
    area = rng.uniform(*AREAS) * height * width
    aspect = math.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
    w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if 0 < w <= width and 0 < h <= height:
      return h, w, int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
  h, w = height, width
  if width / height < ASPECTS[0]:
    h = round(width / ASPECTS[0])
  elif width / height > ASPECTS[1]:
    w = round(height * ASPECTS[1])
  return h, w, (height - h) // 2, (width - w) // 2


@pytest.mark.parametrize("size", [(375, 500), (60, 140), (41, 90)])
def test_crops_are_distributed_as_by_the_plain_rule(size):
  # 60 x 140 refuses some tries, 41 x 90 is a wide image that sometimes falls back.
  count = 3000
  rng = np.random.default_rng(0)
  expected = np.array([oracle_crop(rng, *size) for _ in range(count)])
  found = crops(size, count)
  assert np.all(found[:, :2] >= 1) and np.all(found[:, 2:] >= 0)
  assert np.all(found[:, :2] + found[:, 2:] <= size)
  for values in (lambda c: c[:, 0], lambda c: c[:, 1], lambda c: c[:, 2], lambda c: c[:, 3]):
    largest = max(size)
    for q in (5, 25, 50, 75, 95):
      assert abs(np.percentile(values(found), q) - np.percentile(values(expected), q)) <= (
        0.035 * largest
      )
  # Height and width belong together: the share of the area and the shape.
  for values in (
    lambda c: c[:, 0] * c[:, 1] / math.prod(size),
    lambda c: np.log(c[:, 1] / c[:, 0]),
  ):
    for q in (5, 50, 95):
      assert abs(np.percentile(values(found), q) - np.percentile(values(expected), q)) < 0.08


def test_a_crop_reaches_both_ends_of_its_image():
  # 4 of 16 pixels, 2 x 2: nine places, all of which come.
  found = crops((4, 4), 300, (0.25, 0.25), (1.0, 1.0))
  np.testing.assert_array_equal(found[:, :2], np.full([300, 2], 2))
  places, counts = np.unique(found[:, 2:], axis=0, return_counts=True)
  assert len(places) == 9 and counts.min() > 15


@pytest.mark.parametrize(
  ("size", "expected"),
  [
    # (height, width, top, left): too wide, too high, and of a shape in the range.
    ((10, 100), (10, 20, 0, 40)),
    ((100, 10), (20, 10, 40, 0)),
    ((10, 17), (10, 17, 0, 0)),
    ((11, 1), (2, 1, 4, 0)),
  ],
)
def test_the_middle_is_taken_if_nothing_fits(size, expected):
  # Crops of twice the area of their image never fit.
  found = crops(size, 3, areas=(2.0, 2.0))
  np.testing.assert_array_equal(found, [expected] * 3)


def test_of_the_crops_drawn_the_first_that_fits_is_taken():
  # Of a square of 100: the first is too large, the second 50 x 50, the third 60 x 60.
  areas = tf.constant([2.0, 0.25, 0.36] + [1.0] * 7)
  drawn = [areas, tf.zeros([10]), tf.constant([0.5, 0.1])]
  with mock.patch.object(tf.random, "stateless_uniform", side_effect=drawn):
    size, offset = pasting.random_crop(tf.constant([100, 100]), [0, 0], AREAS, ASPECTS)
  np.testing.assert_array_equal(size, [50, 50])
  np.testing.assert_array_equal(offset, [25, 5])  # 0.5 and 0.1 of 51 places.


@pytest.mark.parametrize("drawn", [(60, 40), (40, 60)])
@pytest.mark.parametrize(
  ("crop_size", "expected"),
  [
    # The long side is the bound: 60 / 200 is less than 40 / 50.
    ((50, 200), (15, 60)),
    ((200, 50), (60, 15)),
    # The short side is: 40 / 100 is less than 60 / 120.
    ((100, 120), (40, 48)),
    # Small crops grow, and halves are rounded up: 10 x 3 at 60 / 10 = 6; 5 x 4 at 40 / 4 = 10.
    ((10, 3), (60, 18)),
    ((4, 5), (40, 50)),
  ],
)
def test_drawn_sides_are_bounds_not_targets(drawn, crop_size, expected):
  with mock.patch.object(tf.random, "stateless_uniform", return_value=tf.constant(drawn)):
    size = pasting.random_size(tf.constant(crop_size), [0, 0], (1, 100))
  np.testing.assert_array_equal(size, expected)


def test_sizes_round_half_up():
  with mock.patch.object(tf.random, "stateless_uniform", return_value=tf.constant([50, 50])):
    # 25 at a scale of 0.5 is 12.5.
    size = pasting.random_size(tf.constant([25, 100]), [0, 0], (1, 100))
  np.testing.assert_array_equal(size, [13, 50])


def test_sides_are_drawn_between_both_ends():
  square = tf.constant([10, 10])
  found = {int(pasting.random_size(square, [3, i], (4, 6))[0]) for i in range(60)}
  assert found == {4, 5, 6}


def test_geometry_has_the_published_statistics():
  # As in the simulation of the released code: 5 %, median and 95 % over four sizes of images.
  sides = pasting.paste_sides(DEFAULTS)
  count = 1000

  @tf.function
  def draw(image_size, first):
    def one(seed):
      crop_seed, size_seed = tf.unstack(tf.random.split(seed, 2))
      crop_size, _ = pasting.random_crop(image_size, crop_seed, AREAS, ASPECTS)
      return pasting.random_size(crop_size, size_seed, sides)

    keys = tf.add(seeds(count), [0, first])
    return tf.map_fn(one, keys, fn_output_signature=tf.int32, parallel_iterations=1)

  image_sizes = tf.constant([(375, 500), (500, 375), (333, 500), (500, 500)])
  sizes = np.concatenate([draw(size, 1000 * tf.constant(i)) for i, size in enumerate(image_sizes)])
  for values, expected, margin in (
    (sizes.min(axis=1), (101, 144, 201), 4),
    (sizes.max(axis=1), (147, 200, 248), 4),
    (sizes.prod(axis=1) / 256**2, (0.25, 0.44, 0.71), 0.025),
  ):
    np.testing.assert_allclose(np.percentile(values, (5, 50, 95)), expected, atol=margin)
  assert sizes.max() <= 254 and sizes.max(axis=1).min() >= 128


def test_places_leave_the_lower_and_right_border_free():
  # A side of 5 has two places for 3 pixels, 0 and 1, and one for 4.
  found = {tuple(pasting.random_place(tf.constant([3, 4]), 5, [1, i]).numpy()) for i in range(40)}
  assert found == {(0, 0), (1, 0)}


@pytest.mark.parametrize(("size", "sides"), [(256, (128, 254)), (128, (64, 127)), (16, (8, 15))])
def test_sides_go_with_the_composite(size, sides):
  assert pasting.paste_sides(DEFAULTS.replace(size=size)) == sides


def test_paste_replaces_the_pixels_of_the_box_alone():
  background = tf.reshape(tf.range(48, dtype=tf.float32), [4, 4, 3])
  patch = -1.0 - tf.reshape(tf.range(6, dtype=tf.float32), [1, 2, 3])
  image, box = pasting.paste(background, patch, tf.constant([2, 1]))
  np.testing.assert_array_equal(box, [2, 1, 3, 3])
  expected = background.numpy()
  expected[2:3, 1:3] = patch
  np.testing.assert_array_equal(image, expected)


def test_each_range_of_the_settings_is_drawn_from():
  settings = DEFAULTS.replace(
    size=100, crop_area_min=0.11, crop_area_max=0.22, crop_aspect_min=0.33, crop_aspect_max=0.44,
    paste_side_min=0.55, paste_side_max=0.66,
  )  # fmt: skip
  image = tf.zeros([40, 60, 3], tf.uint8)
  crop = tf.constant([10, 4]), tf.constant([0, 0])
  with (
    mock.patch.object(pasting, "random_crop", return_value=crop) as random_crop,
    mock.patch.object(pasting, "random_size", return_value=crop[0]) as random_size,
  ):
    pasting.composite(image, image[:9, :7], tf.constant([0, 1]), settings)
  image_size, _, areas, aspects = random_crop.call_args.args
  assert (tuple(image_size.numpy()), areas, aspects) == ((40, 60), (0.11, 0.22), (0.33, 0.44))
  assert random_size.call_args.args[2] == (55, 66)


@pytest.mark.parametrize("size", [64, 96])
def test_the_box_covers_exactly_the_pasted_pixels(size):
  settings = DEFAULTS.replace(size=size)
  white, black = tf.fill([50, 80, 3], np.uint8(255)), tf.fill([30, 20, 3], np.uint8(0))
  make = tf.function(lambda seed: pasting.composite(white, black, seed, settings))
  boxes = []
  for number in range(30):
    image, box = make(tf.constant([5, number]))
    ymin, xmin, ymax, xmax = box.numpy().astype(int)
    expected = np.zeros([size, size, 3])
    expected[ymin:ymax, xmin:xmax] = 255
    np.testing.assert_array_equal(image, expected)
    boxes.append((ymin, xmin, ymax - ymin, xmax - xmin))
  # Places, heights and widths all vary, and not together.
  for values in np.transpose(boxes):
    assert len(set(values)) > 8
  assert np.abs(np.corrcoef(np.transpose(boxes)[:2])[0, 1]) < 0.5


def test_pasted_pixels_are_those_of_the_resized_crop():
  # All of the image, of a shape that leaves no choice, shrunk by half: means of 2 x 2 pixels.
  settings = DEFAULTS.replace(
    size=16, crop_area_min=1.0, crop_aspect_min=1.0, crop_aspect_max=1.0,
    paste_side_min=0.5, paste_side_max=0.5,
  )  # fmt: skip
  foreground = np.random.default_rng(0).integers(0, 256, [16, 16, 3], np.uint8)
  image, box = pasting.composite(
    tf.constant(foreground), tf.zeros([4, 4, 3], tf.uint8), tf.constant([0, 0]), settings
  )
  ymin, xmin, ymax, xmax = box.numpy().astype(int)
  expected = foreground.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(image[ymin:ymax, xmin:xmax], expected, atol=1e-3)


def test_all_of_the_background_is_shown_stretched():
  settings = DEFAULTS.replace(size=16, paste_side_min=1 / 16, paste_side_max=1 / 16)
  background = np.zeros([8, 32, 3], np.uint8)
  background[4:, 16:] = 200  # The lower right quarter.
  image, _ = pasting.composite(
    tf.fill([4, 4, 3], np.uint8(9)), tf.constant(background), tf.constant([0, 0]), settings
  )
  corners = image.numpy()[[0, 0, 15, 15], [0, 15, 0, 15], 0]
  np.testing.assert_array_equal(corners, [0, 0, 0, 200])


def test_mirror_moves_pixels_and_box_alike():
  image, box = np.zeros([6, 10, 3], np.float32), tf.constant([1.0, 2.0, 4.0, 5.0])
  image[1:4, 2:5] = [[1], [2], [3]]
  image[1:4, 2] = 9
  mirrored, mirrored_box = pasting.random_mirror(tf.constant(image), box, [0, 0], 1.0)
  np.testing.assert_array_equal(mirrored_box, [1, 5, 4, 8])
  np.testing.assert_array_equal(mirrored[1:4, 5:8], image[1:4, 2:5][:, ::-1])
  np.testing.assert_array_equal(mirrored, image[:, ::-1])
  same, same_box = pasting.random_mirror(tf.constant(image), box, [0, 0], 0.0)
  np.testing.assert_array_equal(same, image)
  np.testing.assert_array_equal(same_box, box)


def test_half_are_mirrored():
  box = tf.constant([0.0, 0.0, 1.0, 1.0])
  found = [
    float(pasting.random_mirror(tf.zeros([2, 4, 3]), box, [0, i], 0.5)[1][1]) for i in range(60)
  ]
  assert set(found) == {0.0, 3.0} and 18 <= found.count(3.0) <= 42
