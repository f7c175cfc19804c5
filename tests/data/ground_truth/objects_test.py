"""Boxes in both forms, and images by every name they are known by."""

import numpy as np
import pytest

from mtl_ssl_tf.data.ground_truth import objects as ground_truth


def image(image_id, file_name=""):
  boxes, none = ground_truth.Boxes.from_corners(np.zeros([0, 4])), np.zeros(0)
  flags = none.astype(bool)
  return ground_truth.ImageTruth(
    image_id, file_name, None, boxes, none.astype(int), flags, flags, none
  )


def truth(*images):
  return ground_truth.GroundTruth("here", ("cat",), (1,), images)


def test_boxes():
  for boxes in (
    ground_truth.Boxes.from_corners([[1.5, 2, 4, 8]]),
    ground_truth.Boxes.from_xywh([[2, 1.5, 6, 2.5]]),
  ):
    np.testing.assert_array_equal(boxes.corners, [[1.5, 2, 4, 8]])
    np.testing.assert_array_equal(boxes.xywh, [[2, 1.5, 6, 2.5]])
    assert boxes.corners.dtype == boxes.xywh.dtype == np.float64
  assert ground_truth.Boxes.from_xywh([]).corners.shape == (0, 4)


def test_what_is_given_is_not_rounded():
  given = np.array([[0.1, 0.7, 0.3, 0.9]])
  np.testing.assert_array_equal(ground_truth.Boxes.from_xywh(given).xywh, given)
  np.testing.assert_array_equal(ground_truth.Boxes.from_corners(given).corners, given)


def test_index_by_id_file_and_stem():
  index = truth(image("7", "cats/a.jpg"), image("b", "c.png")).index
  names = {"cats/a.jpg": 0, "a.jpg": 0, "a": 0, "b": 1, "c.png": 1, "c": 1}
  assert index == names | {"7": 0}


def test_names_that_several_images_share_find_none():
  two = truth(image("7", "cats/a.jpg"), image("8", "dogs/a.jpg"), image("9", "a/b.jpg"))
  assert two.by_name == {"cats/a.jpg": 0, "dogs/a.jpg": 1, "a/b.jpg": 2, "b.jpg": 2, "b": 2}


def test_ids_that_are_paths_are_known_by_their_last_part_too():
  assert truth(image("deep/b")).by_name == {"deep/b": 0, "b": 0}


def test_an_id_goes_before_the_name_of_a_file():
  assert truth(image("1", "2.jpg"), image("2", "1.jpg")).index["2"] == 1


@pytest.mark.parametrize(
  ("names", "expected"),
  [
    (["139", "0", "25"], (139, 0, 25)),
    (["000012", "7"], ("000012", "7")),
    (["139", "a"], ("139", "a")),
    (["-1"], ("-1",)),
    # Eighteen digits are a number of 64 bits, nineteen may be none.
    (["9" * 18], (10**18 - 1,)),
    (["1" * 19], ("1" * 19,)),
    (["٣"], ("٣",)),
    ([], ()),
  ],
)
def test_coco_image_ids(names, expected):
  assert ground_truth.coco_image_ids(names) == expected
  assert truth(*map(image, names)).coco_image_ids == expected
