import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.modeling import detections

# Image of 40 x 40, two object classes. Proposals A, B (IoU 2/3 with A), C, and one of padding.
_SIZE = tf.constant([[40.0, 40.0]])
_PROPOSALS = tf.constant(
  [[[0, 0, 10, 10], [2, 0, 12, 10], [20, 20, 30, 30], [9, 20, 19, 30]]], tf.float32
)
_VALID = tf.constant([[True, True, True, False]])
# Probabilities of background, class 1 and class 2.
_PROBABILITIES = [
  [0.1, 0.6, 0.3],
  [0.1, 0.8, 0.1],
  [0.75, 0.05, 0.2],
  [0.0, 0.5, 0.5],
]
_LOGITS = tf.math.log(tf.constant([_PROBABILITIES]) + 1e-9) + 3.0


def _deltas(**rows):
  """Codes [1, 4, 2, 4], zero but for `p<proposal>c<class>=code`."""
  deltas = np.zeros([1, 4, 2, 4], np.float32)
  for name, code in rows.items():
    deltas[0, int(name[1]), int(name[3]) - 1] = code
  return tf.constant(deltas)


def _detect(
  deltas=None, threshold=0.0, nms_iou=0.5, max_per_class=10, max_total=6, nms_method="loop"
):
  generator = detections.DetectionGenerator(
    threshold, nms_iou, max_per_class, max_total, nms_method
  )
  return generator(_LOGITS, _deltas() if deltas is None else deltas, _PROPOSALS, _VALID, _SIZE)


class DetectionGeneratorTest(parameterized.TestCase, tf.test.TestCase):
  def test_classes_are_suppressed_one_by_one_and_merged(self):
    found = _detect()
    # Class 1: B 0.8 removes A, then C 0.05. Class 2: A 0.3 removes B, then C 0.2.
    self.assertAllEqual(found["num_detections"], [4])
    self.assertAllClose(found["detection_scores"], [[0.8, 0.3, 0.2, 0.05, 0.0, 0.0]])
    self.assertAllEqual(found["detection_classes"], [[1, 2, 2, 1, 0, 0]])
    self.assertAllEqual(found["detection_proposal_indices"], [[1, 0, 2, 2, 0, 0]])
    a, b, c = [0, 0, 10, 10], [2, 0, 12, 10], [20, 20, 30, 30]
    self.assertAllClose(found["detection_boxes_px"], [[b, a, c, c, [0] * 4, [0] * 4]])
    self.assertEqual(found["detection_classes"].dtype, tf.int32)

  def test_its_method_suppresses(self):
    found = _detect(nms_method="native")
    self.assertAllEqual(found["detection_proposal_indices"], [[1, 0, 2, 2, 0, 0]])
    with self.assertRaisesRegex(ValueError, "NMS method is 'fast'"):
      _detect(nms_method="fast")

  def test_each_class_has_its_own_box(self):
    # Class 2 of A goes down by its height; class 1 of C out of the image by half.
    found = _detect(_deltas(p0c2=[10, 0, 0, 0], p2c1=[0, 15, 0, 0]))
    self.assertAllClose(found["detection_boxes_px"][0, 1], [10, 0, 20, 10])
    self.assertAllClose(found["detection_boxes_px"][0, 4], [20, 35, 30, 40])
    # B's class 2 is no longer suppressed, and comes before C's class 1.
    self.assertAllEqual(found["detection_classes"], [[1, 2, 2, 2, 1, 0]])
    self.assertAllClose(found["detection_scores"], [[0.8, 0.3, 0.2, 0.1, 0.05, 0.0]])

  def test_boxes_that_leave_the_image_are_none(self):
    found = _detect(_deltas(p1c1=[-30, 0, 0, 0]))
    self.assertAllClose(found["detection_scores"], [[0.6, 0.3, 0.2, 0.05, 0.0, 0.0]])

  def test_more_overlap_allowed(self):
    self.assertAllEqual(_detect(nms_iou=0.7)["num_detections"], [6])

  def test_score_must_be_above_the_threshold(self):
    self.assertAllEqual(_detect(threshold=0.25)["num_detections"], [2])

  def test_limits(self):
    self.assertAllEqual(_detect(max_per_class=1)["detection_classes"], [[1, 2, 0, 0, 0, 0]])
    found = _detect(max_total=3)
    self.assertAllEqual(found["detection_proposal_indices"], [[1, 0, 2]])
    self.assertAllEqual(found["num_detections"], [3])

  @parameterized.parameters(False, True)
  def test_batch_of_unlike_images(self, jit_compile):
    generator = detections.DetectionGenerator(0.0, 0.5, 10, 6)
    compiled = tf.function(generator, jit_compile=jit_compile)
    logits = tf.concat([_LOGITS, _LOGITS[:, ::-1]], axis=0)
    boxes = tf.concat([_PROPOSALS, _PROPOSALS[:, ::-1]], axis=0)
    valid = tf.concat([_VALID, _VALID[:, ::-1]], axis=0)
    sizes = tf.constant([[40.0, 40.0], [25.0, 40.0]])
    deltas = tf.tile(_deltas(), [2, 1, 1, 1])
    both = compiled(logits, deltas, boxes, valid, sizes)
    for i in range(2):
      part = slice(i, i + 1)
      own = generator(logits[part], deltas[part], boxes[part], valid[part], sizes[part])
      for name, values in own.items():
        self.assertAllClose(both[name][part], values, msg=name)
    self.assertAllClose(both["detection_boxes_px"][1, 2], [20, 20, 25, 30])
