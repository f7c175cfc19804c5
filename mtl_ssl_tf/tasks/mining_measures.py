"""Measures of what a step mined, for the log; no loss depends on them."""

import tensorflow as tf

from mtl_ssl_tf.labels import mining

PSEUDO_BOXES, PSEUDO_SCORE = "pseudo_boxes", "pseudo_score"
_COUNT_NAMES = {field: f"mining_{field}" for field in mining.MiningCounts._fields}
NAMES = (PSEUDO_BOXES, PSEUDO_SCORE, *_COUNT_NAMES.values())


def measures(pseudo: mining.PseudoBoxes, counts: mining.MiningCounts) -> dict[str, tf.Tensor]:
  """Returns scalars by the names of `NAMES`: numbers of boxes a view, and their mean score.

  Args:
    pseudo: boxes mined in B views.
    counts: in the same views.
  """
  valid = tf.cast(pseudo.valid, tf.float32)  # [B, P]
  num_boxes = tf.reduce_sum(valid, axis=1)  # [B]
  total_score = tf.reduce_sum(pseudo.scores * valid)
  return {
    PSEUDO_BOXES: tf.reduce_mean(num_boxes),
    PSEUDO_SCORE: total_score / tf.maximum(tf.reduce_sum(num_boxes), 1.0),
  } | {
    name: tf.reduce_mean(tf.cast(getattr(counts, field), tf.float32))
    for field, name in _COUNT_NAMES.items()
  }
