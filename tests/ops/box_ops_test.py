import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.ops import box_ops

_PADDING = [-1.0, -1.0, -1.0, -1.0]


class BoxOpsTest(parameterized.TestCase, tf.test.TestCase):
  def test_area_of_boxes_without_area_is_zero(self):
    boxes = tf.constant([[1, 2, 4, 7], [1, 2, 1, 7], [4, 7, 1, 2], [4, 2, 1, 7], _PADDING])
    self.assertAllEqual(box_ops.area(boxes), [15.0, 0.0, 0.0, 0.0, 0.0])

  @parameterized.parameters(False, True)
  def test_overlaps(self, jit_compile):
    # Columns 0 to 6 from left to right, both boxes 4 high:
    #   aaaa    a is 4x4, b the same moved by 2: they share 2x4 of 6x4.
    #     bbbb
    a, b = [0.0, 0.0, 4.0, 4.0], [0.0, 2.0, 4.0, 6.0]
    far, line = [10.0, 10.0, 12.0, 12.0], [0.0, 1.0, 4.0, 1.0]
    boxes1, boxes2 = tf.constant([a, far, line, _PADDING]), tf.constant([a, b, _PADDING])
    intersection_fn = tf.function(box_ops.pairwise_intersection, jit_compile=jit_compile)
    iou_fn = tf.function(box_ops.pairwise_iou, jit_compile=jit_compile)
    nothing = [0.0, 0.0, 0.0]
    self.assertAllEqual(
      intersection_fn(boxes1, boxes2), [[16.0, 8.0, 0.0], nothing, nothing, nothing]
    )
    self.assertAllClose(iou_fn(boxes1, boxes2), [[1.0, 1.0 / 3.0, 0.0], nothing, nothing, nothing])

  def test_padding_overlaps_nothing_even_around_the_origin(self):
    around_origin = tf.constant([[-2.0, -2.0, 2.0, 2.0], _PADDING])
    self.assertAllEqual(box_ops.pairwise_iou(around_origin, around_origin), [[1, 0], [0, 0]])

  def test_leading_axes_broadcast(self):
    anchors = tf.constant([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 4.0]])
    boxes = tf.constant([[[0.0, 0.0, 2.0, 2.0]], [[0.0, 2.0, 2.0, 4.0]]])
    self.assertAllEqual(box_ops.pairwise_iou(anchors, boxes), [[[1.0], [0.5]], [[0.0], [0.5]]])

  def test_clip_to_size_uses_each_image_its_own_size(self):
    boxes = tf.constant([[-5.0, 2.0, 30.0, 50.0], [40.0, 2.0, 50.0, 5.0], _PADDING])
    clipped = box_ops.clip_to_size(
      tf.stack([boxes, boxes]), tf.constant([[20.0, 40.0], [100.0, 30.0]])
    )
    self.assertAllEqual(clipped[0], [[0, 2, 20, 40], [20, 2, 20, 5], _PADDING])
    self.assertAllEqual(clipped[1], [[0, 2, 30, 30], [40, 2, 50, 5], _PADDING])

  def test_normalize_and_back(self):
    boxes_px = tf.constant([[[5.0, 10.0, 10.0, 40.0], _PADDING]])
    size = tf.constant([[20.0, 40.0]])
    boxes_norm = box_ops.normalize(boxes_px, size)
    self.assertAllEqual(boxes_norm, [[[0.25, 0.25, 0.5, 1.0], _PADDING]])
    self.assertAllEqual(box_ops.denormalize(boxes_norm, size), boxes_px)

  def test_any_number_of_axes_between_image_and_box(self):
    boxes_px = tf.ones([2, 3, 5, 4])
    size = tf.constant([[2.0, 4.0], [4.0, 2.0]])
    boxes_norm = box_ops.normalize(boxes_px, size)
    self.assertAllEqual(boxes_norm[0, 2, 4], [0.5, 0.25, 0.5, 0.25])
    self.assertAllEqual(boxes_norm[1, 0, 0], [0.25, 0.5, 0.25, 0.5])
    self.assertAllEqual(box_ops.clip_to_size(5.0 * boxes_px, size)[1, 2, 3], [4, 2, 4, 2])


if __name__ == "__main__":
  tf.test.main()
