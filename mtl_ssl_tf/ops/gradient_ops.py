"""Changes of gradients on their way back."""

import tensorflow as tf


def scale_gradient(values: tf.Tensor, factor: float) -> tf.Tensor:
  """Returns `values` as they are; their gradient is multiplied by `factor` on its way back."""

  @tf.custom_gradient
  def scaled(inputs: tf.Tensor):
    return tf.identity(inputs), lambda upstream: upstream * tf.cast(factor, upstream.dtype)

  return scaled(values)
