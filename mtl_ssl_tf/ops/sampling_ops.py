"""Random minibatches of anchors or proposals with a limited share of positives.

Nothing here has a state: each image brings its own seed, so an image is sampled the same way alone
and in any batch, in graph and in compiled code.
"""

import tensorflow as tf

# Three groups of keys still fit an int32.
_NUM_KEYS = 2**29


def balanced_sample_mask(
  seeds: tf.Tensor,
  is_positive: tf.Tensor,
  is_negative: tf.Tensor,
  num_samples: int,
  positive_fraction: float,
) -> tf.Tensor:
  """Draws a minibatch per image and marks its members.

  At most ⌊positive_fraction · num_samples⌋ positives are drawn, then negatives up to
  `num_samples`. Where either run out the minibatch is smaller: missing positives are made up for
  by negatives, missing negatives by nothing.

  Args:
    seeds: int32 [B, 2], one for each image.
    is_positive: bool [B, A].
    is_negative: bool [B, A]; what is neither is never drawn.
    num_samples: size of a minibatch; it may exceed A.
    positive_fraction: largest share of positives, 0 … 1.

  Returns:
    bool [B, A].

  Raises:
    ValueError: `positive_fraction` is outside 0 … 1.

  Reference: Ren et al., "Faster R-CNN", NeurIPS 2015, section 3.1.3.
  """
  if not 0.0 <= positive_fraction <= 1.0:
    raise ValueError(f"positive_fraction is {positive_fraction}; accepted: 0 … 1")
  max_positives = int(positive_fraction * num_samples)
  num_positives = _count(is_positive)  # [B, 1]
  num_negatives_to_draw = num_samples - tf.minimum(num_positives, max_positives)  # [B, 1]

  # One sort puts the positives first and the negatives behind them, each in random order.
  group = tf.where(is_positive, 0, tf.where(is_negative, 1, 2))  # [B, A]
  shuffled = tf.argsort(group * _NUM_KEYS + random_keys(seeds, is_positive), axis=-1)  # [B, A]
  rank = tf.argsort(shuffled, axis=-1)  # [B, A], the inverse permutation
  is_drawn_positive = is_positive & (rank < max_positives)
  is_drawn_negative = is_negative & (rank - num_positives < num_negatives_to_draw)
  return is_drawn_positive | (is_drawn_negative & ~is_positive)


def balanced_sample_indices(
  seeds: tf.Tensor,
  is_positive: tf.Tensor,
  is_negative: tf.Tensor,
  num_samples: int,
  positive_fraction: float,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Draws the same minibatch as `balanced_sample_mask`, as indices of a fixed number.

  Args:
    seeds: int32 [B, 2], one for each image.
    is_positive: bool [B, P], P known statically.
    is_negative: bool [B, P]; what is neither is never drawn.
    num_samples: K, size of a minibatch; it may exceed P.
    positive_fraction: largest share of positives, 0 … 1.

  Returns:
    indices: int32 [B, K] into P, positives first; 0 in the places that stay empty.
    valid: bool [B, K], False in the places that stay empty.
  """
  selected = balanced_sample_mask(seeds, is_positive, is_negative, num_samples, positive_fraction)
  preference = tf.where(selected, tf.where(is_positive, 2.0, 1.0), 0.0)  # [B, P]
  num_drawn = min(num_samples, is_positive.shape[-1])
  preference, indices = tf.math.top_k(preference, num_drawn)  # [B, min(K, P)] each
  valid = preference > 0.0
  padding = [[0, 0], [0, num_samples - num_drawn]]
  indices = tf.pad(tf.where(valid, indices, 0), padding)  # [B, K]
  return indices, tf.pad(valid, padding)  # [B, K]


def random_keys(seeds: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
  """Random integers from 0 to below `_NUM_KEYS`, [B, A] as `like`, row b from seed b alone."""
  num_columns = like.shape[1]
  # The generator is named because the default one differs between devices, and integers are drawn
  # because compiled code makes other fractions of the same bits.
  return tf.map_fn(
    lambda seed: tf.random.stateless_uniform(
      [num_columns], seed, minval=0, maxval=_NUM_KEYS, dtype=tf.int32, alg="philox"
    ),
    seeds,
    fn_output_signature=tf.TensorSpec([num_columns], tf.int32),
  )


def _count(mask: tf.Tensor) -> tf.Tensor:
  return tf.reduce_sum(tf.cast(mask, tf.int32), axis=-1, keepdims=True)  # [B, 1]
