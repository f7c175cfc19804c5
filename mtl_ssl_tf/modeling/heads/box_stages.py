"""Second stages on crops of a feature pyramid, made of layers of their own.

Those on crops of a shared map are parts of the backbone (`backbones/base.py`).

References: `2fc` Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, section
4.2; `4conv1fc` Wu and He, "Group Normalization", ECCV 2018, section 4.2.
"""

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.modeling.backbones import base, layers

# Kind of stage -> how many convolutions, how many fully connected layers.
NUM_LAYERS = {"2fc": (0, 2), "4conv1fc": (4, 1)}
# The fully connected layers are counted on from the convolutions of VGG, as everywhere.
FIRST_DENSE = 6


class BoxStage(base.Stage):
  """Crops [R, s, s, c] -> features [R, depth]: convolutions, then fully connected layers."""

  is_backbone = False

  def __init__(
    self,
    kind: str,
    dense_depth: int,
    conv_depth: int,
    norm_fn: layers.NormFn | None = None,
    **kwargs,
  ):
    """Makes the layers, each with a ReLU.

    Args:
      kind: a key of `NUM_LAYERS`.
      dense_depth: depth, outputs of the fully connected layers.
      conv_depth: channels of the convolutions.
      norm_fn: makes the normalisation after each convolution, which then has no bias; None for
        none.
      **kwargs: of the layer.
    """
    super().__init__(**kwargs)
    fields.check_value(detector_config.FpnHead, "layers", kind)
    num_convs, num_dense = NUM_LAYERS[kind]
    self._convs, self._dense = {}, {}
    for i in range(1, num_convs + 1):
      self._convs[f"conv{i}"] = _conv(conv_depth, norm_fn, f"conv{i}")
    for i in range(FIRST_DENSE, FIRST_DENSE + num_dense):
      dense = tf_keras.layers.Dense(
        dense_depth,
        kernel_initializer=tf_keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"),
        name="dense",
      )
      self._dense[f"fc{i}"] = layers.ConvNorm(dense, None, tf.nn.relu, name=f"fc{i}")

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    return [layer.conv.kernel for layer in self.named_layers().values()]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return {**self._convs, **self._dense}

  def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    net = inputs
    for layer in self._convs.values():
      net = layer(net, training=training)  # [R, s, s, c]
    net = tf.reshape(net, [-1, net.shape[1] * net.shape[2] * net.shape[3]])  # [R, s s c]
    for layer in self._dense.values():
      net = layer(net, training=training)  # [R, depth]
    return net


def _conv(depth: int, norm_fn: layers.NormFn | None, name: str) -> layers.ConvNorm:
  conv = tf_keras.layers.Conv2D(
    depth,
    3,
    padding="same",
    use_bias=norm_fn is None,
    kernel_initializer=tf_keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal"),
    name="conv",
  )
  return layers.ConvNorm(conv, None if norm_fn is None else norm_fn(depth), tf.nn.relu, name=name)
