"""Statistics of frozen normalisations, estimated on images before they are frozen.

Weights that were pretrained on composites of another size come with moving statistics of those
composites. Normalisations that learn statistics soon have those of the detector's own images;
frozen ones would keep the others for good. So the detector's stages, with its weights, process some
of its images with every batch normalised by itself, and what is frozen is the mean and the variance
over all of these batches.

Reference: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3 (PreciseBN).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import detector, factory
from mtl_ssl_tf.modeling.backbones import base, layers


class Estimate(NamedTuple):
  """Numbers of the images that were processed and of the normalisations that were set."""

  num_images: int
  num_norms: int


class StatisticsNorm(tf_keras.layers.BatchNormalization):
  """Normalises every batch by itself and notes mean and variance; outside of graphs alone.

  Attributes:
    num_batches: that were noted.
  """

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.num_batches = 0
    self._mean_sum = self._square_sum = np.zeros([])

  def call(self, inputs, training=None):
    if not training:
      return super().call(inputs, training=False)
    mean, variance = tf.nn.moments(inputs, list(range(inputs.shape.rank - 1)))  # [c] each
    self.num_batches += 1
    self._mean_sum = self._mean_sum + mean.numpy().astype(np.float64)
    square = variance.numpy().astype(np.float64) + mean.numpy().astype(np.float64) ** 2
    self._square_sum = self._square_sum + square
    gamma = self.gamma if self.scale else None
    return tf.nn.batch_normalization(inputs, mean, variance, self.beta, gamma, self.epsilon)

  def statistics(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance over all that was noted, [c] each; batches count alike."""
    mean = self._mean_sum / self.num_batches
    return mean, np.maximum(self._square_sum / self.num_batches - mean**2, 0.0)


def estimate(
  model: detector.Detector,
  config: detector_config.Backbone,
  batches: Iterable[tuple[tf.Tensor, dict[str, tf.Tensor]]],
  with_auxiliary: bool = True,
) -> Estimate:
  """Sets the statistics of a detector's stages to those of batches.

  Stage 1 processes what all images of a batch have content in, so that no padding counts; stage 2
  the crops at ground-truth boxes, or the map where it runs on maps. Images without a box are
  cropped whole.

  Args:
    model: the detector, with its weights.
    config: of its backbone.
    batches: `(images, labels)`, see `data/pipeline/detection_parser.py`; more than one image each,
      or they are normalised by themselves.
    with_auxiliary: whether the auxiliary heads' second stages get the statistics too, which holds
      where they have the main one's weights.

  Returns:
    How many images and normalisations there were.
  """
  backbone = factory.build_backbone(config, _make_statistics_norm)
  stage1, stage2 = backbone.make_stage1(), backbone.make_stage2("stage2")
  side = 4 * backbone.stride
  stage2(stage1(tf.zeros([1, side, side, 3])))  # Makes the variables.
  _copy_weights(stage1, model.stage1)
  _copy_weights(stage2, model.box_head.stage2)
  num_images = 0
  for images, labels in batches:
    images, boxes_norm, size_px = _content(images, labels)
    features = stage1(backbone.preprocess(images), training=True)
    stage2(_stage2_inputs(model.box_head, features, boxes_norm, size_px), training=True)
    num_images += len(images)
  _, *second_stages = model.stages
  num_norms = _assign(stage1, model.stage1)
  for stage in second_stages if with_auxiliary else second_stages[:1]:
    num_norms += _assign(stage2, stage)
  return Estimate(num_images, num_norms)


def _make_statistics_norm(
  channels: int, epsilon: float = 1e-3, scale: bool = True, train_affine: bool = True
) -> StatisticsNorm:
  del channels, train_affine
  return StatisticsNorm(epsilon=epsilon, scale=scale, name="norm")


def _content(
  images: tf.Tensor, labels: dict[str, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """The part [B, h, w, 3] in which all images have content, N boxes in fractions of it, its size.

  Boxes are those of the ground truth that reach into it, over and over until they are as many as
  the labels' rows: [B, N, 4]. The size is [B, 2].
  """
  height, width = np.min(labels["image_size_px"], axis=0).astype(int)
  images = images[:, :height, :width]
  boxes = []
  for boxes_px, classes in zip(labels["gt_boxes_px"], labels["gt_classes"], strict=True):
    limits = np.array([height, width] * 2, np.float32)
    inside = np.clip(boxes_px[classes > 0], 0.0, limits) / limits  # [n, 4]
    inside = inside[np.all(inside[:, 2:] > inside[:, :2], axis=1)]
    inside = inside if len(inside) else np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
    boxes.append(inside[np.arange(len(classes)) % len(inside)])
  size_px = tf.constant([[height, width]] * len(images), tf.float32)
  return images, tf.constant(np.stack(boxes), tf.float32), size_px


def _stage2_inputs(
  head, features: tf.Tensor, boxes_norm: tf.Tensor, size_px: tf.Tensor
) -> tf.Tensor:
  """Inputs of the main head's second stage: crops [B N, s, s, c], or the map."""
  if head.runs_on_crops:
    return head.crop_features.cropper(features, boxes_norm, size_px)
  return features[:, :: head.stride, :: head.stride]


def _named(stage: base.Stage, other: base.Stage) -> Iterator[tuple[layers.ConvNorm, ...]]:
  """The layers of two stages of the same architecture, in pairs."""
  others = other.named_layers()
  for name, layer in stage.named_layers().items():
    yield layer, others[name]


def _copy_weights(stage: base.Stage, source: base.Stage) -> None:
  for layer, other in _named(stage, source):
    for own, given in zip(layer.conv.weights, other.conv.weights, strict=True):
      own.assign(given.read_value())
    if layer.norm is not None:
      layer.norm.beta.assign(other.norm.beta.read_value())
      if layer.norm.scale:
        layer.norm.gamma.assign(other.norm.gamma.read_value())


def _assign(source: base.Stage, stage: base.Stage) -> int:
  """Sets a stage's statistics to those noted; returns how many normalisations it has."""
  num_norms = 0
  for layer, other in _named(source, stage):
    if layer.norm is not None:
      mean, variance = layer.norm.statistics()
      other.norm.moving_mean.assign(mean)
      other.norm.moving_variance.assign(variance)
      num_norms += 1
  return num_norms
