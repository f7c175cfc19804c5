"""Refinement: class scores corrected by what the auxiliary heads see around a proposal."""

from collections.abc import Callable

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.ops import replica_ops

CLOSENESS_MEANS = ("per_image_valid", "all_rows")
INPUTS = ("logits", "probabilities")


def expanded_windows(boxes_norm: tf.Tensor, num_windows: int) -> tf.Tensor:
  """Windows growing from each box to the whole image, every side in equal steps.

  Args:
    boxes_norm: float32 [B, R, 4], fractions of the image content.
    num_windows: W, at least 2; the first window is the box, the last the image.

  Returns:
    float32 [B, R, W, 4].

  Reference: Lee et al., "Multi-task Self-supervised Object Detection", CVPR 2019, refinement.
  """
  growth = tf.range(num_windows, dtype=tf.float32) / (num_windows - 1)  # [W]
  top_left, bottom_right = tf.split(boxes_norm[:, :, tf.newaxis], 2, axis=-1)  # [B, R, 1, 2]
  growth = growth[:, tf.newaxis]  # [W, 1]
  # In this form a side on the border stays there to the last bit; a window that sticks out by a
  # rounding error would lose its last row of samples.
  return tf.concat(
    [top_left - top_left * growth, bottom_right + (1.0 - bottom_right) * growth], axis=-1
  )  # [B, R, W, 4]


def needed_proposals(
  class_logits: tf.Tensor, valid: tf.Tensor, min_object_score: float, max_proposals: int
) -> tf.Tensor:
  """Says which proposals can still become detections, so that refining them is worth its cost.

  Args:
    class_logits: float32 [B, P, C] of the main head, background first.
    valid: bool [B, P].
    min_object_score: least probability of being any object.
    max_proposals: at most so many of an image, those of the highest probabilities; 0 is no limit.

  Returns:
    bool [B, P].
  """
  # By logits: probabilities next to 1 are all 1 in float32.
  objects = tf.reduce_logsumexp(class_logits[..., 1:], axis=-1) - class_logits[..., 0]  # [B, P]
  needed = valid & (tf.sigmoid(objects) >= min_object_score)
  if not 0 < max_proposals < valid.shape[1]:
    return needed
  ranked = tf.argsort(tf.where(needed, -objects, objects.dtype.max), stable=True)  # [B, P]
  ranks = tf.argsort(ranked)  # [B, P]
  return needed & (ranks < max_proposals)


def look_where_needed(
  look: Callable[[tf.Tensor], tf.Tensor],
  windows: tf.Tensor,
  needed: tf.Tensor,
  num_classes: int,
  at_once: int,
) -> tf.Tensor:
  """Logits of those windows that are needed.

  Windows are looked at some at a time, and no longer than there are any: all sizes are static, the
  number of turns is not. It is that of the batch's neediest image.

  Args:
    look: from windows [B, n, 4] to logits [B, n, C].
    windows: float32 [B, S, 4].
    needed: bool [B, S].
    num_classes: C.
    at_once: most windows of an image in a turn.

  Returns:
    float32 [B, S, C]; anything where they are not needed.
  """
  num_windows = windows.shape[1]
  num_turns = -(-num_windows // at_once)
  at_once = -(-num_windows // num_turns)  # Where all are needed, turns are of one size.
  order = tf.argsort(tf.cast(~needed, tf.int32), stable=True)  # [B, S], needed ones first
  most = tf.reduce_max(tf.reduce_sum(tf.cast(needed, tf.int32), axis=1))
  padding = [[0, 0], [0, num_turns * at_once - num_windows]]
  rows = tf.reshape(tf.pad(order, padding), [-1, num_turns, at_once])  # [B, T, s]

  def turn(index: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    chosen = tf.gather(windows, tf.gather(rows, index, axis=1), batch_dims=1)  # [B, s, 4]
    seen = look(chosen)  # [B, s, C]
    return index + 1, tf.tensor_scatter_nd_update(logits, [[index]], seen[tf.newaxis])

  shape = [num_turns, tf.shape(windows)[0], at_once, num_classes]
  _, logits = tf.while_loop(
    lambda index, _: index * at_once < most, turn, (0, tf.zeros(shape))
  )  # [T, B, s, C]
  logits = tf.reshape(
    tf.transpose(logits, [1, 0, 2, 3]), [-1, num_turns * at_once, num_classes]
  )  # [B, T s, C]
  return tf.gather(logits, tf.argsort(order), batch_dims=1)  # [B, S, C]


def mean_closeness(closeness: tf.Tensor, valid: tf.Tensor, over: str) -> tf.Tensor:
  """The average closeness output, one row an image.

  Args:
    closeness: float32 [B, R, C].
    valid: bool [B, R], false in padding rows.
    over: `per_image_valid` averages an image's valid rows (paper); `all_rows` averages all rows
      of the batch, padding and other images included, also those of other replicas (released
      code); it carries no gradient.

  Returns:
    float32 [B, 1, C].
  """
  if over == "all_rows":
    own = tf.reduce_mean(closeness, axis=[0, 1], keepdims=True)  # [1, 1, C]
    mean = replica_ops.mean_over_replicas(tf.stop_gradient(own))  # [1, 1, C]
    return tf.tile(mean, [tf.shape(closeness)[0], 1, 1])  # [B, 1, C]
  weights = tf.cast(valid, closeness.dtype)[..., tf.newaxis]  # [B, R, 1]
  total = tf.reduce_sum(closeness * weights, axis=1, keepdims=True)  # [B, 1, C]
  return total / tf.maximum(tf.reduce_sum(weights, axis=1, keepdims=True), 1.0)


class Refinement(tf_keras.layers.Layer):
  """One linear map from all heads' outputs to a correction of the class logits.

  Its inputs carry no gradient: the layer learns from the auxiliary tasks, not the other way round.
  `stop_gradient_residual` keeps the refined loss out of the main head too (paper); without it the
  loss also trains the main head and the backbone through the residual (released code). All is
  float32, in mixed precision too.
  """

  def __init__(
    self,
    num_classes: int,
    residual: bool,
    stop_gradient_residual: bool,
    use_bias: bool,
    input_kind: str,
    **kwargs,
  ):
    super().__init__(dtype="float32", **kwargs)
    self._residual = residual
    self._stop_gradient_residual = stop_gradient_residual
    self._input_kind = input_kind
    self.linear = tf_keras.layers.Dense(
      num_classes,
      use_bias=use_bias,
      kernel_initializer=tf_keras.initializers.TruncatedNormal(stddev=0.01),
      dtype="float32",
      name="linear",
    )

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [self.linear.kernel]

  def call(
    self, logits: tf.Tensor, windows: tf.Tensor | None, closeness: tf.Tensor | None
  ) -> tf.Tensor:
    """Returns refined logits [B, R, C].

    Args:
      logits: float32 [B, R, C] of the main head.
      windows: float32 [B, R, W, C], multi-object logits of the expanded windows, or None.
      closeness: float32 [B, 1, C], mean closeness logits of the image, or None.
    """
    parts = []
    if windows is not None:
      parts.append((windows, [tf.shape(logits)[0], logits.shape[1], -1]))
    if closeness is not None:
      tiled = tf.repeat(closeness, logits.shape[1], axis=1)  # [B, R, C]
      parts.append((tiled, tf.shape(logits)))
    if self._input_kind == "probabilities":
      parts = [(tf.nn.softmax(values), shape) for values, shape in parts]
    columns = [logits, *(tf.reshape(values, shape) for values, shape in parts)]
    evidence = tf.stop_gradient(tf.concat(columns, axis=-1))  # [B, R, E]
    correction = self.linear(evidence)  # [B, R, C]
    if not self._residual:
      return correction
    base = tf.stop_gradient(logits) if self._stop_gradient_residual else logits
    return base + correction
