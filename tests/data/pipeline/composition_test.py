"""Which images are composed, and of which partners."""

import collections

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import composition
from tests import fixtures
from tests.data.pipeline.annotated_image_test import annotated


def compose(mosaic, copy_paste, seed=0, max_objects=100):
  """The composed image and which partners were asked for; the image is of 9, they of 50 on."""
  own = annotated([[0, 0, 5, 5]], [1], image=fixtures.solid_image(20, 20, 9))
  asked = []

  def partner(number):
    asked.append(number)
    image = fixtures.solid_image(40, 40, 50 + number)
    return annotated([[10, 10, 20, 20]], [2 + number], image=image)

  composed = composition.compose(
    own,
    partner,
    tf.constant([6, seed]),
    scale_of=lambda size: 20.0 / size[0],
    mosaic_size=tf.constant([24.0, 32.0]),
    probabilities=(mosaic, copy_paste),
    max_objects=max_objects,
  )
  return composed, asked


def test_nothing_asked_for_changes_nothing():
  composed, asked = compose(0.0, 0.0)
  assert np.all(composed.image.numpy() == 9) and not asked
  assert composed.classes.numpy().tolist() == [1]


def test_a_mosaic_of_the_image_and_three_partners():
  composed, asked = compose(1.0, 0.0)
  assert asked == [0, 1, 2]
  image = composed.image.numpy()[..., 0]
  assert image.shape == (24, 32)
  assert [image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]] == [9, 50, 51, 52]


def test_each_image_of_a_mosaic_has_the_scale_of_its_own_size(monkeypatch):
  given = []

  def mosaic(images, scales, size, seed):
    del size, seed
    given.extend(map(float, scales))
    return images[0]

  monkeypatch.setattr(composition.mosaic, "mosaic", mosaic)
  compose(1.0, 0.0)
  # All become 20 pixels high: the image itself, which is so already, and its partners of 40.
  assert given == [1.0, 0.5, 0.5, 0.5]


def test_pasting_from_the_last_partner():
  composed, asked = compose(0.0, 1.0)
  assert asked == [3]
  assert composed.image.shape == (20, 20, 3)
  assert composed.classes.numpy().tolist() == [1, 5]
  # The partner shows at half its size, and objects of 10 x 10 keep 0.5 to 1.5 times that.
  top, left, bottom, right = composed.boxes_px.numpy()[1].astype(int)
  assert np.all(composed.image.numpy()[top + 1 : bottom - 1, left + 1 : right - 1] == 53)
  sizes = [compose(0.0, 1.0, seed)[0].boxes_px[1] for seed in range(20)]
  heights = [float(box[2] - box[0]) for box in sizes]
  assert 2.0 < min(heights) < max(heights) < 8.0


def test_rows_limit_what_is_pasted():
  composed, _ = compose(0.0, 1.0, max_objects=1)
  assert composed.classes.numpy().tolist() == [1]


def test_both_paste_into_the_mosaic():
  composed, asked = compose(1.0, 1.0)
  assert asked == [0, 1, 2, 3]
  assert composed.image.shape == (24, 32, 3)
  assert 5 in composed.classes.numpy()


def test_a_part_of_the_images_is_changed_and_only_then_partners_are_read():
  kinds = collections.Counter()
  for seed in range(200):
    composed, asked = compose(0.25, 0.5, seed)
    assert (composed.image.shape[0] == 24) == (0 in asked)
    kinds[0 in asked, 3 in asked] += 1
  # Of 200: 50 mosaics and 100 with pasted objects, independently; 4 deviations are 24 and 28.
  mosaics = kinds[True, True] + kinds[True, False]
  pasted = kinds[True, True] + kinds[False, True]
  assert 26 <= mosaics <= 74 and 72 <= pasted <= 128
  assert 8 <= kinds[True, True] <= 42
