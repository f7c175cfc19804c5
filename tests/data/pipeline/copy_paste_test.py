"""Pasted objects: their pixels, their boxes, and what becomes of what they hide."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import copy_paste
from tests import fixtures
from tests.data.pipeline.annotated_image_test import annotated


def fixed_scale(scale):
  """Objects keep this part of their size."""
  return mock.patch.multiple(copy_paste, _SCALE_MIN=scale, _SCALE_MAX=scale)


def boxes(*rows):
  return tf.constant(rows, tf.float32)


#  A 4 x 4 image of 10; a patch of 2 x 2 of 100 that shows wholly, half, a quarter and not at all.
ALPHA = [[1.0, 0.5], [0.25, 0.0]]


@pytest.mark.parametrize(
  ("offset", "expected"),
  [
    ([1, 2], [[10] * 4, [10, 10, 100, 55], [10, 10, 32, 10], [10] * 4]),
    # Only the last row of the patch lies in the image, and only its first column.
    ([-1, 0], [[32, 10, 10, 10], [10] * 4, [10] * 4, [10] * 4]),
    ([2, 3], [[10] * 4, [10] * 4, [10, 10, 10, 100], [10, 10, 10, 32]]),
  ],
)
def test_blending_four_by_four(offset, expected):
  image = tf.constant(fixtures.solid_image(4, 4, 10))
  blended = copy_paste.blend(
    image, tf.fill([2, 2, 3], 100.0), tf.constant(ALPHA), tf.constant(offset)
  )
  assert blended.dtype == tf.uint8
  np.testing.assert_array_equal(blended, np.repeat(np.array(expected)[..., None], 3, -1))


def test_a_patch_has_a_margin_that_fades():
  # The margin is a tenth of 10 rows and of 20 columns.
  image = fixtures.noise_image(20, 40)
  patch, alpha, box = copy_paste.soft_patch(
    tf.constant(image), tf.constant([5.0, 10, 15, 30]), tf.constant(1.0)
  )
  np.testing.assert_array_equal(patch, image[4:16, 8:32])
  assert box.numpy().tolist() == [1, 2, 11, 22]
  rows = [0.5] + [1.0] * 10 + [0.5]
  columns = [0.25, 0.75] + [1.0] * 20 + [0.75, 0.25]
  np.testing.assert_allclose(alpha, np.outer(rows, columns), atol=1e-6)


def test_a_patch_ends_with_its_image():
  image = fixtures.noise_image(20, 40)
  patch, alpha, box = copy_paste.soft_patch(
    tf.constant(image), tf.constant([0.0, 20, 20, 40]), tf.constant(1.0)
  )
  np.testing.assert_array_equal(patch, image[:, 18:])
  assert box.numpy().tolist() == [0, 2, 20, 22]
  np.testing.assert_allclose(alpha[5], [0.25, 0.75] + [1.0] * 20, atol=1e-6)
  np.testing.assert_allclose(alpha[:, 5], [1.0] * 20)


def test_a_patch_is_resized_with_its_box_and_margin():
  # 12 x 24 with a margin of 1 and 2 becomes 24 x 48 with one of 2 and 4.
  patch, alpha, box = copy_paste.soft_patch(
    tf.constant(fixtures.noise_image(20, 40)), tf.constant([5.0, 10, 15, 30]), tf.constant(2.0)
  )
  assert patch.shape == (24, 48, 3)
  assert box.numpy().tolist() == [2, 4, 22, 44]
  np.testing.assert_allclose(alpha[10, :6], [0.125, 0.375, 0.625, 0.875, 1, 1], atol=1e-6)
  np.testing.assert_allclose(alpha[:4, 10], [0.25, 0.75, 1, 1], atol=1e-6)


def paste(seed, image, source, box, size_ratio=1.0):
  pasted, box = copy_paste.random_paste(
    tf.constant(image), tf.constant(source), tf.constant(box), tf.constant([2, seed]),
    tf.constant(size_ratio),
  )  # fmt: skip
  return pasted.numpy(), box.numpy()


def bright_extent(image):
  ys, xs = np.nonzero(image[..., 0] > 127)
  return [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]


def test_the_box_lies_where_its_pixels_do():
  # On black: a white object on black, so that the margin does not show.
  source = fixtures.image_with_squares(40, 50, [[10, 20, 30, 26]])
  places = []
  for seed in range(40):
    with fixed_scale(1.0):
      image, box = paste(seed, np.zeros([25, 30, 3], np.uint8), source, [10.0, 20, 30, 26])
    assert image.shape == (25, 30, 3)
    assert box.tolist() == bright_extent(image)
    places.append(box[:2])
  # 20 x 6 fits at rows 0 to 5 and columns 0 to 24, and gets everywhere.
  assert {place[0] for place in places} == set(range(6))
  columns = [place[1] for place in places]
  assert min(columns) < 5 and max(columns) > 19


def test_the_size_is_that_in_the_source_times_ratio_and_scale():
  source = fixtures.solid_image(40, 40, 255)
  with fixed_scale(1.5):
    _, box = paste(0, fixtures.solid_image(100, 100), source, [10.0, 10, 30, 20], 0.4)
  # 20 x 10, times 1.5 x 0.4; the patch of 24 x 12 becomes 14 x 7, not 14.4 x 7.2.
  np.testing.assert_allclose(box[2:] - box[:2], [20 * 14 / 24, 10 * 7 / 12], rtol=1e-5)


def test_scales_fill_their_range():
  source = fixtures.solid_image(300, 300, 255)
  heights = []
  for seed in range(40):
    _, box = paste(seed, fixtures.solid_image(400, 400), source, [50.0, 50, 250, 250])
    heights.append((box[2] - box[0]) / 200)
  assert 0.49 < min(heights) < 0.6 and 1.4 < max(heights) < 1.51


def test_an_object_larger_than_the_image_is_made_to_fit():
  for seed in range(5):
    image, box = paste(seed, fixtures.solid_image(8, 30), fixtures.solid_image(33, 90, 255),
                       [0.0, 0, 33, 90])  # fmt: skip
    np.testing.assert_allclose(box[2] - box[0], 8, atol=0.6)
    assert box.min() >= 0 and box[2] <= 8 and box[3] <= 30
    np.testing.assert_allclose(box, bright_extent(image), atol=1.0)


def run(own, partner, seed=0, max_objects=100, size_ratio=1.0):
  return copy_paste.copy_paste(
    own, partner, tf.constant([4, seed]), tf.constant(size_ratio), max_objects
  )


def scattered(classes=(1, 2, 3, 4, 5), **others):
  """A white image with five objects apart from each other."""
  rows = [[0, 12 * i, 8, 12 * i + 8] for i in range(5)]
  return annotated(rows, classes, image=fixtures.solid_image(10, 60, 255), **others)


def test_one_to_three_objects_are_pasted():
  own = annotated([], [], image=fixtures.solid_image(400, 400))
  pasted = [run(own, scattered(), seed).classes.numpy() for seed in range(40)]
  assert {len(classes) for classes in pasted} == {1, 2, 3}
  assert set(np.concatenate(pasted)) == {1, 2, 3, 4, 5}
  assert all(len(set(classes)) == len(classes) for classes in pasted)


def test_pasted_pixels_are_those_of_the_boxes():
  own = annotated([], [], image=fixtures.solid_image(200, 200))
  with fixed_scale(1.0):
    found = run(own, scattered(), seed=3)
  covered = np.zeros([200, 200], bool)
  for top, left, bottom, right in found.boxes_px.numpy().astype(int):
    covered[top:bottom, left:right] = True
    # 0.8 of a pixel of margin fades away around it.
    around = found.image.numpy()[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1, 0]
    covered[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] |= around > 0
  np.testing.assert_array_equal(found.image.numpy()[..., 0] > 0, covered)
  for top, left, bottom, right in found.boxes_px.numpy().astype(int):
    assert np.all(found.image.numpy()[top:bottom, left:right] == 255)


def test_flags_and_areas_go_with_an_object():
  partner = annotated(
    [[0, 0, 10, 10]], [7], [50.0], image=fixtures.solid_image(40, 40), difficult=[True]
  )
  own = annotated([[0, 0, 90, 90]], [1], [8000.0], image=fixtures.solid_image(90, 90, 9))
  with fixed_scale(2.0):
    found = run(own, partner)
  assert found.classes.numpy().tolist() == [1, 7]
  assert found.difficult.numpy().tolist() == [False, True]
  assert found.boxes_px.numpy()[0].tolist() == [0, 0, 90, 90]
  # The mask fills half of the box, which is now 20 x 20.
  np.testing.assert_allclose(found.area_px, [8000.0, 200.0], rtol=1e-5)


@pytest.mark.parametrize(("max_objects", "most"), [(1, 0), (2, 0), (3, 1), (4, 2), (100, 3)])
def test_no_more_objects_than_rows(max_objects, most):
  # Two objects and a region to be ignored, which needs no row before an object does.
  own = annotated([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]], [1, 2, 0],
                  image=fixtures.solid_image(300, 300))  # fmt: skip
  counts = [len(run(own, scattered(), seed, max_objects).classes) - 3 for seed in range(30)]
  assert max(counts) == most


def test_no_pasteable_object_changes_nothing():
  own = annotated([[0, 0, 9, 9]], [1], image=fixtures.noise_image(30, 30))
  for partner in (annotated([], []), annotated([[0, 0, 5, 5]] * 2, [0, 1], is_crowd=[False, True])):
    found = run(own, partner)
    np.testing.assert_array_equal(found.image, own.image)
    assert found.boxes_px.numpy().tolist() == [[0, 0, 9, 9]]


def test_what_is_not_pasted():
  #  An object alone, a crowd, a region, and pairs of which one holds half and less of the other.
  found = copy_paste._pasteable(
    annotated(
      [
        [0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4],
        [30, 0, 34, 4], [32, 0, 36, 40],
        [50, 0, 54, 4], [53, 0, 57, 4],
      ],
      [1, 1, 0, 1, 1, 1, 1],
      is_crowd=[0, 1, 0, 0, 0, 0, 0],
    )
  )  # fmt: skip
  assert found.numpy().tolist() == [True, False, False, False, False, True, True]


def test_hidden_is_more_than_half_under_what_came_later():
  own = boxes([0, 0, 10, 10], [0, 20, 10, 30], [50, 50, 60, 60])
  # The first hides half of a box of 100; two hide 40 and 20 of the second. Of the pasted ones the
  # last lies on the second.
  pasted = boxes([0, 5, 10, 20], [0, 20, 4, 30], [8, 20, 10, 30], [0, 20, 4, 30])
  hidden, pasted_hidden = copy_paste._hidden(own, pasted[:3])
  assert hidden.numpy().tolist() == [False, True, False]
  assert pasted_hidden.numpy().tolist() == [False] * 3
  hidden, pasted_hidden = copy_paste._hidden(own, pasted)
  assert pasted_hidden.numpy().tolist() == [False, True, False, False]
  hidden, _ = copy_paste._hidden(own, boxes([0, 4.9, 10, 20]))
  assert hidden.numpy().tolist() == [True, False, False]
  hidden, pasted_hidden = copy_paste._hidden(own[:0], pasted[:0])
  assert hidden.shape == pasted_hidden.shape == (0,)


def test_what_is_hidden_is_ignored():
  # The pasted object is as large as the image, so all of the small one is under it.
  own = annotated([[4, 4, 6, 6], [0, 0, 10, 10]], [1, 0], image=fixtures.solid_image(10, 10))
  partner = annotated([[0, 0, 10, 10]], [2], image=fixtures.solid_image(10, 10, 200))
  with fixed_scale(1.0):
    found = run(own, partner)
  assert found.classes.numpy().tolist() == [2, 0, 0]
  assert found.boxes_px.numpy().tolist() == [[0, 0, 10, 10], [4, 4, 6, 6], [0, 0, 10, 10]]


def test_a_pasted_object_under_another_is_ignored():
  own = annotated([], [], image=fixtures.solid_image(10, 10))
  partner = annotated([[0, 0, 10, 10], [0, 20, 10, 30]], [1, 2],
                      image=fixtures.solid_image(10, 30, 200))  # fmt: skip
  with fixed_scale(1.0):
    found = [run(own, partner, seed).classes.numpy().tolist() for seed in range(20)]
  assert {tuple(classes) for classes in found} == {(1,), (2,), (1, 0), (2, 0)}


def test_same_seed_same_image():
  own = annotated([], [], image=fixtures.solid_image(100, 100))
  np.testing.assert_array_equal(run(own, scattered(), 1).image, run(own, scattered(), 1).image)
  assert not np.array_equal(run(own, scattered(), 1).image, run(own, scattered(), 2).image)
