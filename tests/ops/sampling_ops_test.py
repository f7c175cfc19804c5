import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from mtl_ssl_tf.ops import sampling_ops


def _masks(kinds):
  """Positives (+) and negatives (-) of a string; anything else is neither. bool [1, A] each."""
  kinds = np.array(list(kinds))[np.newaxis]
  return tf.constant(kinds == "+"), tf.constant(kinds == "-")


def _seeds(num_images):
  return tf.stack([tf.range(num_images), 7 * tf.range(num_images) + 3], axis=-1)


class BalancedSampleTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(
    # kinds, size, fraction, expected positives and negatives
    ("++++----", 4, 0.5, 2, 2),
    ("++++----", 4, 0.25, 1, 3),
    ("+-------", 4, 0.5, 1, 3),  # negatives make up for missing positives
    ("++++++--", 6, 0.5, 3, 2),  # nothing makes up for missing negatives
    ("+++...--", 100, 1.0, 3, 2),  # more places than candidates
    ("++++++--", 6, 0.25, 1, 2),  # 1.5 positives are rounded down
    ("--......", 4, 0.5, 0, 2),
    ("++......", 4, 0.5, 2, 0),
    ("........", 4, 0.5, 0, 0),
  )
  def test_numbers(self, kinds, num_samples, positive_fraction, num_positives, num_negatives):
    is_positive, is_negative = _masks(kinds)
    arguments = (_seeds(1), is_positive, is_negative, num_samples, positive_fraction)
    selected = sampling_ops.balanced_sample_mask(*arguments)
    self.assertEqual(np.sum(selected & is_positive), num_positives)
    self.assertEqual(np.sum(selected & is_negative), num_negatives)
    self.assertEqual(np.sum(selected), num_positives + num_negatives)

    indices, valid = sampling_ops.balanced_sample_indices(*arguments)
    num_drawn = num_positives + num_negatives
    self.assertEqual(indices.shape, (1, num_samples))
    self.assertAllEqual(valid[0], [True] * num_drawn + [False] * (num_samples - num_drawn))
    self.assertAllEqual(np.sort(indices[0, :num_drawn]), np.nonzero(selected[0])[0])
    self.assertAllEqual(indices[0, num_drawn:], [0] * (num_samples - num_drawn))
    drawn_positive = tf.gather(is_positive[0], indices[0, :num_drawn])
    self.assertAllEqual(drawn_positive, [True] * num_positives + [False] * num_negatives)

  def test_positive_wins_where_a_place_is_both(self):
    everything = tf.ones([1, 4], tf.bool)
    selected = sampling_ops.balanced_sample_mask(_seeds(1), everything, everything, 4, 0.5)
    self.assertEqual(np.sum(selected), 2)

  def test_random_masks_against_counting(self):
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, [50, 40])
    is_positive, is_negative = kinds == 1, (kinds == 2) & (rng.uniform(size=[50, 1]) < 0.7)
    selected = sampling_ops.balanced_sample_mask(
      _seeds(50), tf.constant(is_positive), tf.constant(is_negative), 20, 0.3
    ).numpy()
    num_positives = np.minimum(6, is_positive.sum(-1))
    num_negatives = np.minimum(20 - num_positives, is_negative.sum(-1))
    self.assertAllEqual((selected & is_positive).sum(-1), num_positives)
    self.assertAllEqual((selected & is_negative).sum(-1), num_negatives)
    self.assertAllEqual(selected.sum(-1), num_positives + num_negatives)

  def test_each_member_is_as_likely(self):
    # Two of 8 positives and six of 12 negatives, 2000 times: shares of 1/4 and 1/2. Their
    # standard deviations are below 0.0112, and 0.05 is more than four of them.
    is_positive, is_negative = _masks("+" * 8 + "-" * 12)
    selected = tf.function(sampling_ops.balanced_sample_mask)(
      _seeds(2000), tf.tile(is_positive, [2000, 1]), tf.tile(is_negative, [2000, 1]), 8, 0.25
    )
    shares = np.mean(selected, axis=0)
    self.assertAllClose(shares, [0.25] * 8 + [0.5] * 12, atol=0.05)

  def test_same_seed_same_draw_other_seed_other_draw(self):
    is_positive, is_negative = _masks("+" * 50 + "-" * 50)
    first, again, other = (
      sampling_ops.balanced_sample_mask(tf.constant([seed]), is_positive, is_negative, 50, 0.5)
      for seed in ([3, 4], [3, 4], [3, 5])
    )
    self.assertAllEqual(first, again)
    self.assertNotAllEqual(first, other)

  def test_compiled_equals_graph_and_batch_equals_one_by_one(self):
    kinds = np.random.default_rng(0).integers(0, 3, [3, 30])
    is_positive, is_negative = tf.constant(kinds == 1), tf.constant(kinds == 2)
    seeds = _seeds(3)

    def sample(seeds, is_positive, is_negative):
      mask = sampling_ops.balanced_sample_mask(seeds, is_positive, is_negative, 12, 0.25)
      return mask, *sampling_ops.balanced_sample_indices(seeds, is_positive, is_negative, 40, 0.25)

    graph = tf.function(
      sample,
      input_signature=[
        tf.TensorSpec([None, 2], tf.int32),
        tf.TensorSpec([None, 30], tf.bool),
        tf.TensorSpec([None, 30], tf.bool),
      ],
    )
    together = graph(seeds, is_positive, is_negative)
    compiled = tf.function(sample, jit_compile=True)(seeds, is_positive, is_negative)
    for expected, actual in zip(together, compiled, strict=True):
      self.assertAllEqual(expected, actual)
    for image in range(3):
      one = slice(image, image + 1)
      alone = graph(seeds[one], is_positive[one], is_negative[one])
      for expected, actual in zip(together, alone, strict=True):
        self.assertAllEqual(expected[one], actual)

  def test_fraction_must_be_a_share(self):
    is_positive, is_negative = _masks("+-")
    with self.assertRaisesRegex(ValueError, "positive_fraction is 25"):
      sampling_ops.balanced_sample_mask(_seeds(1), is_positive, is_negative, 4, 25)


if __name__ == "__main__":
  tf.test.main()
