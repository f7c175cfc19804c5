"""Masks of annotated classes for places of an image, and the places that nothing is taught of."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.labels import annotated_classes, foreground, rpn_targets

COMPILED = pytest.mark.parametrize("jit_compile", [False, True])


def run(function, jit_compile, *arguments):
  return tf.function(function, jit_compile=jit_compile)(*arguments)


def test_without_the_field_there_is_no_mask():
  labels = {"gt_classes": tf.constant([[1]])}
  assert annotated_classes.of_images(labels) is None
  assert annotated_classes.of_boxes(labels, tf.zeros([1, 1, 4])) is None


@COMPILED
def test_an_image_of_one_part_has_one_mask(jit_compile):
  masks = tf.constant([[1.0, 1, 0], [1, 0, 1]])
  found = run(
    lambda boxes: annotated_classes.of_boxes({"annotated_classes": masks}, boxes),
    jit_compile,
    tf.zeros([2, 3, 4]),
  )
  np.testing.assert_array_equal(found, np.repeat(masks[:, np.newaxis], 3, axis=1))


@COMPILED
def test_a_box_has_what_all_parts_have_that_it_meets(jit_compile):
  # Two parts, left and right of 10, the third a pasted box at the top right; the fourth is padding.
  #
  #   +----+--+-+
  #   | a  | b|c|
  #   |    |  +-+
  #   +----+----+
  parts = tf.constant([[[0.0, 0, 20, 10], [0, 10, 20, 20], [0, 16, 4, 20], [-1, -1, -1, -1]]])
  masks = tf.constant([[[1.0, 1, 0, 1], [1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1]]])
  boxes = tf.constant(
    [[[0.0, 0, 5, 5], [0, 12, 5, 15], [0, 8, 5, 12], [2, 14, 9, 18], [0, 4, 5, 10], [-1] * 4]]
  )
  labels = {
    "annotated_classes": tf.reduce_min(masks, axis=1),
    "annotated_parts_px": parts,
    "annotated_parts": masks,
  }
  found = run(lambda boxes: annotated_classes.of_boxes(labels, boxes), jit_compile, boxes)
  expected = [
    [1, 1, 0, 1],  # in a
    [1, 1, 1, 0],  # in b
    [1, 1, 0, 0],  # in a and b
    [1, 0, 1, 0],  # in b and c
    [1, 1, 0, 1],  # ends where b begins
    [1, 1, 1, 1],  # padding
  ]
  np.testing.assert_array_equal(found[0], expected)
  np.testing.assert_array_equal(annotated_classes.of_images(labels)[0], [1, 0, 0, 0])


def test_an_object_alone_may_have_an_unannotated_neighbour():
  closeness = tf.constant([[[1.0, 0, 0], [0, 0.3, 0.7], [0, 0, 0]]] * 2)
  found = annotated_classes.closeness_labels(closeness, tf.constant([[1.0, 1, 0], [1, 1, 1]]))
  np.testing.assert_array_equal(
    found[0], [[0, 0, 0], [0, np.float32(0.3), np.float32(0.7)], [0] * 3]
  )
  np.testing.assert_array_equal(found[1], closeness[1])


@COMPILED
def test_regions_are_probable_unannotated_objects(jit_compile):
  # Probabilities of background and classes 1 ... 3; classes 2 and 3 are not annotated.
  p = np.float32(
    [
      [0.2, 0.1, 0.6, 0.1],  # an unannotated object, 0.7
      [0.1, 0.8, 0.05, 0.05],  # class 1
      [0.25, 0.15, 0.3, 0.3],  # one of both, 0.6
      [0.6, 0.0, 0.2, 0.2],  # background
      [0.05, 0.05, 0.9, 0.0],  # matched to an object
      [0.0, 0.0, 0.9, 0.1],  # where all classes are annotated
      [0.05, 0.0, 0.0, 0.95],  # the most probable
    ]
  )
  masks = np.float32([[1, 1, 0, 0]] * 7)
  masks[5] = 1.0
  boxes = np.arange(28, dtype=np.float32).reshape([1, 7, 4])
  is_background = np.array([[True, True, True, True, False, True, True]])
  logits = tf.constant(np.log(p + 1e-9)[np.newaxis])
  found_px, classes = run(
    annotated_classes.unannotated_regions, jit_compile, logits, boxes, is_background, masks[None]
  )
  assert classes.numpy().tolist() == [[0, 0, 0, -1, -1, -1, -1]]
  np.testing.assert_array_equal(found_px[0, :3], boxes[0, [6, 0, 2]])
  np.testing.assert_array_equal(found_px[0, 3:], -1.0)


def test_regions_pass_no_gradient():
  logits, boxes = tf.constant([[[0.0, 0.0, 9.0]]]), tf.constant([[[0.0, 0, 4, 4]]])
  with tf.GradientTape() as tape:
    tape.watch((logits, boxes))
    found_px, _ = annotated_classes.unannotated_regions(
      logits, boxes, tf.constant([[True]]), tf.constant([[[1.0, 1, 0]]])
    )
    total = tf.reduce_sum(found_px)
  assert total == 8.0
  assert tape.gradient(total, [logits, boxes]) == [None, None]


@COMPILED
def test_anchors_on_a_region_are_no_negatives_of_the_rpn(jit_compile):
  # One object; a region with an anchor inside and one of IoU 0.5, and one that is away from all.
  anchors = tf.constant([[0.0, 0, 10, 10], [20, 20, 24, 24], [20, 20, 30, 40], [50, 50, 60, 60]])
  regions = (
    tf.constant([[[20.0, 20, 30, 30], [-1, -1, -1, -1]]]),
    tf.constant([[0, -1]], tf.int32),
  )

  def selected(regions):
    on_regions = None if regions is None else annotated_classes.on_regions(anchors, regions, 0.3)
    targets = rpn_targets.rpn_targets(
      anchors,
      tf.ones([1, 4], tf.bool),
      tf.constant([[[0.0, 0, 10, 10]]]),
      tf.constant([[1]], tf.int32),
      tf.constant([[1, 2]], tf.int32),
      num_samples=4,
      positive_fraction=0.5,
      positive_iou=0.7,
      negative_iou=0.3,
      never_negative=on_regions,
    )
    return targets.selected, targets.positive

  taken, positive = run(lambda: selected(regions), jit_compile)
  assert taken.numpy().tolist() == [[True, False, False, True]]
  assert positive.numpy().tolist() == [[True, False, False, False]]
  taken, _ = run(lambda: selected(None), jit_compile)
  assert taken.numpy().tolist() == [[True] * 4]


@COMPILED
def test_background_cells_of_regions_weigh_nothing(jit_compile):
  # An object in the left half of the first row, a region over that row; another row is no region.
  mask = tf.constant([[[1.0, 1, 0, 0], [0, 0, 0, 0]]])
  weights = tf.constant([[[2.0, 2, 1, 1], [0.5, 0.5, 0.5, 0.5]]])
  regions = tf.constant([[[0.0, 0, 0.499, 1], [0.5, 0, 1, 1]]])
  found = run(
    foreground.without_regions,
    jit_compile,
    weights,
    mask,
    regions,
    tf.constant([[True, False]]),
  )
  # Its cells are all of the first row: floor(2 * 0.499 + 0.99) is 1, the second row too.
  kept = np.float32([[2, 2, 0, 0], [0, 0, 0, 0]])
  np.testing.assert_allclose(found[0], kept * 8.0 / 4.0)
  nowhere = tf.constant([[False, False]])
  found = run(foreground.without_regions, jit_compile, weights, mask, regions, nowhere)
  np.testing.assert_allclose(found, weights)
