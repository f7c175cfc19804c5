"""Mosaics: which part of an image a tile shows, and where its objects lie then."""

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import annotated_image, mosaic
from tests import fixtures
from tests.data.pipeline import annotated_image_test

# The value of a pixel tells its place: 16 x row + column.
NUMBERED = np.repeat((16 * np.arange(4)[:, None] + np.arange(4))[..., None], 3, -1).astype(np.uint8)


def part(image, boxes, classes, scale, size, seed=0, **others):
  """The image's values and the rows of a random part."""
  found = mosaic.random_part(
    annotated_image_test.annotated(boxes, classes, image=image, **others),
    tf.constant(scale, tf.float32),
    tf.constant(size, tf.float32),
    tf.constant([5, seed]),
  )
  return found.image.numpy(), found


def test_a_part_at_scale_one_keeps_its_pixels_and_cuts_its_boxes():
  # Two of four rows: an object in the rows 0 and 1 is whole, half (kept) or gone.
  offsets = set()
  for seed in range(30):
    image, found = part(NUMBERED, [[0, 1, 2, 3]], [2], 1.0, [2, 4], seed)
    offset = int(image[0, 0, 0]) // 16
    offsets.add(offset)
    np.testing.assert_array_equal(image, NUMBERED[offset : offset + 2])
    expected = {0: [[0, 1, 2, 3]], 1: [[0, 1, 1, 3]], 2: []}[offset]
    assert found.boxes_px.numpy().tolist() == expected
    np.testing.assert_allclose(found.area_px, [4.0, 2.0][offset : offset + 1])
  assert offsets == {0, 1, 2}


def test_the_scale_lies_between_covering_and_the_images_own():
  # At scale 0.5 all of 400 columns cover a tile of 200, at scale 1 half of them. A pixel tells its
  # column.
  columns = np.broadcast_to((np.arange(400) // 2)[None, :, None], [400, 400, 3]).astype(np.uint8)
  widths = []
  for seed in range(60):
    image, _ = part(columns, [], [], 1.0, [200, 200], seed)
    widths.append(2 * (int(image[0, -1, 0]) - int(image[0, 0, 0])) + 2)
  assert 195 < min(widths) < 212
  assert 365 < max(widths) < 405


def test_a_small_image_is_enlarged():
  image, found = part(NUMBERED, [[0, 0, 4, 4]], [1], 0.1, [8, 8])
  assert image.shape == (8, 8, 3)
  assert found.boxes_px.numpy().tolist() == [[0, 0, 8, 8]]
  assert found.area_px.numpy().tolist() == [64]


def test_boxes_follow_their_pixels():
  square = [30, 40, 60, 100]
  image = fixtures.image_with_squares(90, 120, [square])
  num_seen = 0
  for seed in range(10):
    shown, found = part(image, [square], [1], 0.9, [60, 70], seed)
    ys, xs = np.nonzero(shown[..., 0] > 127)
    for box in found.boxes_px.numpy():
      num_seen += 1
      extent = [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
      np.testing.assert_allclose(box, extent, atol=1.01)
  assert num_seen > 3


def make(seed=0, size=(40, 60)):
  """A mosaic of four images of one colour each, wholly covered by an object and a region."""
  images = [
    annotated_image_test.annotated(
      [[0, 0, height, width]] * 2,
      [number, 0],
      image=fixtures.solid_image(height, width, 10 * number),
      difficult=[number == 3, False],
      is_crowd=[False, number == 2],
    )
    for number, (height, width) in enumerate([(40, 60), (60, 40), (8, 9), (200, 100)], 1)
  ]
  scales = [tf.constant(1.0), tf.constant(0.5), tf.constant(0.7), tf.constant(0.3)]
  return mosaic.mosaic(images, scales, tf.constant(size, tf.float32), tf.constant([1, seed]))


def test_each_tile_is_filled_with_its_image_and_objects():
  splits = set()
  for seed in range(20):
    found = make(seed)
    image = found.image.numpy()[..., 0]
    assert image.shape == (40, 60)
    top = int(np.sum(image[:, 0] == 10))
    left = int(np.sum(image[0] == 10))
    splits.add((top, left))
    expected = np.empty([40, 60])
    expected[:top, :left], expected[:top, left:] = 10, 20
    expected[top:, :left], expected[top:, left:] = 30, 40
    np.testing.assert_array_equal(image, expected)
    tiles = [[0, 0, top, left], [0, left, top, 60], [top, 0, 40, left], [top, left, 40, 60]]
    # Objects may be less than half visible, and then only the region is there.
    boxes = found.boxes_px.numpy()
    np.testing.assert_allclose(boxes[-4:], tiles, atol=1e-3)
    classes = found.classes.numpy().tolist()
    assert classes[-4:] == [0] * 4
    assert found.is_crowd.numpy().tolist()[-4:] == [False, True, False, False]
    for box, number, difficult in zip(boxes[:-4], classes[:-4], found.difficult, strict=False):
      np.testing.assert_allclose(box, tiles[number - 1], atol=1e-3)
      assert bool(difficult) == (number == 3)
  assert all(10 <= top <= 30 and 15 <= left <= 45 for top, left in splits)
  assert len(splits) > 15


def test_parts_are_drawn_apart_from_each_other(monkeypatch):
  seeds, random_part = [], mosaic.random_part

  def note(image, scale, size, seed):
    seeds.append(tuple(seed.numpy()))
    return random_part(image, scale, size, seed)

  monkeypatch.setattr(mosaic, "random_part", note)
  for seed in range(3):
    make(seed)
  assert len(set(seeds)) == len(seeds) == 12
  # Nor does the split tell what is drawn for a tile.
  assert not set(seeds) & {tuple(tf.random.split([1, i], 5)[0].numpy()) for i in range(3)}


def test_areas_are_those_of_the_mosaic():
  found = make()
  heights = found.boxes_px[:, 2:] - found.boxes_px[:, :2]
  np.testing.assert_allclose(found.area_px, tf.reduce_prod(heights, axis=1), rtol=1e-4)


def test_the_smallest_mosaic():
  assert make(size=(2, 2)).image.numpy()[..., 0].tolist() == [[10, 20], [30, 40]]


def test_same_seed_same_mosaic():
  np.testing.assert_array_equal(make(1).image, make(1).image)
  assert not np.array_equal(make(1).image, make(2).image)


def test_images_without_objects():
  empty = [annotated_image_test.annotated([], []) for _ in range(4)]
  found = mosaic.mosaic(empty, [tf.constant(1.0)] * 4, tf.constant([4.0, 4.0]), tf.constant([0, 0]))
  assert isinstance(found, annotated_image.AnnotatedImage)
  assert found.boxes_px.shape == (0, 4)
