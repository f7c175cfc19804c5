"""Groups of objects, by hand."""

import numpy as np

from mtl_ssl_tf.evaluation import object_groups


def test_neighbours_meet_the_box_enlarged_twofold():
  # Columns of boxes 10 wide: the second is 4 from the first, the third 6 from the second, whose
  # enlarged box ends 5 from it; the large fourth meets all of them when enlarged.
  boxes = np.array([[0, 0, 10, 10], [0, 14, 10, 24], [0, 30, 10, 40], [20, 0, 60, 40]], float)
  # Rows 0 … 10 end 10 above the fourth, enlarged by 5: it is no neighbour of theirs.
  np.testing.assert_array_equal(object_groups.count_neighbours(boxes), [1, 1, 0, 3])
  np.testing.assert_array_equal(object_groups.count_neighbours(boxes[:1]), [0])
  np.testing.assert_array_equal(object_groups.count_neighbours(boxes[:0]), [])


def test_by_size():
  areas = np.array([1.0, 15.9**2, 16.0**2, 300.0**2])
  passes, found = np.array([True, False, False, True]), np.array([True, True, False, True])
  groups = object_groups.by_size(areas, passes, found)
  assert [tuple(group) for group in groups] == [
    ("below 16 px", 2, 1, 2),
    ("16 … 32 px", 1, 0, 0),
    ("32 … 64 px", 0, 0, 0),
    ("64 … 128 px", 0, 0, 0),
    ("128 … 256 px", 0, 0, 0),
    ("256 px and more", 1, 1, 1),
  ]


def test_by_neighbours():
  passes, found = np.array([True, False, False]), np.array([True, False, True])
  groups = object_groups.by_neighbours(np.array([0, 4, 9]), passes, found)
  assert [tuple(group) for group in groups] == [
    ("none", 1, 1, 1),
    ("1", 0, 0, 0),
    ("2", 0, 0, 0),
    ("3 … 4", 1, 0, 0),
    ("5 and more", 1, 0, 1),
  ]
