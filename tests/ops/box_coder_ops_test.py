import math

import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.ops import box_coder_ops

# The anchor is 10 high and 20 wide around (5, 10), the box 20 high and 10 wide around (15, 15):
# one anchor height down, a quarter of an anchor width to the right, twice the height, half the
# width.
_ANCHOR = [0.0, 0.0, 10.0, 20.0]
_BOX = [5.0, 10.0, 25.0, 20.0]
_DELTAS = [10.0, 2.5, 5.0 * math.log(2.0), -5.0 * math.log(2.0)]


class BoxCoderTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(False, True)
  def test_worked_case(self, jit_compile):
    encode_fn = tf.function(box_coder_ops.encode, jit_compile=jit_compile)
    decode_fn = tf.function(box_coder_ops.decode, jit_compile=jit_compile)
    self.assertAllClose(encode_fn(tf.constant(_BOX), tf.constant(_ANCHOR)), _DELTAS)
    self.assertAllClose(decode_fn(tf.constant(_DELTAS), tf.constant(_ANCHOR)), _BOX)

  def test_scale_factors(self):
    deltas = box_coder_ops.encode(tf.constant(_BOX), tf.constant(_ANCHOR), (1.0, 2.0, 3.0, 4.0))
    self.assertAllClose(deltas, [1.0, 0.5, 3.0 * math.log(2.0), -4.0 * math.log(2.0)])
    boxes = box_coder_ops.decode(deltas, tf.constant(_ANCHOR), (1.0, 2.0, 3.0, 4.0))
    self.assertAllClose(boxes, _BOX)

  def test_one_anchor_for_many_boxes(self):
    deltas = tf.zeros([2, 3, 7, 4])
    anchors = tf.tile(tf.constant(_ANCHOR)[tf.newaxis, tf.newaxis, tf.newaxis], [2, 3, 1, 1])
    boxes = box_coder_ops.decode(deltas, anchors)
    self.assertAllClose(boxes, tf.broadcast_to(tf.constant(_ANCHOR), [2, 3, 7, 4]))
    self.assertAllClose(box_coder_ops.encode(boxes, anchors), deltas)

  def test_codes_of_padded_empty_and_inverted_boxes_are_finite(self):
    boxes = tf.constant([[-1.0, -1.0, -1.0, -1.0], [3.0, 3.0, 3.0, 3.0], [9.0, 9.0, 2.0, 2.0]])
    deltas = box_coder_ops.encode(boxes[:, tf.newaxis], tf.concat([boxes, [_ANCHOR]], axis=0))
    self.assertAllInRange(deltas, -1e12, 1e12)

  def test_growth_is_limited_far_beyond_any_image(self):
    def grown_height(log_growth):
      return box_coder_ops.decode(
        tf.stack([0.0, 0.0, 5.0 * log_growth, 0.0]), tf.constant(_ANCHOR)
      )[2]

    # Half of the height, from the middle at 5.
    self.assertAllClose(grown_height(math.log(900.0)), 5.0 + 0.5 * 10.0 * 900.0, rtol=1e-5)
    log_growth = tf.constant(1000.0)
    with tf.GradientTape() as tape:
      tape.watch(log_growth)
      height = grown_height(log_growth)
    self.assertAllClose(height, 5.0 + 0.5 * 10.0 * 1000.0, rtol=1e-5)
    self.assertEqual(tape.gradient(height, log_growth), 0.0)


if __name__ == "__main__":
  tf.test.main()
