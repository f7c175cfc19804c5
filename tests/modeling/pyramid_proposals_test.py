"""Anchors and proposals by level against loops over levels, images and boxes."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.modeling import proposals, pyramid_proposals
from mtl_ssl_tf.modeling.heads import rpn_head
from mtl_ssl_tf.ops import box_coder_ops, nms_ops

STRIDES = (4, 8, 16)
SIZES = ((8, 12), (4, 6), (2, 3))
IMAGE_SIZES = tf.constant([[32.0, 48.0], [20.0, 33.0]])


def make_grid():
  return pyramid_proposals.PyramidAnchorGrid(
    tuple(proposals.AnchorGrid(s, 2.0 * s, (1.0,), (0.5, 2.0)) for s in STRIDES)
  )


def make_maps():
  return tuple(tf.zeros([2, *size, 1]) for size in SIZES)


def make_rpn(seed=0):
  rng = np.random.default_rng(seed)
  num_anchors = sum(2 * h * w for h, w in SIZES)
  return rpn_head.RpnOutputs(
    tf.constant(rng.normal(0.0, 2.0, [2, num_anchors, 4]), tf.float32),
    tf.constant(rng.normal(0.0, 2.0, [2, num_anchors, 2]), tf.float32),
    make_maps(),
  )


@pytest.mark.parametrize("training", [False, True])
def test_anchors_of_all_levels(training):
  anchors = make_grid()(make_maps(), IMAGE_SIZES, training)
  first, start = [], 0
  for (height, width), stride in zip(SIZES, STRIDES, strict=True):
    boxes = anchors.boxes_px[start : start + 2 * height * width]
    exists = anchors.is_candidate[:, start : start + 2 * height * width]
    # The anchor of the last cell, 2 : 1, not clipped; its centre is a multiple of the stride.
    center = stride * np.array([height - 1.0, width - 1.0])
    half = stride * np.array([0.5**0.5, 2**0.5])
    np.testing.assert_allclose(boxes[-1], np.concatenate([center - half, center + half]), rtol=1e-5)
    # Cells whose place lies in the image exist.
    rows, columns = (tf.range(0.0, n * stride, stride).numpy() for n in (height, width))
    inside = (rows[:, None] < 20) & (columns[None] < 33)
    np.testing.assert_array_equal(exists[1], inside.repeat(2))
    assert np.all(exists[0])
    first.append(boxes[0])
    start += 2 * height * width
  assert start == len(anchors.boxes_px)


def naive_proposals(rpn, anchors, sizes, image, nms_iou, num_proposals, top_k):
  scores = tf.nn.softmax(rpn.logits[image])[:, 1].numpy()
  boxes = box_coder_ops.decode(rpn.deltas[image], anchors.boxes_px).numpy()
  boxes = np.clip(boxes, 0.0, np.tile(sizes[image], 2))
  kept, start = [], 0
  for height, width in SIZES:
    level = [i for i in range(start, start + 2 * height * width) if anchors.is_candidate[image, i]]
    level = sorted(level, key=lambda i: -scores[i])[:top_k]
    chosen = []
    for i in level:
      height_px, width_px = boxes[i, 2:] - boxes[i, :2]
      if height_px * width_px > 0 and all(iou(boxes[i], boxes[j]) <= nms_iou for j in chosen):
        chosen.append(i)
    kept += chosen[:num_proposals]
    start += 2 * height * width
  best = sorted(kept, key=lambda i: -scores[i])[:num_proposals]
  return boxes[best], scores[best]


def iou(a, b):
  sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
  shared = np.prod(np.maximum(sides, 0.0))
  return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


@pytest.mark.parametrize("method", nms_ops.METHODS)
@pytest.mark.parametrize(("num_proposals", "top_k"), [(9, 20), (5, 4), (60, 30)])
def test_best_of_each_level_then_of_all(method, num_proposals, top_k):
  rpn, grid = make_rpn(), make_grid()
  anchors = grid(make_maps(), IMAGE_SIZES, False)
  propose = pyramid_proposals.PyramidProposalGenerator(0.5, num_proposals, top_k, method)

  @tf.function(jit_compile=method == "loop")
  def run(deltas, logits):
    return propose(rpn._replace(deltas=deltas, logits=logits), anchors, IMAGE_SIZES)

  found = run(rpn.deltas, rpn.logits)
  assert found.boxes_px.shape == (2, num_proposals, 4)
  for image in range(2):
    boxes, scores = naive_proposals(
      rpn, anchors, IMAGE_SIZES.numpy(), image, 0.5, num_proposals, top_k
    )
    count = len(boxes)
    assert np.sum(found.valid[image]) == count > 0
    np.testing.assert_allclose(found.scores[image, :count], scores, rtol=1e-5)
    np.testing.assert_allclose(found.boxes_px[image, :count], boxes, atol=1e-4)
    assert not np.any(found.boxes_px[image, count:])
    assert not np.any(found.scores[image, count:])
    assert not np.any(found.valid[image, count:])


def test_no_gradient_passes():
  rpn = make_rpn()
  anchors = make_grid()(make_maps(), IMAGE_SIZES, True)
  with tf.GradientTape() as tape:
    tape.watch((rpn.deltas, rpn.logits))
    found = pyramid_proposals.PyramidProposalGenerator(0.5, 5, 9)(rpn, anchors, IMAGE_SIZES)
    total = tf.reduce_sum(found.boxes_px) + tf.reduce_sum(found.scores)
  assert tape.gradient(total, [rpn.deltas, rpn.logits]) == [None, None]


def test_head_is_the_same_on_all_maps():
  head = rpn_head.PyramidRpnHead(2, 3)
  rng = np.random.default_rng(0)
  maps = tuple(tf.constant(rng.normal(size=(2, *size, 4)), tf.float32) for size in SIZES)
  found = head(maps)
  single = rpn_head.RpnHead(2, 3)
  single(maps[0])
  single.set_weights(head.get_weights())
  assert len(head.weights) == 6
  outputs = [single(m) for m in maps]
  np.testing.assert_allclose(found.deltas, tf.concat([o.deltas for o in outputs], 1), atol=1e-6)
  np.testing.assert_allclose(found.logits, tf.concat([o.logits for o in outputs], 1), atol=1e-6)
  for hidden, o in zip(found.features, outputs, strict=True):
    np.testing.assert_allclose(hidden, o.features, atol=1e-6)


def test_its_method_suppresses():
  anchors = make_grid()(make_maps(), IMAGE_SIZES, False)
  propose = pyramid_proposals.PyramidProposalGenerator(0.5, 5, 9, "fast")
  with pytest.raises(ValueError, match="NMS method is 'fast'"):
    propose(make_rpn(), anchors, IMAGE_SIZES)
