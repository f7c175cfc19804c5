"""Feature pyramid: from a network's maps at four strides to maps of one depth.

    C5 -> lateral -> T5 -> output -> P5 -> coarser -> P6
    C4 -> lateral -> + upsampled T5 = T4 -> output -> P4
    C3, C2 likewise

Level `l` has stride 2^l. Letters as in `detector.py`, `d` for the pyramid's depth.

Reference: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
"""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import fields
from mtl_ssl_tf.modeling.backbones import base, layers

TOP_MAP_LEVEL = base.MAP_LEVELS[-1]


class FeaturePyramid(base.Stage):
  """Maps C2 ... C5, each [B, h, w, c], to P_min ... P_max, each [B, h, w, d], finest first.

  A map is upsampled by repeating its cells, and cut where the finer one has an odd side. Levels
  above 5 are every other cell of the level below (`subsample`, as published), or a convolution of
  it with stride 2, from the second on of its ReLU (`convolution`).
  """

  is_backbone = False

  def __init__(
    self,
    depth: int,
    min_level: int,
    max_level: int,
    coarser: str = "subsample",
    norm_fn: layers.NormFn | None = None,
    **kwargs,
  ):
    """Makes the convolutions.

    Args:
      depth: d.
      min_level, max_level: of the maps to return.
      coarser: how levels above 5 are made, see above.
      norm_fn: makes the normalisation after each lateral and each output convolution, which then
        have no bias; None for none.
      **kwargs: of the layer.
    """
    super().__init__(**kwargs)
    fields.check_value(detector_config.Fpn, "coarser", coarser)
    self.levels = tuple(range(min_level, max_level + 1))
    self._sources = tuple(level for level in self.levels if level <= TOP_MAP_LEVEL)
    self._convs = {}
    for level in self._sources:
      self._convs[f"lateral_{level}"] = _conv_norm(depth, 1, norm_fn, f"lateral_{level}")
      self._convs[f"output_{level}"] = _conv_norm(depth, 3, norm_fn, f"output_{level}")
    if coarser == "convolution":
      for level in self.levels[len(self._sources) :]:
        self._convs[f"coarser_{level}"] = _conv_norm(depth, 3, None, f"coarser_{level}", stride=2)

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    return [layer.conv.kernel for layer in self._convs.values()]

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    return dict(self._convs)

  def call(self, maps: Sequence[tf.Tensor], training: bool = False) -> tuple[tf.Tensor, ...]:
    by_level = dict(zip(base.MAP_LEVELS, maps, strict=True))
    outputs, top_down = {}, None
    for level in reversed(self._sources):
      lateral = self._convs[f"lateral_{level}"](by_level[level], training=training)
      top_down = lateral if top_down is None else lateral + upsample(top_down, lateral)
      outputs[level] = self._convs[f"output_{level}"](top_down, training=training)
    for level in self.levels[len(self._sources) :]:
      outputs[level] = self._coarser(level, outputs[level - 1], training)
    return tuple(outputs[level] for level in self.levels)

  def _coarser(self, level: int, finer: tf.Tensor, training: bool) -> tf.Tensor:
    conv = self._convs.get(f"coarser_{level}")
    if conv is None:
      return finer[:, ::2, ::2]
    return conv(tf.nn.relu(finer) if level > TOP_MAP_LEVEL + 1 else finer, training=training)


def upsample(coarse: tf.Tensor, fine: tf.Tensor) -> tf.Tensor:
  """Returns a map [B, ceil(h / 2), ceil(w / 2), d] at the size of the finer map [B, h, w, d]."""
  height, width = fine.shape[1:3]
  repeated = tf.repeat(tf.repeat(coarse, 2, axis=1), 2, axis=2)  # [B, h or h + 1, w or w + 1, d]
  return repeated[:, :height, :width]


def _conv_norm(
  depth: int, kernel_size: int, norm_fn: layers.NormFn | None, name: str, stride: int = 1
) -> layers.ConvNorm:
  conv = tf_keras.layers.Conv2D(
    depth,
    kernel_size,
    strides=stride,
    padding="same",
    use_bias=norm_fn is None,
    kernel_initializer=tf_keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"),
    name="conv",
  )
  return layers.ConvNorm(conv, None if norm_fn is None else norm_fn(depth), None, name=name)
