"""Losses on images that are annotated for some classes, against their likelihood in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_ssl_tf.losses import annotated_classes, auxiliary_losses, detection_losses

COMPILED = pytest.mark.parametrize("jit_compile", [False, True])
B, K, C = 2, 6, 5


def run(function, jit_compile, *arguments):
  return tf.function(function, jit_compile=jit_compile)(*arguments)


def probabilities(logits) -> np.ndarray:
  """Softmax of one row, in float64."""
  shifted = np.exp(np.float64(logits) - np.max(logits))
  return shifted / shifted.sum()


def observed_likelihood(row, label: int, mask) -> float:
  """Probability that an annotator of the classes in `mask` gives this label.

  Without a label, the box is of any class that would not have been labelled.
  """
  p = probabilities(row)
  if label > 0:
    return p[label]
  return sum(p[c] for c in range(C) if c == 0 or not mask[c])


def draw(seed=0):
  rng = np.random.default_rng(seed)
  logits = rng.normal(0.0, 2.0, [B, K, C]).astype(np.float32)
  masks = rng.integers(0, 2, [B, K, C]).astype(np.float32)
  masks[..., 0] = 1.0
  masks[0, 0] = 1.0  # One box of a place with all classes.
  classes = rng.integers(0, C, [B, K]).astype(np.int32)
  classes[1, 0], masks[1, 0] = 0, [1, 0, 0, 0, 0]  # Nothing is known of this one.
  return logits, masks, classes


@COMPILED
def test_class_loss_is_the_likelihood_of_what_was_labelled(jit_compile):
  logits, masks, classes = draw()
  valid = np.ones([B, K], bool)
  valid[0, -1] = False
  loss = run(detection_losses.roi_class_loss, jit_compile, logits, classes, valid, masks)
  of_images = []
  for b in range(B):
    rows = [k for k in range(K) if valid[b, k]]
    values = [-np.log(observed_likelihood(logits[b, k], classes[b, k], masks[b, k])) for k in rows]
    of_images.append(np.mean(values))
  np.testing.assert_allclose(loss, np.mean(of_images), rtol=1e-5)


@COMPILED
def test_no_unannotated_class_is_taught_as_background(jit_compile):
  logits, masks, classes = draw(1)
  classes[:] = 0

  def gradients(logits):
    with tf.GradientTape() as tape:
      tape.watch(logits)
      loss = detection_losses.roi_class_loss(logits, classes, np.ones([B, K], bool), masks)
    return tape.gradient(loss, logits)

  found = run(gradients, jit_compile, tf.constant(logits)).numpy() * B * K
  for b in range(B):
    for k in range(K):
      p, known = probabilities(logits[b, k]), masks[b, k] > 0.5
      background = p[0] + p[~known].sum()
      expected = p.copy()
      expected[0] -= p[0] / background
      expected[~known] -= p[~known] / background
      np.testing.assert_allclose(found[b, k], expected, atol=1e-6)
      # The score of an unannotated class never falls, that of an annotated one never rises.
      assert np.all(found[b, k][~known] <= 1e-7)
      assert np.all(found[b, k][known][1:] >= -1e-7)
  np.testing.assert_allclose(found[1, 0], 0.0, atol=1e-6)  # Nothing known, nothing taught.


def test_the_best_prediction_is_the_true_distribution():
  # Labels of two annotators, of whom each labels one of the classes: by their shares of the data
  # the loss is smallest at the true distribution, which a mask of the normaliser would not have.
  truth = np.array([0.5, 0.3, 0.2])
  masks = np.float32([[1, 1, 0], [1, 0, 1]])

  def expected_loss(logits, merge):
    total = 0.0
    for mask in masks:
      for true_class, share in enumerate(truth):
        label = true_class if mask[true_class] else 0
        rows = tf.one_hot([label], 3)
        changed = merge(logits[tf.newaxis], rows, mask[np.newaxis])
        total += share * tf.nn.softmax_cross_entropy_with_logits(rows, changed)[0]
    return total

  def masked(logits, labels, mask):
    return tf.where((mask > 0.5) | (labels > 0.0), logits, -1e9)

  def gradient(merge):
    logits = tf.constant(np.log(truth), tf.float32)
    with tf.GradientTape() as tape:
      tape.watch(logits)
      loss = expected_loss(logits, merge)
    return tape.gradient(loss, logits).numpy()

  np.testing.assert_allclose(gradient(annotated_classes.merge_into_background), 0.0, atol=1e-6)
  assert np.abs(gradient(masked)).max() > 0.05


@COMPILED
def test_with_all_classes_the_logits_are_what_they_were(jit_compile):
  logits, _, classes = draw(2)
  labels = np.eye(C, dtype=np.float32)[classes]
  ones = np.ones_like(logits)
  for change in (annotated_classes.merge_into_background, annotated_classes.among_annotated):
    np.testing.assert_array_equal(run(change, jit_compile, logits, labels, ones), logits)


@COMPILED
def test_a_class_with_a_label_stays_a_class(jit_compile):
  # A mined box of class 2, which the image is not annotated for; class 3 is background with it.
  logits, mask = np.float32([[1.0, 2.0, 3.0, 0.5, -1.0]]), np.float32([[1, 1, 0, 0, 1]])
  labels = np.float32([[0, 0, 1, 0, 0]])
  merged = run(annotated_classes.merge_into_background, jit_compile, logits, labels, mask).numpy()
  p, found = probabilities(logits[0]), probabilities(merged[0])
  np.testing.assert_allclose(found, [p[0] + p[3], p[1], p[2], 0.0, p[4]], rtol=1e-5)


@COMPILED
def test_windows_divide_background_and_annotated_classes(jit_compile):
  rng = np.random.default_rng(3)
  logits = rng.normal(size=[B, K, C]).astype(np.float32)
  mask = np.float32([1, 0, 1, 1, 0])
  labels = rng.dirichlet(np.ones(3), [B, K]).astype(np.float32)  # Background, classes 2 and 3.
  full = np.zeros([B, K, C], np.float32)
  full[..., [0, 2, 3]] = labels
  weights = rng.integers(0, 2, [B, K]).astype(np.float32)
  masks = np.broadcast_to(mask, [B, K, C])
  part = run(auxiliary_losses.multi_object_loss, jit_compile, logits, full, weights, 1, masks)
  total = 0.0
  for b in range(B):
    for k in range(K):
      p = probabilities(logits[b, k])
      shares = np.array([p[0] + p[1] + p[4], p[2], p[3]])
      total -= weights[b, k] * np.sum(labels[b, k] * np.log(shares))
  np.testing.assert_allclose(part.total[0], total, rtol=1e-5)
  assert part.count[0] == weights.sum()


@COMPILED
@pytest.mark.parametrize("drop_background", [False, True])
def test_closeness_is_that_among_annotated_classes(jit_compile, drop_background):
  rng = np.random.default_rng(4)
  logits = rng.normal(size=[B, K, C]).astype(np.float32)
  masks = np.float32([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]])
  labels = np.zeros([B, K, C], np.float32)
  labels[:, :, [1, 3]] = rng.dirichlet(np.ones(2), [B, K])
  counted = rng.integers(0, 2, [B, K]).astype(bool)

  def loss(logits):
    return auxiliary_losses.closeness_loss(
      logits, labels, counted, drop_background, "batch_positives", annotated=masks
    ).total

  total = 0.0
  for b in range(B):
    columns = [1, 3] if b == 0 else list(range(int(drop_background), C))
    for k in range(K):
      p = probabilities(logits[b, k, columns])
      entropy = -np.sum(labels[b, k, columns] * np.log(p))
      total += entropy * counted[b, k]
  np.testing.assert_allclose(run(loss, jit_compile, logits)[0], total, rtol=1e-5)


@COMPILED
def test_rows_that_do_not_count_have_no_gradient(jit_compile):
  # Labels that are all zero, as where nobody is near, and no annotated class at all.
  logits = tf.constant(np.random.default_rng(5).normal(size=[1, 2, 3]).astype(np.float32))

  def gradients(logits):
    with tf.GradientTape() as tape:
      tape.watch(logits)
      loss = auxiliary_losses.closeness_loss(
        logits,
        np.zeros([1, 2, 3], np.float32),
        np.zeros([1, 2], bool),
        False,
        "batch_positives",
        annotated=np.float32([[1, 0, 0]]),
      ).total
    return tape.gradient(loss, logits)

  np.testing.assert_array_equal(run(gradients, jit_compile, logits), 0.0)
