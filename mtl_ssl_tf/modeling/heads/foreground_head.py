"""The foreground head: one convolution on the shared map.

The paper lets every auxiliary model share the main head's architecture, which has no workable form
for a whole image; this is the head of the released code.
"""

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import auxiliary as auxiliary_config
from mtl_ssl_tf.configs import fields

KERNEL_SIZES = {"conv1x1": 1, "conv3x3": 3}
ACTIVATIONS = {"linear": tf.identity, "tanh": tf.tanh}


class ForegroundHead(tf_keras.layers.Layer):
  """Shared map [B, h, w, c] -> background and foreground logits [B, h, w, 2].

  With `tanh` the logits differ by at most 2, as in the released code. They are float32 in mixed
  precision too.
  """

  def __init__(self, head: str, logit_activation: str, **kwargs):
    super().__init__(dtype="float32", **kwargs)
    fields.check_value(auxiliary_config.Foreground, "head", head)
    fields.check_value(auxiliary_config.Foreground, "logit_activation", logit_activation)
    self.conv = tf_keras.layers.Conv2D(
      2,
      KERNEL_SIZES[head],
      padding="same",
      kernel_initializer=tf_keras.initializers.TruncatedNormal(stddev=0.01),
      dtype="float32",
      name="conv",
    )
    self._activation = ACTIVATIONS[logit_activation]

  @property
  def last_kernels(self) -> list[tf.Variable]:
    return [self.conv.kernel]

  def call(self, features: tf.Tensor) -> tf.Tensor:
    return self._activation(self.conv(features))
