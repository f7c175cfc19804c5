"""A second stage on crops of the shared map: each crop becomes one vector of features.

Letters as in `detector.py`; `s` is a side of a crop.
"""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.modeling.backbones import base


class PreparedMap(NamedTuple):
  """An image's shared map, prepared once for all crops of a second stage.

  Attributes:
    maps: maps that crops are taken from, each [B, h, w, c]: here the shared map alone.
    kernels: tensors computed once from the weights of each unit; here none.
  """

  maps: tuple[tf.Tensor, ...]
  kernels: tuple[tuple[tf.Tensor, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class Stage2:
  """Runs a second stage on crops as it is; `acceleration` has faster ways to the same features.

  Attributes:
    stage: of the backbone.
  """

  stage: base.Stage

  def prepare(self, features: tf.Tensor) -> PreparedMap:
    """Returns the maps that crops are taken from, given the shared map [B, h, w, c]."""
    return PreparedMap((features,))

  def pool(self, crops: tuple[tf.Tensor, ...], prepared: PreparedMap, training: bool) -> tf.Tensor:
    """Returns the features of each crop: the mean over its cells, float32 [B R, depth].

    Args:
      crops: of each of `prepared.maps`, [B R, s, s, c].
      prepared: of `prepare`.
      training: bool.
    """
    del prepared
    (crops,) = crops
    net = self.stage(crops, training=training)  # [B R, s', s', depth]
    return tf.reduce_mean(tf.cast(net, tf.float32), axis=[1, 2])
