import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.losses import detection_losses

# Cross entropy of logits (0, log 3): log 4 for the first class, log 4/3 for the second.
_LOG3 = float(np.log(3.0))
_FIRST, _SECOND = np.log(4.0), np.log(4.0 / 3.0)


class SmoothL1Test(parameterized.TestCase, tf.test.TestCase):
  def test_sigma_1(self):
    # Quadratic up to 1: 0.5 x 0.25 and 0.5; beyond, the size less 0.5.
    errors = tf.constant([[0.5, -1.0, 3.0, 0.0], [0.0, 0.0, 0.0, -0.2]])
    loss = detection_losses.smooth_l1(errors, 1.0)
    self.assertAllClose(loss, [0.125 + 0.5 + 2.5, 0.02])

  def test_sigma_3(self):
    # Quadratic up to 1/9: 4.5 x 0.01; beyond, as at 0.2 already, the size less 1/18.
    errors = tf.constant([[0.1, -0.5, 0.2, 0.0], [0.0, 0.0, 2.0, -1 / 9]])
    loss = detection_losses.smooth_l1(errors, 3.0)
    self.assertAllClose(loss, [0.045 + 0.5 - 1 / 18 + 0.2 - 1 / 18, 2.0 - 1 / 18 + 1 / 18])

  @parameterized.parameters(1.0, 3.0)
  def test_gradient_is_at_most_one(self, sigma):
    errors = tf.constant([[5.0, -5.0, 0.05, 0.0]])
    with tf.GradientTape() as tape:
      tape.watch(errors)
      loss = detection_losses.smooth_l1(errors, sigma)
    self.assertAllClose(tape.gradient(loss, errors), [[1.0, -1.0, 0.05 * sigma**2, 0.0]])


class RpnLossesTest(parameterized.TestCase, tf.test.TestCase):
  # Image 0: four sampled anchors, two of them positive. Image 1: one sampled, a negative.
  LOGITS = tf.tile([[[0.0, _LOG3]]], [2, 5, 1])
  OBJECTNESS = tf.constant([[1, 1, 0, 0, 1], [0, 0, 1, 1, 0]])
  SELECTED = tf.constant([[True, True, True, True, False], [True] + [False] * 4])
  POSITIVE = tf.constant([[True, True, False, False, False], [False] * 5])
  # Every anchor is 1 off in one code: with sigma 3, 1 - 1/18 each.
  DELTAS = tf.tile([[[3.0, 0.0, 0.0, 0.0]]], [2, 5, 1])
  TARGETS = tf.tile([[[2.0, 0.0, 0.0, 0.0]]], [2, 5, 1])

  @parameterized.parameters(False, True)
  def test_each_image_by_its_own_number_of_samples(self, jit_compile):
    compute = tf.function(detection_losses.rpn_losses, jit_compile=jit_compile)
    objectness, box = compute(
      self.LOGITS, self.DELTAS, self.OBJECTNESS, self.TARGETS, self.SELECTED, self.POSITIVE, 3.0
    )
    first = (2 * _SECOND + 2 * _FIRST) / 4
    self.assertAllClose(objectness, (first + _FIRST) / 2)
    # Two positives over four samples; no positive.
    self.assertAllClose(box, (2 * (17 / 18) / 4 + 0.0) / 2)

  def test_sigma(self):
    _, box = detection_losses.rpn_losses(
      self.LOGITS, self.DELTAS, self.OBJECTNESS, self.TARGETS, self.SELECTED, self.POSITIVE, 1.0
    )
    self.assertAllClose(box, (2 * 0.5 / 4) / 2)

  def test_nothing_sampled(self):
    nothing = tf.zeros([2, 5], tf.bool)
    losses = detection_losses.rpn_losses(
      self.LOGITS, self.DELTAS, self.OBJECTNESS, self.TARGETS, nothing, nothing, 3.0
    )
    self.assertAllEqual(losses, [0.0, 0.0])

  def test_other_anchors_change_nothing(self):
    more = [
      tf.concat([values, values[:, :3]], axis=1)
      for values in (self.LOGITS + 2.0, self.DELTAS + 2.0, self.OBJECTNESS, self.TARGETS)
    ]
    masks = [tf.pad(mask, [[0, 0], [0, 3]]) for mask in (self.SELECTED, self.POSITIVE)]
    own = detection_losses.rpn_losses(
      self.LOGITS + 2.0,
      self.DELTAS + 2.0,
      self.OBJECTNESS,
      self.TARGETS,
      self.SELECTED,
      self.POSITIVE,
      3.0,
    )
    self.assertAllClose(detection_losses.rpn_losses(*more, *masks, 3.0), own)


class RoiLossesTest(parameterized.TestCase, tf.test.TestCase):
  # Image 0: classes 2, 0 and a padding row. Image 1: class 1 and two padding rows. Logits of
  # (0, 0, log 2) make the three classes cost log 4, log 4 and log 2.
  LOGITS = tf.tile([[[0.0, 0.0, float(np.log(2.0))]]], [2, 3, 1])
  CLASSES = tf.constant([[2, 0, 0], [1, 0, 0]])
  VALID = tf.constant([[True, True, False], [True, False, False]])
  POSITIVE = tf.constant([[True, False, False], [True, False, False]])

  @parameterized.parameters(False, True)
  def test_class_loss(self, jit_compile):
    compute = tf.function(detection_losses.roi_class_loss, jit_compile=jit_compile)
    loss = compute(self.LOGITS, self.CLASSES, self.VALID)
    self.assertAllClose(loss, ((np.log(2.0) + np.log(4.0)) / 2 + np.log(4.0)) / 2)

  @parameterized.parameters(False, True)
  def test_box_loss_of_the_own_class(self, jit_compile):
    # Codes of class 1 are 10 everywhere, of class 2 all 5; target numbers are 4 in one place.
    deltas = tf.tile([[[[10.0] * 4, [5.0] * 4]]], [2, 3, 1, 1])
    targets = tf.tile([[[4.0, 5.0, 5.0, 5.5]]], [2, 3, 1])
    compute = tf.function(detection_losses.roi_box_loss, jit_compile=jit_compile)
    loss = compute(deltas, self.CLASSES, targets, self.POSITIVE, self.VALID, 1.0)
    # Image 0, class 2: errors 1, 0, 0, 0.5 over two boxes. Image 1, class 1: 6, 5, 5, 4.5 over one.
    first = (0.5 + 0.125) / 2
    second = 5.5 + 4.5 + 4.5 + 4.0
    self.assertAllClose(loss, (first + second) / 2)
    sigma3 = compute(deltas, self.CLASSES, targets, self.POSITIVE, self.VALID, 3.0)
    first = (1.0 - 1 / 18 + 0.5 - 1 / 18) / 2
    self.assertAllClose(sigma3, (first + 20.5 - 4 / 18) / 2)

  def test_no_positives(self):
    loss = detection_losses.roi_box_loss(
      tf.ones([2, 3, 2, 4]),
      tf.zeros([2, 3], tf.int32),
      tf.zeros([2, 3, 4]),
      tf.zeros([2, 3], tf.bool),
      self.VALID,
      1.0,
    )
    self.assertAllEqual(loss, 0.0)

  def test_nothing_valid(self):
    nothing = tf.zeros([2, 3], tf.bool)
    self.assertAllEqual(detection_losses.roi_class_loss(self.LOGITS, self.CLASSES, nothing), 0.0)
    one = tf.constant([[True, False, False], [False] * 3])
    self.assertAllClose(
      detection_losses.roi_class_loss(self.LOGITS, self.CLASSES, one), np.log(2.0) / 2
    )

  def test_padding_changes_nothing(self):
    deltas = tf.ones([2, 3, 2, 4])
    targets = tf.zeros([2, 3, 4])

    def losses(rows):
      pad = [[0, 0], [0, rows]]
      classes = tf.pad(self.CLASSES, pad)
      valid = tf.pad(self.VALID, pad)
      return (
        detection_losses.roi_class_loss(
          tf.pad(self.LOGITS, [*pad, [0, 0]], constant_values=3.0), classes, valid
        ),
        detection_losses.roi_box_loss(
          tf.pad(deltas, [*pad, [0, 0], [0, 0]], constant_values=3.0),
          classes,
          tf.pad(targets, [*pad, [0, 0]]),
          tf.pad(self.POSITIVE, pad),
          valid,
          1.0,
        ),
      )

    self.assertAllClose(losses(2), losses(0))
