"""Refinement: class scores corrected by the auxiliary heads' outputs around a proposal.

Letters as in `detector.py`.
"""

import dataclasses

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.modeling import window_evidence
from mtl_ssl_tf.ops import replica_ops


def mean_closeness(closeness: tf.Tensor, valid: tf.Tensor, closeness_mean: str) -> tf.Tensor:
  """The average closeness output, one row an image.

  Args:
    closeness: float32 [B, R, C].
    valid: bool [B, R], false in padding rows.
    closeness_mean: `per_image_valid` averages an image's valid rows (paper); `all_rows` averages
      all rows of the batch, padding and other images included, also those of other replicas
      (released code); it carries no gradient.

  Returns:
    float32 [B, 1, C].

  Raises:
    ValueError: `closeness_mean` is neither of the two.
  """
  fields.check_value(detector_config.Refinement, "closeness_mean", closeness_mean)
  if closeness_mean == "all_rows":
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
    zeroed_input: str = "",
    **kwargs,
  ):
    super().__init__(dtype="float32", **kwargs)
    fields.check_value(detector_config.Refinement, "input", input_kind)
    fields.check_value(detector_config.Refinement, "zeroed_input", zeroed_input)
    self._residual = residual
    self._stop_gradient_residual = stop_gradient_residual
    self._input_kind = input_kind
    self._zeroed_input = zeroed_input
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
      windows: float32 [B, R, Q, C], multi-object logits of the expanded windows, or None.
      closeness: float32 [B, 1, C], mean closeness logits of the image, or None.
    """
    evidence = self._evidence(logits, windows, closeness)  # [B, R, E]
    correction = self.linear(evidence)  # [B, R, C]
    if not self._residual:
      return correction
    base = tf.stop_gradient(logits) if self._stop_gradient_residual else logits
    return base + correction

  def parts(
    self, logits: tf.Tensor, windows: tf.Tensor | None, closeness: tf.Tensor | None
  ) -> tf.Tensor:
    """Returns what refined logits are the sum of, float32 [B, R, G, C].

    The first of the G parts are the main head's logits as they are passed on, zero without a
    residual. The others are what the linear map adds: for the main head, for each of the Q windows
    from the inside out, for the closeness, as far as there are any, and by its bias, if it has one.

    Args:
      logits, windows, closeness: as of `call`.
    """
    evidence = self._evidence(logits, windows, closeness)  # [B, R, E]
    num_classes = logits.shape[-1]
    # E is a class's value from each source in turn.
    kernels = tf.reshape(self.linear.kernel, [-1, num_classes, num_classes])  # [E / C, C, C]
    num_sources = kernels.shape[0]
    shape = [tf.shape(logits)[0], logits.shape[1], num_sources, num_classes]
    added = tf.einsum("brgi,gij->brgj", tf.reshape(evidence, shape), kernels)
    kept = logits if self._residual else tf.zeros_like(logits)
    parts = [kept[:, :, tf.newaxis], added]
    if self.linear.use_bias:
      bias = tf.broadcast_to(self.linear.bias, tf.shape(logits))
      parts.append(bias[:, :, tf.newaxis])
    return tf.concat(parts, axis=2)

  def _evidence(
    self, logits: tf.Tensor, windows: tf.Tensor | None, closeness: tf.Tensor | None
  ) -> tf.Tensor:
    """Returns the inputs of the linear map [B, R, E], without gradient."""
    parts = {"main_head": logits}
    if windows is not None:
      shape = [tf.shape(logits)[0], logits.shape[1], -1]
      parts["multi_object"] = tf.reshape(self._scaled(windows), shape)  # [B, R, Q * C]
    if closeness is not None:
      tiled = tf.repeat(closeness, logits.shape[1], axis=1)  # [B, R, C]
      parts["closeness"] = tf.reshape(self._scaled(tiled), tf.shape(logits))
    columns = [
      tf.zeros_like(values) if name == self._zeroed_input else values
      for name, values in parts.items()
    ]
    return tf.stop_gradient(tf.concat(columns, axis=-1))  # [B, R, E]

  def _scaled(self, logits: tf.Tensor) -> tf.Tensor:
    """Returns an auxiliary head's outputs as the layer takes them."""
    return tf.nn.softmax(logits) if self._input_kind == "probabilities" else logits


@dataclasses.dataclass(frozen=True)
class RefinementStage:
  """The refinement layer, its windows, and the choice of the proposals that are refined.

  Attributes:
    layer: from all heads' logits to refined class logits.
    windows: from boxes to multi-object logits around them.
    closeness_mean: see `mean_closeness`.
    min_object_score: least probability of being any object for a proposal to be refined.
    max_proposals: refined of an image at most, those of the highest such probabilities; 0 for all.
  """

  layer: Refinement
  windows: window_evidence.WindowEvidence
  closeness_mean: str
  min_object_score: float
  max_proposals: int

  @property
  def is_limited(self) -> bool:
    """Whether some proposals keep the main head's logits."""
    return self.min_object_score > 0.0 or self.max_proposals > 0

  def select(self, class_logits: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Returns bool [B, P], the proposals whose scores are refined.

    Args:
      class_logits: float32 [B, P, C] of the main head, background first.
      valid: bool [B, P].
    """
    # By logits: probabilities next to 1 are all 1 in float32.
    objects = tf.reduce_logsumexp(class_logits[..., 1:], axis=-1) - class_logits[..., 0]  # [B, P]
    selected = valid & (tf.sigmoid(objects) >= self.min_object_score)
    if not 0 < self.max_proposals < valid.shape[1]:
      return selected
    ranked = tf.argsort(tf.where(selected, -objects, objects.dtype.max), stable=True)  # [B, P]
    ranks = tf.argsort(ranked)  # [B, P]
    return selected & (ranks < self.max_proposals)

  def mean_closeness(
    self, closeness_logits: tf.Tensor | None, valid: tf.Tensor
  ) -> tf.Tensor | None:
    """Returns the image's mean closeness logits [B, 1, C], or None without that head."""
    if closeness_logits is None:
      return None
    return mean_closeness(closeness_logits, valid, self.closeness_mean)
