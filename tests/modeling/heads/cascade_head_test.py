"""Tests of cascade_head.py: each stage against its own head, on boxes that a loop moves here."""

import math

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling.heads import cascade_head
from mtl_ssl_tf.ops import box_ops
from tests.modeling import small

FACTORS = (1.0, 2.0, 3.0)
SIZES = tf.constant([[64.0, 96.0], [40.0, 70.0]])
BOXES_PX = tf.constant(
  [
    [[0, 0, 64, 96], [16, 16, 48, 80], [5, 7, 21, 40], [-1, -1, -1, -1]],
    [[0, 0, 40, 70], [8, 16, 40, 64], [-1, -1, -1, -1], [20, 30, 39, 69]],
  ],
  tf.float32,
)
BOXES_NORM = box_ops.normalize(BOXES_PX, SIZES)
FEATURES = tf.constant(np.random.default_rng(0).normal(size=[2, 4, 6, 4]), tf.float32)


@pytest.fixture(name="head", scope="module")
def _head():
  return make(FACTORS)


def make(factors):
  head = small.cascade(factors)
  head(head.prepare(FEATURES), BOXES_NORM, SIZES)
  small.randomize(head)
  for one in head.heads:
    one.box.kernel.assign(0.5 * one.box.kernel)
  return head


def moved(boxes_px, deltas, factor):
  """The boxes [B, R, 4] that a stage's raw deltas [B, R, 4] ask for, box by box."""
  found = np.full(boxes_px.shape, -1.0, np.float32)
  for image in range(len(boxes_px)):
    for row, (y1, x1, y2, x2) in enumerate(boxes_px[image]):
      if (y1, x1, y2, x2) == (-1, -1, -1, -1):
        continue
      dy, dx, dh, dw = deltas[image, row] / np.array([10, 10, 5, 5]) / factor
      middle_y, middle_x = (y1 + y2) / 2 + dy * (y2 - y1), (x1 + x2) / 2 + dx * (x2 - x1)
      height, width = (y2 - y1) * math.exp(dh), (x2 - x1) * math.exp(dw)
      sides = [middle_y - height / 2, middle_x - width / 2]
      sides += [middle_y + height / 2, middle_x + width / 2]
      found[image, row] = np.clip(sides, 0.0, [*SIZES[image].numpy()] * 2)
  return found


def stage_by_stage(head):
  """Boxes, logits and raw deltas of each stage's head, called alone."""
  found, boxes_px = [], BOXES_PX.numpy()
  for one, factor in zip(head.heads, FACTORS, strict=True):
    boxes_norm = box_ops.normalize(tf.constant(boxes_px), SIZES)
    outputs = one(one.prepare(FEATURES), boxes_norm, SIZES)
    deltas = outputs.box_deltas.numpy()
    found.append((boxes_px, outputs.class_logits.numpy(), deltas, outputs.box_features))
    boxes_px = moved(boxes_px, deltas[:, :, 0], factor)
  return found


def test_each_stage_sees_the_boxes_of_the_one_before(head):
  outputs = head(head.prepare(FEATURES), BOXES_NORM, SIZES)
  expected = stage_by_stage(head)
  for stage, (boxes_px, logits, deltas, _), factor in zip(
    outputs.cascade, expected, FACTORS, strict=True
  ):
    np.testing.assert_allclose(stage.boxes_px, boxes_px, atol=1e-3)
    np.testing.assert_allclose(stage.class_logits, logits, atol=1e-3)
    np.testing.assert_allclose(stage.box_deltas * factor, deltas, atol=1e-3)
  # The case tells boxes, images and stages apart.
  first, second, third = (stage.boxes_px.numpy() for stage in outputs.cascade)
  real = BOXES_PX[..., 0] >= 0.0
  assert np.abs(second - first).max(axis=-1)[real].mean() > 2.0
  assert np.abs(third - second).max(axis=-1)[real].mean() > 2.0
  assert np.any(third[0] == [64, 96, 64, 96])  # Clipped, each to its own image.
  assert np.any(third[1] == [40, 70, 40, 70])


def test_scores_are_means_over_stages_and_the_rest_is_of_the_last(head):
  outputs = head(head.prepare(FEATURES), BOXES_NORM, SIZES)
  expected = stage_by_stage(head)
  probabilities = [tf.nn.softmax(logits).numpy() for _, logits, _, _ in expected]
  mean = sum(probabilities) / 3
  np.testing.assert_allclose(tf.exp(outputs.class_logits), mean, atol=1e-5)
  np.testing.assert_allclose(tf.nn.softmax(outputs.class_logits), mean, atol=1e-5)
  _, _, deltas, features = expected[-1]
  np.testing.assert_allclose(outputs.box_deltas * FACTORS[-1], deltas, atol=1e-3)
  np.testing.assert_allclose(outputs.box_features, features, atol=1e-3)
  # Each stage counts.
  for one in probabilities:
    assert np.abs(one - mean).max() > 0.05


def test_scores_next_to_one_keep_their_order():
  logits = [tf.constant([[[-200.0, 0.0, -300.0]]]), tf.constant([[[-400.0, 0.0, -300.0]]])]
  found = cascade_head.mean_scores(logits)[0, 0]
  np.testing.assert_allclose(found, [-200.0 - math.log(2.0), 0.0, -300.0], atol=1e-4)


def test_no_gradient_passes_from_a_stage_to_the_boxes_of_another(head):
  given = tf.identity(BOXES_NORM)
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(given)
    outputs = head(head.prepare(FEATURES), given, SIZES)
    losses = [tf.reduce_sum(stage.class_logits) for stage in outputs.cascade]
    losses += [tf.reduce_sum(stage.box_deltas) for stage in outputs.cascade]
  for i, loss in enumerate(losses):
    for k, one in enumerate(head.heads):
      classifies, moves = tape.gradient(loss, [one.classifier.kernel, one.box.kernel])
      assert (classifies is not None) == (i == k)
      assert (moves is not None) == (i - 3 == k)
      assert (tape.gradient(loss, one.stage2.conv.kernel) is not None) == (i % 3 == k)
  assert all(tape.gradient(loss, given) is None for loss in (*losses[1:3], *losses[4:]))


def test_padding_and_order_change_nothing(head):
  outputs = head(head.prepare(FEATURES), BOXES_NORM, SIZES)
  order = [2, 0, 1]
  boxes_norm = tf.gather(BOXES_NORM, order, axis=1)
  others = head(head.prepare(FEATURES), boxes_norm, SIZES)
  for stage, other in zip(outputs.cascade, others.cascade, strict=True):
    for values, found in zip(stage, other, strict=True):
      np.testing.assert_allclose(found, tf.gather(values, order, axis=1), atol=1e-3)
    is_padding = np.all(BOXES_PX == -1.0, axis=-1)
    np.testing.assert_array_equal(stage.boxes_px.numpy()[is_padding], -1.0)


def test_a_box_that_leaves_the_image_has_no_area_and_stays():
  deltas = tf.constant([[[[0.0, 100.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]])
  boxes_px = tf.constant([[[10.0, 10.0, 20.0, 20.0]] * 2])
  stage = cascade_head.base.CascadeStage(boxes_px, tf.zeros([1, 2, 3]), deltas)
  found = cascade_head.moved_boxes(stage, tf.constant([[64.0, 96.0]]))
  np.testing.assert_allclose(found, [[[10, 96, 20, 96], [10, 10, 20, 20]]])


def test_one_stage_is_the_head_alone():
  head = make((1.0,))
  (alone,) = head.heads
  outputs = head(head.prepare(FEATURES), BOXES_NORM, SIZES)
  expected = alone(alone.prepare(FEATURES), BOXES_NORM, SIZES)
  np.testing.assert_allclose(
    tf.nn.softmax(outputs.class_logits), tf.nn.softmax(expected.class_logits), atol=1e-5
  )
  np.testing.assert_allclose(outputs.box_deltas, expected.box_deltas, atol=1e-4)
  np.testing.assert_allclose(outputs.box_features, expected.box_features, atol=1e-4)
  np.testing.assert_allclose(outputs.cascade[0].boxes_px, BOXES_PX, atol=1e-4)


def test_layers_of_all_stages(head):
  assert head.stages == [one.stage2 for one in head.heads]
  kernels = [kernel for one in head.heads for kernel in (one.classifier.kernel, one.box.kernel)]
  assert [k.ref() for k in head.last_kernels] == [k.ref() for k in kernels]
  assert len(head.trainable_variables) == 3 * 6


def test_a_factor_for_each_head():
  heads = small.cascade((1.0, 2.0)).heads
  with pytest.raises(ValueError, match=r"^3 delta factors; accepted: 2, one a head$"):
    cascade_head.CascadeHead(heads, FACTORS, heads[0].crop_features)


@pytest.mark.parametrize("training", [False, True])
def test_every_stage_runs_in_the_mode_of_the_call(head, training):
  for stage in head.stages:
    stage.seen = []
  head(head.prepare(FEATURES), BOXES_NORM, SIZES, training)
  assert [list(stage.seen) for stage in head.stages] == [[(2 * 4, training)]] * 3
