"""The network of pretraining by instance localisation: two encoders and a queue.

Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
2021, section 3.
"""

import tensorflow as tf
import tf_keras
from official.modeling import performance

from mtl_ssl_tf.configs import insloc as insloc_config
from mtl_ssl_tf.modeling import factory, normalization
from mtl_ssl_tf.modeling.heads import pooling
from mtl_ssl_tf.modeling.pretraining import encoder, momentum_encoder


class InsLocModel(tf_keras.Model):
  """Query encoder, key encoder and queue; a checkpoint of it has all that training resumes from.

  Attributes:
    query_encoder: the one that is trained, and that a detector starts from.
    key_encoder: follows it.
    queue: keys of earlier batches.
    stage1, box_head: of the query encoder. A detector that reads a checkpoint finds its backbone
      and its second stage under these names, which are its own.
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
    return InsLocModel(
      _encoder(encoder.Encoder, config, crop_method, "query_encoder"),
      _encoder(momentum_encoder.KeyEncoder, config, crop_method, "key_encoder"),
      momentum_encoder.KeyQueue(
        config.queue_size, config.projection_depth, config.seed, name="queue"
      ),
      name="insloc",
    )
  finally:
    tf_keras.mixed_precision.set_global_policy(policy)


def _encoder(
  kind: type[encoder.Encoder], config: insloc_config.InsLoc, crop_method: str, name: str
) -> encoder.Encoder:
  backbone = factory.build_backbone(config.backbone, _norm_fn(config))
  cropper = pooling.Cropper(
    backbone.stride, config.crop_size, config.max_pool, crop_method, config.keep_border
  )
  made = kind(
    backbone,
    # One box of each image: the ways in which a detector saves work on many do not pay.
    pooling.CropFeatures(cropper, backbone.make_stage2("stage2")),
    encoder.Projection(config.projection_hidden, config.projection_depth, name="projection"),
    config.pooling == "box",
    name=name,
  )
  made.build_variables()
  return made


def _norm_fn(config: insloc_config.InsLoc):
  """Makes normalisations as configured, `batch` in groups."""
  norm = config.backbone.norm
  if norm.type != "batch":
    return None

  def make(
    channels: int, train_affine: bool = True, epsilon: float = 1e-3, scale: bool = True
  ) -> tf_keras.layers.Layer:
    del channels, train_affine  # Frozen ones alone may keep scale and offset.
    return normalization.GroupedBatchNorm(
      config.group_size, momentum=norm.momentum, epsilon=epsilon, scale=scale, name="norm"
    )

  return make
