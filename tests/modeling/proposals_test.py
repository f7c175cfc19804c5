import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.modeling import proposals
from mtl_ssl_tf.modeling.heads import rpn_head

# One square anchor of 20 px a cell. On a map of 3 x 4 cells, at the cells' corners:
#
#     x  0   16  32  48
#   y 0  +---+---+---+
#    16  +---+---+---+
#    32  +---+---+---+
_GRID = proposals.AnchorGrid(stride=16, base_size_px=20.0, scales=(1.0,), aspect_ratios=(1.0,))
_FEATURES = tf.zeros([1, 3, 4, 5])


def _anchors(size, training, features=_FEATURES, grid=_GRID):
  return grid(features, tf.cast([size], tf.float32), training)


class AnchorGridTest(tf.test.TestCase):
  def test_anchors_per_cell(self):
    grid = proposals.AnchorGrid(16, 20.0, (0.5, 1.0, 2.0), (0.5, 1.0))
    self.assertEqual(grid.anchors_per_cell, 6)
    self.assertEqual(np.shape(_anchors([48, 64], True, grid=grid).boxes_px), (72, 4))
    self.assertEqual(_anchors([48, 64], True, grid=grid).is_candidate.shape, [1, 72])

  def test_training_drops_those_that_cross_the_border(self):
    anchors = _anchors([48, 64], training=True)
    self.assertAllEqual(anchors.boxes_px[0], [-10.0, -10.0, 10.0, 10.0])
    self.assertAllEqual(anchors.boxes_px[6], [6.0, 22.0, 26.0, 42.0])
    # 48 x 64: the first row and column cross the top and left; (32, 48) ends at (42, 58).
    self.assertAllEqual(
      tf.reshape(anchors.is_candidate, [3, 4]),
      [[False] * 4, [False, True, True, True], [False, True, True, True]],
    )
    # 40 x 56: the last row and column now cross the bottom and right.
    self.assertAllEqual(
      tf.reshape(_anchors([40, 56], training=True).is_candidate, [3, 4]),
      [[False] * 4, [False, True, True, False], [False] * 4],
    )

  def test_inference_clips_them(self):
    anchors = _anchors([40, 56], training=False)
    self.assertAllEqual(anchors.is_candidate, tf.ones([1, 12], tf.bool))
    self.assertAllEqual(anchors.boxes_px[0, 0], [0.0, 0.0, 10.0, 10.0])
    self.assertAllEqual(anchors.boxes_px[0, 11], [22.0, 38.0, 40.0, 56.0])

  def test_no_anchors_over_padding(self):
    # An image of 20 x 33 has 2 x 3 cells of its own.
    grid = proposals.AnchorGrid(16, 2.0, (1.0,), (1.0,))
    inference = _anchors([20, 33], training=False, grid=grid)
    on_content = [[True, True, True, False], [True, True, True, False], [False] * 4]
    self.assertAllEqual(tf.reshape(inference.is_candidate, [3, 4]), on_content)
    # Those of the third row, which are points, lie on the border of 32 x 64, not across it.
    point = proposals.AnchorGrid(16, 0.0, (1.0,), (1.0,))
    training = _anchors([32, 64], training=True, grid=point)
    self.assertAllEqual(
      tf.reshape(training.is_candidate, [3, 4]), [[True] * 4, [True] * 4, [False] * 4]
    )

  def test_each_image_has_its_own_size(self):
    sizes = tf.constant([[40.0, 56.0], [48.0, 64.0]])
    for training in (False, True):
      both = _GRID(tf.zeros([2, 3, 4, 5]), sizes, training)
      for i in range(2):
        own = _anchors(sizes[i], training)
        self.assertAllEqual(both.is_candidate[i : i + 1], own.is_candidate)
        boxes = both.boxes_px if training else both.boxes_px[i : i + 1]
        self.assertAllEqual(boxes, own.boxes_px)


def _rpn(objectness, deltas=None):
  """Outputs whose object logit exceeds the other by `objectness` [B, A]."""
  objectness = tf.constant(objectness, tf.float32)
  if deltas is None:
    deltas = tf.zeros([*objectness.shape, 4])
  logits = tf.stack([tf.zeros_like(objectness), objectness], axis=-1)
  return rpn_head.RpnOutputs(deltas, logits, features=tf.zeros([1]))


def _sigmoid(values):
  return 1.0 / (1.0 + np.exp(-np.array(values)))


# A and B overlap by 8 x 10 of 120 (IoU 2/3); C is apart; D sticks out by half.
_BOXES = tf.constant(
  [[[0, 0, 10, 10], [2, 0, 12, 10], [20, 20, 30, 30], [35, 0, 45, 10]]], tf.float32
)
_SIZE = tf.constant([[40.0, 40.0]])


def _propose(objectness, is_candidate=True, deltas=None, nms_iou=0.6, num=3, top_k=None, **method):
  generator = proposals.ProposalGenerator(nms_iou, num, top_k, **method)
  mask = tf.broadcast_to(is_candidate, [1, 4])
  return generator(_rpn([objectness], deltas), proposals.Anchors(_BOXES, mask), _SIZE)


class ProposalGeneratorTest(parameterized.TestCase, tf.test.TestCase):
  def test_best_first_without_overlaps_and_clipped(self):
    proposed = _propose([1.0, 2.0, 0.5, 3.0])
    # D first, cut at the bottom; then B, which suppresses A; then C.
    self.assertAllEqual(proposed.boxes_px, [[[35, 0, 40, 10], [2, 0, 12, 10], [20, 20, 30, 30]]])
    self.assertAllClose(proposed.scores, [_sigmoid([3.0, 2.0, 0.5])])
    self.assertAllEqual(proposed.valid, [[True] * 3])

  def test_its_method_suppresses(self):
    proposed = _propose([1.0, 2.0, 0.5, 3.0], nms_method="native")
    self.assertAllEqual(proposed.boxes_px, [[[35, 0, 40, 10], [2, 0, 12, 10], [20, 20, 30, 30]]])
    with self.assertRaisesRegex(ValueError, "NMS method is 'fast'"):
      _propose([1.0, 2.0, 0.5, 3.0], nms_method="fast")

  def test_overlap_that_is_allowed(self):
    proposed = _propose([1.0, 2.0, 0.5, 3.0], nms_iou=0.7)
    self.assertAllEqual(proposed.boxes_px[0, 2], [0, 0, 10, 10])

  def test_padding_rows_are_zero(self):
    proposed = _propose([1.0, 2.0, 0.5, 3.0], is_candidate=[[True, True, False, False]])
    self.assertAllEqual(proposed.boxes_px, [[[2, 0, 12, 10], [0] * 4, [0] * 4]])
    self.assertAllClose(proposed.scores, [[_sigmoid(2.0), 0.0, 0.0]])
    self.assertAllEqual(proposed.valid, [[True, False, False]])

  def test_no_candidates(self):
    proposed = _propose([1.0, 2.0, 0.5, 3.0], is_candidate=False)
    self.assertAllEqual(proposed.boxes_px, tf.zeros([1, 3, 4]))
    self.assertAllEqual(proposed.valid, [[False] * 3])
    self.assertAllEqual(proposed.scores, [[0.0] * 3])

  def test_a_score_of_zero_is_no_proposal(self):
    proposed = _propose([1.0, -2000.0, -2000.0, -2000.0])
    self.assertAllEqual(proposed.valid, [[True, False, False]])

  def test_boxes_are_decoded(self):
    # C moves down by half its height (code 10 x 0.5), and grows to twice its width.
    deltas = np.zeros([1, 4, 4], np.float32)
    deltas[0, 2] = [5.0, 0.0, 0.0, 5.0 * np.log(2.0)]
    proposed = _propose([0.0, 0.0, 9.0, 0.0], deltas=tf.constant(deltas), num=1)
    self.assertAllClose(proposed.boxes_px, [[[25.0, 15.0, 35.0, 35.0]]])

  def test_only_the_best_enter_the_suppression(self):
    # Of D and B only: NMS does not get A and C.
    proposed = _propose([1.0, 2.0, 0.5, 3.0], top_k=2)
    self.assertAllEqual(proposed.valid, [[True, True, False]])
    self.assertAllEqual(proposed.boxes_px[0, :2], [[35, 0, 40, 10], [2, 0, 12, 10]])

  @parameterized.parameters(False, True)
  def test_shared_anchors_as_in_training_and_compiled(self, jit_compile):
    generator = tf.function(proposals.ProposalGenerator(0.6, 3, None), jit_compile=jit_compile)
    objectness = [[1.0, 2.0, 0.5, 3.0], [4.0, 2.0, 0.5, 3.0]]
    sizes = tf.constant([[40.0, 40.0], [25.0, 25.0]])
    anchors = proposals.Anchors(_BOXES[0], tf.ones([2, 4], tf.bool))
    proposed = generator(_rpn(objectness), anchors, sizes)
    self.assertAllEqual(proposed.boxes_px[0], _propose(objectness[0]).boxes_px[0])
    # The second image is smaller: D lies outside and C is cut.
    self.assertAllEqual(proposed.boxes_px[1], [[0, 0, 10, 10], [20, 20, 25, 25], [0] * 4])
    self.assertAllEqual(proposed.valid[1], [True, True, False])

  def test_no_gradient_passes(self):
    rpn = _rpn([[1.0, 2.0, 0.5, 3.0]])
    anchors = proposals.Anchors(_BOXES, tf.ones([1, 4], tf.bool))
    with tf.GradientTape() as tape:
      tape.watch([rpn.deltas, rpn.logits])
      proposed = proposals.ProposalGenerator(0.6, 3, None)(rpn, anchors, _SIZE)
      total = tf.reduce_sum(proposed.boxes_px) + tf.reduce_sum(proposed.scores)
    self.assertEqual(tape.gradient(total, [rpn.deltas, rpn.logits]), [None, None])
