"""A pretraining network small enough for a test."""

import dataclasses

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import insloc as config_lib
from mtl_ssl_tf.modeling.backbones import base, layers, mobilenet_v1, registry

BACKBONE = "three_convolutions"
CONFIG = {
  "backbone": {"type": BACKBONE},
  "group_size": 2,
  "crop_size": 3,
  "projection_hidden": 32,
  "projection_depth": 4,
  "queue_size": 8,
}


@dataclasses.dataclass(frozen=True)
class ThreeConvolutions(base.Backbone):
  """Two in stage 1, of stride 4 each, and one in stage 2, each with its normalisation."""

  norm_fn: layers.NormFn
  conv_norm: layers.ConvNormFn = layers.ConvNorm
  slim_scope = "ThreeConvolutions"
  stage1_depth = 12

  def preprocess(self, images: tf.Tensor) -> tf.Tensor:
    return images / 127.5 - 1.0

  def make_stage1(self) -> base.Stage:
    named = {"first": self._layer(8, 4, "first"), "second": self._layer(12, 4, "second")}
    return mobilenet_v1.MobileNetStage(named, name="stage1")

  def make_stage2(self, name: str, dense: bool = False) -> base.Stage:
    del dense
    return mobilenet_v1.MobileNetStage({"third": self._layer(16, 1, "third")}, name=name)

  def _layer(self, channels: int, size: int, name: str) -> layers.ConvNorm:
    conv = tf_keras.layers.Conv2D(
      channels, size, strides=size, padding="same", use_bias=False, name="conv"
    )
    return self.conv_norm(conv, self.norm_fn(channels), tf.nn.relu, name=name)


@dataclasses.dataclass(frozen=True)
class FourMaps(ThreeConvolutions):
  """As a network, a convolution for each of four maps, at strides 4, 8, 16 and 32."""

  map_depths = (8, 9, 10, 12)

  def make_network(self) -> base.Stage:
    named = {"map_2": self._layer(self.map_depths[0], 4, "map_2")}
    for level, depth in zip((3, 4, 5), self.map_depths[1:], strict=True):
      named[f"map_{level}"] = self._layer(depth, 2, f"map_{level}")
    return MapsStage(named, name="stage1")


class MapsStage(mobilenet_v1.MobileNetStage):
  """Returns the output of every layer."""

  def call(self, inputs, training=False):
    maps = []
    for layer in self.named_layers().values():
      maps.append(layer(maps[-1] if maps else inputs, training=training))
    return tuple(maps)


PYRAMID_BACKBONE = "four_maps"
if PYRAMID_BACKBONE not in registry.names():
  registry.register(PYRAMID_BACKBONE)(lambda norm_fn, config: FourMaps(norm_fn))
# A network with a pyramid of levels 2 to 5, and a second stage with convolutions.
PYRAMID_CONFIG = {
  "backbone": {"type": PYRAMID_BACKBONE},
  "head_type": "fpn",
  "fpn": {"depth": 6},
  "fpn_head": {"conv_depth": 5, "dense_depth": 7, "canonical_size_px": 48.0},
}


if BACKBONE not in registry.names():
  registry.register(BACKBONE)(lambda norm_fn, config: ThreeConvolutions(norm_fn))


def config(**changed) -> config_lib.InsLoc:
  """The settings, with some of them changed."""
  made = config_lib.InsLoc()
  made.override({**CONFIG, **changed}, is_strict=True)
  return made
