"""Statistics of frozen normalisations, estimated on images before they are frozen.

Weights that were pretrained on composites of another size come with moving statistics of those
composites. Normalisations that learn statistics soon have those of the detector's own images;
frozen ones would keep the others for good. So the detector's stages, with its weights, process some
of its images with every batch normalised by itself, and what is frozen is the mean and the variance
over all of these batches. On a feature pyramid its norms and those of the second stages are among
them, where they are frozen.

Reference: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3 (PreciseBN).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.modeling import detector, factory, normalization, pyramid_factory
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


class _Copies(NamedTuple):
  """Stages with a detector's weights, whose frozen norms are `StatisticsNorm`."""

  backbone: base.Backbone
  stage1: base.Stage
  pyramid: base.Stage | None
  stage2: base.Stage


def estimate(
  model: detector.Detector,
  config: detector_config.MtlDetection,
  batches: Iterable[tuple[tf.Tensor, dict[str, tf.Tensor]]],
  with_auxiliary: bool = True,
) -> Estimate:
  """Sets the statistics of a detector's stages to those of batches.

  Stage 1 and a pyramid process what all images of a batch have content in, so that no padding
  counts; stage 2 the crops at ground-truth boxes, or the map where it runs on maps. Images without
  a box are cropped whole.

  Args:
    model: the detector, with its weights.
    config: of the task.
    batches: `(images, labels)`, see `data/pipeline/detection_parser.py`; more than one image each,
      or they are normalised by themselves.
    with_auxiliary: whether the auxiliary heads' second stages get the statistics too, which holds
      where they have the main one's weights.

  Returns:
    How many images and normalisations there were.
  """
  copies = _make_copies(model, config)
  side = 4 * copies.backbone.stride
  empty = tf.zeros([1, side, side, 3]), tf.ones([1, 1, 4]), tf.constant([[side] * 2], tf.float32)
  _process(copies, model, *empty, training=False)  # Makes the variables.
  main_head = model.main_heads[0]
  pairs = [(copies.stage1, model.stage1), (copies.stage2, main_head.stage2)]
  if copies.pyramid is not None:
    pairs.append((copies.pyramid, model.pyramid))
  for copy, stage in pairs:
    _copy_weights(copy, stage)
  num_images = 0
  for images, labels in batches:
    images, boxes_norm, size_px = _content(images, labels)
    _process(copies, model, images, boxes_norm, size_px, training=True)
    num_images += len(images)
  if with_auxiliary:
    others = model.second_stages[len(model.box_head.stages) :]
    pairs += [(copies.stage2, stage) for stage in others]
  return Estimate(num_images, sum(_assign(copy, stage) for copy, stage in pairs))


def _make_copies(model: detector.Detector, config: detector_config.MtlDetection) -> _Copies:
  frozen = config.backbone.norm.type == "frozen"
  backbone = factory.build_backbone(config.backbone, _make_statistics_norm if frozen else None)
  if model.pyramid is None:
    return _Copies(backbone, backbone.make_stage1(), None, backbone.make_stage2("stage2"))
  parts = pyramid_factory.PyramidParts(config, "native", "native", _make_pyramid_norm)
  return _Copies(backbone, backbone.make_network(), parts.pyramid(), parts.box_stage())


def _make_statistics_norm(
  channels: int, epsilon: float = 1e-3, scale: bool = True, train_affine: bool = True
) -> StatisticsNorm:
  del channels, train_affine
  return StatisticsNorm(epsilon=epsilon, scale=scale, name="norm")


def _make_pyramid_norm(
  norm_type: str, channels: int, *, epsilon: float, **options
) -> tf_keras.layers.Layer:
  if norm_type == "frozen":
    return _make_statistics_norm(channels, epsilon)
  return normalization.make_norm(norm_type, channels, epsilon=epsilon, **options)


def _process(
  copies: _Copies,
  model: detector.Detector,
  images: tf.Tensor,
  boxes_norm: tf.Tensor,
  size_px: tf.Tensor,
  training: bool,
) -> None:
  """Runs the copies on images and on the regions that the detector's main head has of them."""
  features = copies.stage1(copies.backbone.preprocess(images), training=training)
  if copies.pyramid is not None:
    cropper = model.main_heads[0].crop_features.cropper
    features = cropper.pack(copies.pyramid(features, training=training), size_px)
  inputs = _stage2_inputs(model.main_heads[0], features, boxes_norm, size_px)
  copies.stage2(inputs, training=training)


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
  """Returns the input of the main head's second stage: crops [B N, s, s, c], or the map."""
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
  """Sets a stage's statistics to those noted; returns how many normalisations have any."""
  num_norms = 0
  for layer, other in _named(source, stage):
    if isinstance(layer.norm, StatisticsNorm):
      mean, variance = layer.norm.statistics()
      other.norm.moving_mean.assign(mean)
      other.norm.moving_variance.assign(variance)
      num_norms += 1
  return num_norms
