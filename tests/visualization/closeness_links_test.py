"""Links of closeness labels, worked by hand."""

import numpy as np

from mtl_ssl_tf.visualization import closeness_links


def test_half_of_the_way_to_the_nearest_of_each_class():
  # Centres (y, x): cats at (10, 10) and (10, 90), a dog at (10, 30); a region and padding.
  boxes = [[0, 0, 20, 20], [0, 80, 20, 100], [0, 20, 20, 40], [0, 0, 50, 50], [-1, -1, -1, -1]]
  classes = np.array([1, 1, 2, 0, -1])
  labels = np.zeros([5, 3], np.float32)
  labels[0] = [0.0, 0.25, 0.75]
  labels[2] = [0.0, 1.0, 0.0]
  labels[3] = [0.0, 0.5, 0.5]  # Of no object.
  found = closeness_links.closeness_links(np.float32(boxes), classes, labels)
  # The dog's nearest cat is the first one.
  assert [
    (link.value, link.is_largest, link.class_id, *link.start, *link.end) for link in found
  ] == [
    (0.25, False, 1, 10, 10, 10, 50),
    (0.75, True, 2, 10, 10, 10, 20),
    (1.0, True, 1, 10, 30, 10, 20),
  ]


def test_an_object_alone_has_no_link():
  labels = np.float32([[1.0, 0.0]])
  assert closeness_links.closeness_links(np.float32([[0, 0, 9, 9]]), np.array([1]), labels) == []
