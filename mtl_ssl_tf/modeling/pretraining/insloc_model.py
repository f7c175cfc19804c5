"""The network of pretraining by instance localisation: two encoders and a queue.

Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
2021, section 3.
"""

import functools

import tensorflow as tf
import tf_keras
from official.modeling import performance

from mtl_ssl_tf.configs import insloc as insloc_config
from mtl_ssl_tf.modeling import factory, normalization, pyramid, pyramid_factory
from mtl_ssl_tf.modeling.backbones import base, layers
from mtl_ssl_tf.modeling.heads import box_stages, pooling, pyramid_pooling
from mtl_ssl_tf.modeling.pretraining import encoder, momentum_encoder


class InsLocModel(tf_keras.Model):
  """Query encoder, key encoder and queue; a checkpoint of it has all that training resumes from.

  Attributes:
    query_encoder: the one that is trained, and that a detector starts from.
    key_encoder: follows it.
    queue: keys of earlier batches.
    stage1, pyramid, box_head: of the query encoder. A detector that reads a checkpoint finds its
      backbone, its pyramid and its second stage under these names, which are its own.
  """

  def __init__(
    self,
    query_encoder: encoder.Encoder,
    key_encoder: momentum_encoder.KeyEncoder,
    queue: momentum_encoder.KeyQueue,
    **kwargs,
  ):
    """Takes the parts, their variables made, and starts both encoders alike."""
    super().__init__(autocast=False, **kwargs)
    self.query_encoder = query_encoder
    self.key_encoder = key_encoder
    self.queue = queue
    self.stage1, self.box_head = query_encoder.stage1, query_encoder.box_head
    self.pyramid = query_encoder.pyramid
    self.key_encoder.start_from(query_encoder)
    self.built = True

  def call(self, images: tf.Tensor, boxes_px: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Returns the query encoder's vectors, see `Encoder`."""
    return self.query_encoder(images, boxes_px, training=training)


def build(
  config: insloc_config.InsLoc, crop_method: str = "native", precision: str = "float32"
) -> InsLocModel:
  """Returns the network with all its variables.

  Args:
    config: the task's configuration.
    crop_method: how boxes are cut out, see `crop_ops`; `matmul` compiles under XLA.
    precision: type that the stages compute in, see `factory.build_detector`.

  Raises:
    ValueError: the backbone is unknown.
  """
  # Layers take Keras' global policy when they are made; nobody else is to find it changed.
  policy = tf_keras.mixed_precision.global_policy()
  performance.set_mixed_precision_policy(precision)
  try:
    query_encoder = _encoder(encoder.Encoder, config, crop_method, "query_encoder")
    return InsLocModel(
      query_encoder,
      _encoder(momentum_encoder.KeyEncoder, config, crop_method, "key_encoder"),
      momentum_encoder.KeyQueue(
        config.queue_size,
        config.projection_depth,
        config.seed,
        query_encoder.num_levels,
        name="queue",
      ),
      name="insloc",
    )
  finally:
    tf_keras.mixed_precision.set_global_policy(policy)


def _encoder(
  kind: type[encoder.Encoder], config: insloc_config.InsLoc, crop_method: str, name: str
) -> encoder.Encoder:
  backbone = factory.build_backbone(config.backbone, _backbone_norm_fn(config))
  if config.head_type == "fpn":
    pyramid_factory.check_backbone(backbone, "task.head_type", "faster_rcnn")
    neck, crop_features = _pyramid(config), _pyramid_features(config, crop_method)
  else:
    neck, crop_features = None, _crop_features(config, backbone, crop_method)
  made = kind(
    backbone,
    crop_features,
    encoder.Projection(config.projection_hidden, config.projection_depth, name="projection"),
    config.pooling == "box",
    neck,
    name=name,
  )
  made.build_variables()
  return made


def _crop_features(
  config: insloc_config.InsLoc, backbone: base.Backbone, crop_method: str
) -> pooling.CropFeatures:
  cropper = pooling.Cropper(
    backbone.stride, config.crop_size, config.max_pool, crop_method, config.keep_border
  )
  # One box of each image: the ways in which a detector saves work on many do not pay.
  return pooling.CropFeatures(cropper, backbone.make_stage2("stage2"))


def _pyramid(config: insloc_config.InsLoc) -> pyramid.FeaturePyramid:
  fpn = config.fpn
  return pyramid.FeaturePyramid(
    fpn.depth,
    fpn.min_level,
    fpn.max_level,
    fpn.coarser,
    _pyramid_norm_fn(config, fpn.norm),
    name="pyramid",
  )


def _pyramid_features(
  config: insloc_config.InsLoc, crop_method: str
) -> pyramid_pooling.PyramidFeatures:
  fpn, head = config.fpn, config.fpn_head
  cropper = pyramid_pooling.PyramidCropper(
    fpn.min_level,
    fpn.max_level,
    config.crop_size,
    head.canonical_size_px,
    head.samples,
    crop_method,
  )
  stage = box_stages.BoxStage(
    head.layers,
    head.dense_depth,
    head.conv_depth,
    # The stage is run on a crop of each level at once, which are normalised together.
    _pyramid_norm_fn(config, head.norm, len(insloc_config.levels(config))),
    name="stage2",
  )
  return pyramid_pooling.PyramidFeatures(cropper, stage)


def _backbone_norm_fn(config: insloc_config.InsLoc) -> layers.NormFn | None:
  """Returns what makes the backbone's norms `batch` in groups; None where they are others."""
  norm = config.backbone.norm
  if norm.type != "batch":
    return None
  return functools.partial(_grouped_norm, config.group_size, norm.momentum)


def _pyramid_norm_fn(
  config: insloc_config.InsLoc, norm_type: str, rows_of_image: int = 1
) -> layers.NormFn | None:
  """Returns what makes norms of a pyramid or of its second stage; None for `none`.

  Args:
    config: of the task.
    norm_type: of `task.fpn.norm` or `task.fpn_head.norm`.
    rows_of_image: that are normalised, so many times the images of a group make a group of rows.
  """
  norm = config.backbone.norm
  if norm_type == "none":
    return None
  if norm_type == "batch":
    make = functools.partial(_grouped_norm, config.group_size * rows_of_image, norm.momentum)
  else:
    make = functools.partial(
      normalization.make_norm, norm_type, momentum=norm.momentum, groups=norm.groups
    )
  return functools.partial(make, epsilon=pyramid_factory.NORM_EPSILON)


def _grouped_norm(
  group_size: int,
  momentum: float,
  channels: int,
  train_affine: bool = True,
  epsilon: float = 1e-3,
  scale: bool = True,
) -> normalization.GroupedBatchNorm:
  del channels, train_affine  # Frozen ones alone may keep scale and offset.
  return normalization.GroupedBatchNorm(
    group_size, momentum=momentum, epsilon=epsilon, scale=scale, name="norm"
  )
