"""Pairs of composites: what each shows, and their seeds."""

import contextlib
from unittest import mock

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.data.composites import colors, pairs, pasting
from tests import fixtures

OFF = insloc_config.Colors(jitter_probability=0.0, grey_probability=0.0, blur_probability=0.0)
DATA = insloc_config.InsLocData(
  composite=insloc_config.Composite(size=32, flip_probability=0.0), colors=OFF
)


def solid(value: int) -> tf.Tensor:
  return tf.constant(fixtures.solid_image(20, 24, value))


def make(seed=0, data=DATA) -> dict[str, np.ndarray]:
  backgrounds = [solid(50), solid(100)]
  made = pairs.make_pair(
    solid(200), lambda number: backgrounds[number], tf.constant([1, seed]), data
  )
  return {name: value.numpy() for name, value in made.items()}


def inside(box: np.ndarray, size: int = 32) -> np.ndarray:
  """bool [size, size], the pixels of a box."""
  ymin, xmin, ymax, xmax = box.astype(int)
  mask = np.zeros([size, size], bool)
  mask[ymin:ymax, xmin:xmax] = True
  return mask


def test_each_shows_the_foreground_on_a_background_of_its_own():
  for seed in range(5):
    made = make(seed)
    assert {name: (value.dtype, value.shape) for name, value in made.items()} == {
      "query_images": (np.uint8, (32, 32, 3)),
      "query_boxes": (np.float32, (4,)),
      "key_images": (np.uint8, (32, 32, 3)),
      "key_boxes": (np.float32, (4,)),
    }
    for role, background in (("query", 50), ("key", 100)):
      expected = np.where(inside(made[f"{role}_boxes"]), 200, background)
      np.testing.assert_array_equal(made[f"{role}_images"][..., 1], expected)
    assert np.any(made["query_boxes"] != made["key_boxes"])


def test_a_mirrored_box_still_covers_the_crop():
  plain, mirrored = (
    make(3, DATA.replace(composite=DATA.composite.replace(flip_probability=p))) for p in (0.0, 1.0)
  )
  for role in pairs.ROLES:
    mask = inside(mirrored[f"{role}_boxes"])
    np.testing.assert_array_equal(mirrored[f"{role}_images"][..., 0] == 200, mask)
    np.testing.assert_array_equal(mask, inside(plain[f"{role}_boxes"])[:, ::-1])


def test_colours_change_the_whole_composite_each_by_itself():
  jitter = OFF.jitter.replace(contrast=0.0, saturation=0.0, hue=0.0)
  data = DATA.replace(colors=OFF.replace(jitter_probability=1.0, jitter=jitter))
  factors = []
  for seed in range(4):
    made = make(seed, data)
    for role, background in (("query", 50), ("key", 100)):
      mask = inside(made[f"{role}_boxes"])
      outside = np.unique(made[f"{role}_images"][~mask])
      crop = np.unique(made[f"{role}_images"][mask])
      assert len(outside) == len(crop) == 1
      factors.append(outside[0] / background)
      # The same factor for the crop and the rest, where nothing is cut at 255.
      assert abs(min(factors[-1] * 200, 255) - crop[0]) <= 3
  assert len(set(np.round(factors, 2))) > 4


def test_the_same_seed_gives_the_same_and_each_part_has_its_own():
  data = DATA.replace(
    colors=insloc_config.Colors(), composite=DATA.composite.replace(flip_probability=0.5)
  )
  first, again, other = make(0, data), make(0, data), make(1, data)
  for name, value in first.items():
    np.testing.assert_array_equal(value, again[name])
    assert np.any(value != other[name])


def seeds_of(functions, call) -> list[tuple[int, ...]]:
  """The pairs of integers that functions, each a module, a name and a result, are called with."""
  found = []

  def replacement(result):
    def function(*args):
      found.extend(tuple(arg.numpy()) for arg in args if getattr(arg, "shape", None) == [2])
      return result

    return function

  with contextlib.ExitStack() as stack:
    for module, name, result in functions:
      stack.enter_context(mock.patch.object(module, name, replacement(result)))
    call()
  return found


def test_pasting_colours_and_mirror_have_seeds_of_their_own():
  image, box = tf.zeros([32, 32, 3]), tf.zeros([4])
  functions = [
    (pasting, "composite", (image, box)),
    (colors, "random_colors", image),
    (pasting, "random_mirror", (image, box)),
  ]
  found = seeds_of(functions, lambda: pairs.make_composite(image, image, tf.constant([0, 1]), DATA))
  assert len(set(found)) == len(found) == 3


def test_crop_size_and_place_have_seeds_of_their_own():
  size, offset = tf.constant([3, 4, 5])[:2], tf.constant([0, 0, 0])[:2]
  functions = [
    (pasting, "random_crop", (size, offset)),
    (pasting, "random_size", size),
    (pasting, "random_place", offset),
  ]
  image = tf.zeros([8, 8, 3], tf.uint8)
  found = seeds_of(
    functions, lambda: pasting.composite(image, image, tf.constant([0, 1]), DATA.composite)
  )
  # The sizes that are handed on have two numbers, too.
  seeds = [values for values in found if values not in ((8, 8), (3, 4))]
  assert len(set(seeds)) == len(seeds) == 3
