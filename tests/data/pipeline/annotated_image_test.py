"""Images with their objects: taking, joining and cutting objects."""

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data.pipeline import annotated_image


def annotated(boxes_px, classes, areas=None, image=None, difficult=None, is_crowd=None):
  """An annotated image from lists; areas are those of the boxes unless they are given."""
  boxes_px = np.reshape(np.asarray(boxes_px, np.float32), [-1, 4])
  num = len(boxes_px)
  if areas is None:
    areas = (boxes_px[:, 2] - boxes_px[:, 0]) * (boxes_px[:, 3] - boxes_px[:, 1])
  return annotated_image.AnnotatedImage(
    tf.constant(np.zeros([10, 20, 3], np.uint8) if image is None else image),
    tf.constant(boxes_px),
    tf.constant(np.asarray(classes, np.int32)),
    tf.constant(np.asarray([False] * num if difficult is None else difficult, bool)),
    tf.constant(np.asarray([False] * num if is_crowd is None else is_crowd, bool)),
    tf.constant(np.asarray(areas, np.float32)),
  )


def rows(found):
  """Classes with their boxes, flags and areas, as lists."""
  return [values.numpy().tolist() for values in found[1:6]]


def test_size():
  assert annotated([], []).size.numpy().tolist() == [10.0, 20.0]


def test_taking_rows_takes_all_their_values():
  found = annotated(
    [[0, 0, 1, 1], [0, 0, 2, 2]], [1, 2], [0.5, 3.0], difficult=[0, 1], is_crowd=[1, 0]
  ).take([1, 0])
  assert rows(found) == [
    [[0, 0, 2, 2], [0, 0, 1, 1]],
    [2, 1],
    [True, False],
    [False, True],
    [3.0, 0.5],
  ]


def test_areas_follow_the_boxes():
  # A mask that fills half of its box still does when the box is doubled in height.
  found = annotated([[0, 0, 4, 4]], [1], [8.0]).with_boxes(tf.constant([[2.0, 0, 10, 4]]))
  assert found.boxes_px.numpy().tolist() == [[2, 0, 10, 4]]
  assert found.area_px.numpy().tolist() == [16.0]


def test_joined_objects_come_before_ignored_regions():
  first = annotated([[0, 0, 1, 1], [0, 0, 2, 2]], [3, 0])
  second = annotated([[0, 0, 3, 3], [0, 0, 4, 4], [0, 0, 5, 5]], [0, 2, 1])
  image = tf.ones([3, 3, 3], tf.uint8)
  joined = annotated_image.join(image, [first, second])
  assert joined.image is image
  assert joined.classes.numpy().tolist() == [3, 2, 1, 0, 0]
  assert joined.area_px.numpy().tolist() == [1, 16, 25, 4, 9]


def test_cutting_drops_what_is_mostly_outside():
  # Window of 10 x 20. All, 6/10, 4/10 of an object; a tenth and nothing of a region.
  found = annotated_image.crop_objects(
    annotated(
      [[0, 0, 10, 20], [4, 5, 14, 8], [6, 0, 16, 4], [9, 0, 19, 1], [0, 30, 9, 40]],
      [1, 2, 3, 0, 0],
    ),
    tf.constant([10.0, 20.0]),
  )
  assert found.boxes_px.numpy().tolist() == [[0, 0, 10, 20], [4, 5, 10, 8], [9, 0, 10, 1]]
  assert found.classes.numpy().tolist() == [1, 2, 0]
  np.testing.assert_allclose(found.area_px, [200, 18, 1])
