import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.losses import auxiliary_losses

# Logits (0, 0, log 2) give probabilities 1/4, 1/4, 1/2.
_LOGITS = [0.0, 0.0, float(np.log(2.0))]
_LOG2 = float(np.log(2.0))
_NORMALIZERS = ("batch_positives", "per_image_sum")


def _multi_object_loss(*args):
  return auxiliary_losses.multi_object_loss(*args).replica_loss()


def _closeness_loss(*args, **kwargs):
  return auxiliary_losses.closeness_loss(*args, **kwargs).replica_loss()


class MultiObjectLossTest(parameterized.TestCase, tf.test.TestCase):
  # Two images of three windows. Soft labels cost 1, 2 and 1.5 times log 2.
  LOGITS = tf.tile([[_LOGITS]], [2, 3, 1])
  LABELS = tf.constant(
    [
      [[0.0, 0.0, 1.0], [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]],
      [[0.25, 0.25, 0.5], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]],
    ]
  )

  @parameterized.parameters(False, True)
  def test_mean_over_the_windows_that_count(self, jit_compile):
    compute = tf.function(_multi_object_loss, jit_compile=jit_compile)
    everything = compute(self.LOGITS, self.LABELS, tf.ones([2, 3]))
    self.assertAllClose(everything, (1 + 2 + 1.5 + 1.5 + 1 + 2) * _LOG2 / 6)
    # One image with two windows, one with a single one: not a mean of means.
    weights = tf.constant([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    some = compute(self.LOGITS, self.LABELS, weights)
    self.assertAllClose(some, (1 + 2 + 1.5) * _LOG2 / 3)

  def test_views_have_means_of_their_own(self):
    weights = tf.constant([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    loss = _multi_object_loss(self.LOGITS, self.LABELS, weights, 2)
    self.assertAllClose(loss, (1 + 2) * _LOG2 / 2 + 1.5 * _LOG2)

  def test_no_windows(self):
    loss = _multi_object_loss(self.LOGITS, self.LABELS, tf.zeros([2, 3]))
    self.assertAllEqual(loss, 0.0)

  def test_windows_that_do_not_count_change_nothing(self):
    weights = tf.constant([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    pad = [[0, 0], [0, 2]]
    padded = _multi_object_loss(
      tf.pad(self.LOGITS, [*pad, [0, 0]], constant_values=5.0),
      tf.pad(self.LABELS, [*pad, [0, 0]]),
      tf.pad(weights, pad),
    )
    own = _multi_object_loss(self.LOGITS, self.LABELS, weights)
    self.assertAllClose(padded, own)


class ClosenessLossTest(parameterized.TestCase, tf.test.TestCase):
  # Image 0: three positives, the last of them pure background. Image 1: one.
  LOGITS = tf.tile([[_LOGITS]], [2, 4, 1])
  LABELS = tf.constant(
    [
      [[0.0, 0.5, 0.5], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
      [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]],
    ]
  )
  POSITIVE = tf.constant([[True, True, True, False], [True, False, False, False]])
  # Of all columns: 1.5, 1 and 2 times log 2; 2 times log 2. Without the first column the
  # probabilities are 1/3 and 2/3.
  WHOLE = (np.array([1.5, 1.0, 2.0]) * _LOG2, 2.0 * _LOG2)
  DROPPED = (
    np.array([0.5 * np.log(3.0) + 0.5 * np.log(1.5), np.log(1.5), 0.0]),
    np.log(3.0),
  )

  @parameterized.product(
    drop_background=(False, True),
    normalizer=_NORMALIZERS,
    jit_compile=(False, True),
  )
  def test_worked_case(self, drop_background, normalizer, jit_compile):
    first, second = self.DROPPED if drop_background else self.WHOLE
    expected = {
      "batch_positives": (first.sum() + second) / 4,
      "per_image_sum": first.sum() / 3 + second / 1,
    }[normalizer]
    compute = tf.function(_closeness_loss, jit_compile=jit_compile)
    loss = compute(self.LOGITS, self.LABELS, self.POSITIVE, drop_background, normalizer)
    self.assertAllClose(loss, expected)

  @parameterized.parameters(*_NORMALIZERS)
  def test_views_have_means_of_their_own(self, normalizer):
    first, second = self.WHOLE
    args = (self.LOGITS, self.LABELS, self.POSITIVE, False, normalizer)
    loss = _closeness_loss(*args, num_views=2)
    self.assertAllClose(loss, first.sum() / 3 + second / 1)

  def test_unknown_normalizer(self):
    message = "^normalizer is 'sum'; accepted: batch_positives, per_image_sum$"
    with self.assertRaisesRegex(ValueError, message):
      _closeness_loss(self.LOGITS, self.LABELS, self.POSITIVE, False, "sum")

  @parameterized.parameters(*_NORMALIZERS)
  def test_no_positives(self, normalizer):
    nothing = tf.zeros([2, 4], tf.bool)
    loss = _closeness_loss(self.LOGITS, self.LABELS, nothing, False, normalizer)
    self.assertAllEqual(loss, 0.0)

  @parameterized.parameters(*_NORMALIZERS)
  def test_an_image_without_positives(self, normalizer):
    positive = self.POSITIVE & [[True], [False]]
    loss = _closeness_loss(self.LOGITS, self.LABELS, positive, False, normalizer)
    self.assertAllClose(loss, 4.5 * _LOG2 / 3)

  @parameterized.parameters(*_NORMALIZERS)
  def test_only_background_is_nothing_to_learn_as_released(self, normalizer):
    labels = tf.one_hot(tf.zeros([2, 4], tf.int32), 3)
    with tf.GradientTape() as tape:
      tape.watch(self.LOGITS)
      loss = _closeness_loss(
        self.LOGITS, labels, self.POSITIVE, drop_background=True, normalizer=normalizer
      )
    self.assertAllEqual(loss, 0.0)
    self.assertAllEqual(tape.gradient(loss, self.LOGITS), tf.zeros([2, 4, 3]))

  @parameterized.product(drop_background=(False, True), normalizer=_NORMALIZERS)
  def test_padding_changes_nothing(self, drop_background, normalizer):
    pad = [[0, 0], [0, 3]]
    padded = _closeness_loss(
      tf.pad(self.LOGITS, [*pad, [0, 0]], constant_values=5.0),
      tf.pad(self.LABELS, [*pad, [0, 0]]),
      tf.pad(self.POSITIVE, pad),
      drop_background,
      normalizer,
    )
    own = _closeness_loss(self.LOGITS, self.LABELS, self.POSITIVE, drop_background, normalizer)
    self.assertAllClose(padded, own)


class ForegroundLossTest(parameterized.TestCase, tf.test.TestCase):
  # 1 x 2 cells of two images, logits (0, log 3): background costs log 4, foreground log 4/3.
  LOGITS = tf.tile([[[[0.0, float(np.log(3.0))]]]], [2, 1, 2, 1])
  MASK = tf.constant([[[1.0, 0.0]], [[0.0, 0.0]]])

  @parameterized.parameters(False, True)
  def test_mean_over_cells(self, jit_compile):
    compute = tf.function(auxiliary_losses.foreground_loss, jit_compile=jit_compile)
    loss = compute(self.LOGITS, self.MASK, tf.ones([2, 1, 2]))
    self.assertAllClose(loss, (np.log(4 / 3) + 3 * np.log(4.0)) / 4)

  def test_weights(self):
    weights = tf.constant([[[1.5, 0.5]], [[1.0, 0.0]]])
    loss = auxiliary_losses.foreground_loss(self.LOGITS, self.MASK, weights)
    self.assertAllClose(loss, (1.5 * np.log(4 / 3) + 0.5 * np.log(4.0) + np.log(4.0)) / 4)
