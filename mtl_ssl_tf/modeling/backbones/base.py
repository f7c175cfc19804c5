"""The contract between a backbone and the detector.

A backbone is cut in two. Stage 1 runs once over the image and gives the shared map at stride 16.
Stage 2 runs on crops of that map; every head that needs one makes its own copy.
"""

import abc

import tensorflow as tf
import tf_keras


class Stage(tf_keras.layers.Layer):
  """One part of a backbone: maps in, maps out."""

  @property
  def decayed_kernels(self) -> list[tf.Variable]:
    """The kernels that weight decay applies to."""
    return []

  def named_layers(self) -> dict[str, tf_keras.layers.Layer]:
    """Layers with weights by the name that they have in TF-slim checkpoints."""
    raise NotImplementedError


class Backbone(abc.ABC):
  """Makes the stages of one architecture and knows what they expect.

  Attributes:
    slim_scope: name of the network in TF-slim checkpoints.
    stride: of the stage-1 map, pixels of the input.
    stage1_depth: channels of the stage-1 map.
  """

  slim_scope: str
  stride: int = 16
  stage1_depth: int

  @abc.abstractmethod
  def preprocess(self, images: tf.Tensor) -> tf.Tensor:
    """Brings float32 RGB images of 0 ... 255 to the range the network was made for."""

  @abc.abstractmethod
  def make_stage1(self) -> Stage:
    """Returns a new stage 1: [B, H, W, 3] -> [B, ceil(H / 16), ceil(W / 16), stage1_depth]."""

  @abc.abstractmethod
  def make_stage2(self, name: str) -> Stage:
    """Returns a new stage 2: crops [R, h, w, stage1_depth] -> [R, h', w', depth]."""
