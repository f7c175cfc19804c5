"""The contrastive loss of pretraining by instance discrimination."""

from typing import NamedTuple

import tensorflow as tf


class Contrast(NamedTuple):
  """Outcome of comparing queries with their keys and with those of other images.

  Attributes:
    loss: float32 scalar, mean over the queries.
    is_first: bool [B], whether a query is more like its own key than like any other.
  """

  loss: tf.Tensor
  is_first: tf.Tensor


def info_nce(
  queries: tf.Tensor, keys: tf.Tensor, negatives: tf.Tensor, temperature: float
) -> Contrast:
  """Cross-entropy of finding a query's own key among it and K others (InfoNCE).

  Args:
    queries: float32 [B, D], of length 1.
    keys: float32 [B, D], of length 1; row i is the key of query i. They get no gradient.
    negatives: float32 [K, D], of length 1; they get no gradient.
    temperature: divides the similarities.

  Reference: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR
  2020, equation 1.
  """
  keys, negatives = tf.stop_gradient(keys), tf.stop_gradient(negatives)
  own = tf.reduce_sum(queries * keys, axis=-1, keepdims=True)  # [B, 1]
  others = tf.matmul(queries, negatives, transpose_b=True)  # [B, K]
  logits = tf.concat([own, others], axis=-1) / temperature  # [B, 1 + K]
  loss = tf.reduce_mean(tf.reduce_logsumexp(logits, axis=-1) - logits[:, 0])
  return Contrast(loss, own[:, 0] > tf.reduce_max(others, axis=-1))


def spread(vectors: tf.Tensor) -> tf.Tensor:
  """Standard deviation of a batch's unit vectors per dimension, as a share of the largest.

  Vectors spread evenly over the sphere have 1 / sqrt(D) in each dimension, which is 1 here. Where
  all vectors are the same it is 0: the network has collapsed.

  Args:
    vectors: float32 [N, D], of length 1.

  Returns:
    float32 scalar, the mean over dimensions.

  Reference: Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021, sec. 4.1.
  """
  scale = float(vectors.shape[-1]) ** 0.5
  return scale * tf.reduce_mean(tf.math.reduce_std(vectors, axis=0))
