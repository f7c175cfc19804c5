import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.ops import nms_ops

# Boxes one high, written as columns from … to. IoU of neighbours: a-b 8/12, b-c 8/12, a-c 6/14.
_A, _B, _C, _FAR = [0, 0, 1, 10], [0, 2, 1, 12], [0, 4, 1, 14], [0, 50, 1, 60]
_LINE, _PADDING = [0, 0, 0, 10], [-1, -1, -1, -1]


# Arguments of `_nms`: the loop, the loop compiled, and the kernel.
_WAYS = ({"method": "loop"}, {"jit": True}, {"method": "native"})


def _random_boxes(rng, shape):
  centers = rng.uniform(0, 50, [*shape, 2])
  half_sizes = rng.uniform(0, 15, [*shape, 2])
  return np.concatenate([centers - half_sizes, centers + half_sizes], axis=-1).astype(np.float32)


def _slow_iou(box1, box2):
  height = min(box1[2], box2[2]) - max(box1[0], box2[0])
  width = min(box1[3], box2[3]) - max(box1[1], box2[1])
  intersection = max(height, 0.0) * max(width, 0.0)
  areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (box1, box2)]
  return intersection / (sum(areas) - intersection)


def _slow_nms(boxes, scores, iou_threshold, max_outputs):
  kept = []
  for index in np.argsort(-scores, kind="stable"):
    if np.isfinite(scores[index]) and all(
      _slow_iou(boxes[index], boxes[better]) <= iou_threshold for better in kept
    ):
      kept.append(index)
  return kept[:max_outputs]


class BatchedNmsTest(parameterized.TestCase, tf.test.TestCase):
  def _nms(
    self,
    boxes,
    scores,
    valid=None,
    threshold=0.5,
    max_outputs=4,
    top_k=None,
    jit=False,
    method="loop",
  ):
    scores = tf.constant(scores, tf.float32)
    valid = tf.ones_like(scores, tf.bool) if valid is None else tf.constant(valid)
    nms_fn = tf.function(
      functools.partial(
        nms_ops.batched_nms,
        iou_threshold=threshold,
        max_outputs=max_outputs,
        pre_nms_top_k=top_k,
        method=method,
      ),
      jit_compile=jit,
    )
    return nms_fn(tf.constant(boxes, tf.float32), scores, valid)

  @parameterized.parameters(*_WAYS)
  def test_worked_case(self, **way):
    # By score: b, far, a, c. b suppresses a and c. If c is the best, b goes, a and far stay.
    indices, valid = self._nms(
      [[_A, _B, _C, _FAR]] * 2, [[0.3, 0.9, 0.2, 0.5], [0.3, 0.4, 0.9, 0.2]], **way
    )
    self.assertAllEqual(indices, [[1, 3, 0, 0], [2, 0, 3, 0]])
    self.assertAllEqual(valid, [[True, True, False, False], [True, True, True, False]])

  @parameterized.parameters(*_WAYS)
  def test_an_iou_at_the_threshold_is_no_reason_to_go(self, **way):
    half = [0, 0, 1, 5]  # IoU with a is 0.5
    _, valid = self._nms([[_A, half]], [[0.9, 0.8]], threshold=0.5, **way)
    self.assertAllEqual(valid, [[True, True, False, False]])

  @parameterized.parameters(*_WAYS)
  def test_equal_scores_in_their_order(self, **way):
    indices, valid = self._nms([[_FAR, _B, _A, _C]], [[0.5] * 4], **way)
    self.assertAllEqual(indices, [[0, 1, 0, 0]])
    self.assertAllEqual(valid, [[True, True, False, False]])

  @parameterized.parameters(*_WAYS)
  def test_invalid_boxes_do_not_exist(self, **way):
    # The invalid b no longer suppresses; lines and padding are not kept for all their scores.
    indices, valid = self._nms(
      [[_A, _B, _C, _LINE, _PADDING]],
      [[0.3, 0.9, 0.2, 0.99, 0.99]],
      [[True, False, True, True, True]],
      **way,
    )
    self.assertAllEqual(indices, [[0, 2, 0, 0]])
    self.assertAllEqual(valid, [[True, True, False, False]])

  @parameterized.parameters(*_WAYS)
  def test_nothing_valid(self, **way):
    indices, valid = self._nms([[_A, _PADDING]], [[0.3, 0.9]], [[False, False]], **way)
    self.assertAllEqual(indices, [[0] * 4])
    self.assertAllEqual(valid, [[False] * 4])

  @parameterized.parameters(*_WAYS)
  def test_max_outputs(self, **way):
    indices, valid = self._nms([[_A, _C, _FAR]], [[0.1, 0.2, 0.3]], max_outputs=2, **way)
    self.assertAllEqual(indices, [[2, 1]])
    self.assertAllEqual(valid, [[True, True]])

  @parameterized.parameters(*_WAYS)
  def test_pre_nms_top_k(self, **way):
    # The best two are b and a; a is dropped, and far never takes part.
    indices, valid = self._nms([[_A, _FAR, _B]], [[0.5, 0.1, 0.9]], top_k=2, **way)
    self.assertAllEqual(indices, [[2, 0, 0, 0]])
    self.assertAllEqual(valid, [[True, False, False, False]])
    indices, _ = self._nms([[_A, _FAR, _B]], [[0.5, 0.1, 0.9]], top_k=1000, **way)
    self.assertAllEqual(indices, [[2, 1, 0, 0]])

  @parameterized.parameters(*_WAYS)
  def test_random_boxes_against_a_slow_reference(self, **way):
    rng = np.random.default_rng(0)
    boxes = _random_boxes(rng, [2, 60])
    scores = rng.integers(0, 20, [2, 60]).astype(np.float32)  # with many ties
    indices, valid = self._nms(boxes, scores, threshold=0.3, max_outputs=15, **way)
    for image in range(2):
      expected = _slow_nms(boxes[image], scores[image], 0.3, 15)
      self.assertAllEqual(indices[image][valid[image]], expected)

  def test_methods_agree_on_crowded_boxes(self):
    rng = np.random.default_rng(3)
    boxes = _random_boxes(rng, [2, 3000])
    scores = rng.integers(0, 900, [2, 3000]) / 1000  # with ties
    valid = rng.uniform(size=[2, 3000]) < 0.9
    one, other = (
      self._nms(boxes, scores, valid, 0.7, 200, method=method) for method in nms_ops.METHODS
    )
    self.assertAllEqual(one[0], other[0])
    self.assertAllEqual(one[1], other[1])
    self.assertAllEqual(tf.reduce_sum(tf.cast(one[1], tf.int32), axis=1), [200, 200])

  def test_unknown_method(self):
    with self.assertRaisesRegex(ValueError, "NMS method is 'fast'; accepted: loop, native"):
      self._nms([[_A]], [[0.5]], method="fast")

  def test_no_gradient_is_kept_through_the_loop(self):
    boxes = tf.constant([[_A, _C]], tf.float32)
    with tf.GradientTape() as tape:
      tape.watch(boxes)
      indices, _ = tf.function(nms_ops.batched_nms, jit_compile=True)(
        boxes, tf.constant([[0.5, 0.6]]), tf.ones([1, 2], tf.bool), 0.5, 2, None, "loop"
      )
      first_left = tf.gather(boxes, indices, batch_dims=1)[0, 0, 1]
    gradient = tf.convert_to_tensor(tape.gradient(first_left, boxes))
    self.assertAllEqual(gradient, [[[0, 0, 0, 0], [0, 1, 0, 0]]])


class MulticlassNmsTest(parameterized.TestCase, tf.test.TestCase):
  def _nms(self, boxes, scores, valid, jit=False, **kwargs):
    limits = {"max_per_class": 100, "max_total": 300, "score_threshold": 0.0, "method": "loop"}
    limits |= kwargs
    nms_fn = tf.function(
      functools.partial(nms_ops.multiclass_nms, iou_threshold=0.5, **limits), jit_compile=jit
    )
    return nms_fn(
      tf.constant(boxes, tf.float32), tf.constant(scores, tf.float32), tf.constant(valid)
    )

  @parameterized.parameters(*_WAYS)
  def test_worked_case_with_a_box_for_all_classes(self, **way):
    # Class 1: a suppresses b, far does not pass 0.1. Class 2: far, then b, which suppresses a.
    boxes, scores, classes, num_detections, indices = self._nms(
      [[[_A], [_B], [_FAR]]],
      [[[0.9, 0.2], [0.8, 0.3], [0.1, 0.4]]],
      [[True, True, True]],
      **way,
      max_total=5,
      score_threshold=0.1,
    )
    self.assertAllEqual(num_detections, [3])
    self.assertAllEqual(boxes, [[_A, _FAR, _B, [0] * 4, [0] * 4]])
    self.assertAllClose(scores, [[0.9, 0.4, 0.3, 0.0, 0.0]])
    self.assertAllEqual(classes, [[1, 2, 2, 0, 0]])
    self.assertAllEqual(indices, [[0, 2, 1, 0, 0]])

  @parameterized.parameters(*_WAYS)
  def test_worked_case_with_a_box_per_class(self, **way):
    # Class 1 has a, then an empty box, then far; class 2 has c and an invalid proposal's box.
    boxes, scores, classes, num_detections, indices = self._nms(
      [[[_A, _C], [_LINE, _B], [_FAR, _FAR]], [[_A, _A], [_B, _B], [_C, _C]]],
      [[[0.5, 0.7], [0.9, 0.6], [0.4, 0.0]], [[0.5, 0.5], [0.6, 0.6], [0.7, 0.7]]],
      [[True, True, True], [False, False, False]],
      **way,
      max_total=3,
    )
    self.assertAllEqual(num_detections, [3, 0])
    self.assertAllEqual(boxes, [[_C, _A, _FAR], [[0] * 4] * 3])
    self.assertAllClose(scores, [[0.7, 0.5, 0.4], [0.0] * 3])
    self.assertAllEqual(classes, [[2, 1, 1], [0] * 3])
    self.assertAllEqual(indices, [[0, 0, 2], [0] * 3])

  @parameterized.parameters(*_WAYS)
  def test_limits_per_class_and_in_total(self, **way):
    far2 = [0, 80, 1, 90]
    arguments = (
      [[[_A], [_FAR], [far2]]],
      [[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]],
      [[True] * 3],
    )
    _, scores, classes, num_detections, _ = self._nms(
      *arguments, max_per_class=2, max_total=3, **way
    )
    self.assertAllClose(scores, [[0.9, 0.8, 0.3]])
    self.assertAllEqual(classes, [[1, 1, 2]])
    self.assertAllEqual(num_detections, [3])
    _, scores, _, num_detections, _ = self._nms(*arguments, max_per_class=1, max_total=4, **way)
    self.assertAllClose(scores, [[0.9, 0.3, 0.0, 0.0]])
    self.assertAllEqual(num_detections, [2])

  @parameterized.parameters(*_WAYS)
  def test_equal_scores_lower_class_first(self, **way):
    _, _, classes, _, indices = self._nms(
      [[[_A], [_FAR]]], [[[0.5, 0.5], [0.5, 0.5]]], [[True, True]], max_total=4, **way
    )
    self.assertAllEqual(classes, [[1, 1, 2, 2]])
    self.assertAllEqual(indices, [[0, 1, 0, 1]])

  @parameterized.parameters(*_WAYS)
  def test_random_boxes_against_a_slow_reference(self, **way):
    rng = np.random.default_rng(1)
    boxes = _random_boxes(rng, [2, 30, 4])
    scores = rng.uniform(size=[2, 30, 4]).astype(np.float32)
    valid = rng.uniform(size=[2, 30]) < 0.8
    results = self._nms(
      boxes, scores, valid, **way, max_per_class=6, max_total=20, score_threshold=0.2
    )
    for image in range(2):
      usable = np.where(valid[image, :, np.newaxis] & (scores[image] > 0.2), scores[image], -np.inf)
      expected = [
        (usable[index, c], c + 1, index)
        for c in range(4)
        for index in _slow_nms(boxes[image, :, c], usable[:, c], 0.5, 6)
      ]
      expected = sorted(expected, reverse=True)[:20]
      self.assertEqual(results[3][image], len(expected))
      detections = zip(*(result[image].numpy() for result in results[1:3]), strict=True)
      self.assertAllClose(
        list(detections)[: len(expected)], [[score, c] for score, c, _ in expected]
      )
      indices = results[4][image, : len(expected)]
      self.assertAllEqual(indices, [index for _, _, index in expected])
      self.assertAllEqual(
        results[0][image, : len(expected)], [boxes[image, i, c - 1] for _, c, i in expected]
      )

  @parameterized.parameters(*nms_ops.METHODS)
  def test_batch_equals_one_by_one_for_any_number_of_images(self, method):
    rng = np.random.default_rng(2)
    boxes = tf.constant(_random_boxes(rng, [3, 10, 1]))
    scores = tf.constant(rng.uniform(size=[3, 10, 2]), tf.float32)
    valid = tf.constant(rng.uniform(size=[3, 10]) < 0.8)
    nms_fn = tf.function(
      lambda boxes, scores, valid: nms_ops.multiclass_nms(
        boxes, scores, valid, 0.3, 100, 300, 0.0, method
      ),
      input_signature=[
        tf.TensorSpec([None, 10, 1, 4]),
        tf.TensorSpec([None, 10, 2]),
        tf.TensorSpec([None, 10], tf.bool),
      ],
    )
    together = nms_fn(boxes, scores, valid)
    for image in range(3):
      one = slice(image, image + 1)
      alone = nms_fn(boxes[one], scores[one], valid[one])
      for expected, actual in zip(together, alone, strict=True):
        self.assertAllEqual(expected[one], actual)


if __name__ == "__main__":
  tf.test.main()
