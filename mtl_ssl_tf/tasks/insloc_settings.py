"""Checks settings and data of a pretraining before it is built."""

import logging

import tensorflow as tf
from official.core import config_definitions as cfg

from mtl_ssl_tf.configs import insloc
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.modeling import factory, pyramid_factory
from mtl_ssl_tf.modeling.backbones import registry
from mtl_ssl_tf.reading import quoting

_LOGGER = logging.getLogger(__name__)
# What a checkpoint's weights depend on.
FIXED = (
  "task.backbone.type",
  "task.backbone.depth_multiplier",
  "task.backbone.fused_stage2",
  "task.backbone.layout",
  "task.backbone.norm.type",
  "task.backbone.norm.groups",
  "task.head_type",
  "task.fpn.depth",
  "task.fpn.min_level",
  "task.fpn.norm",
  "task.fpn_head.layers",
  "task.fpn_head.dense_depth",
  "task.fpn_head.conv_depth",
  "task.fpn_head.norm",
  "task.crop_size",
  "task.queue_size",
  "task.projection_hidden",
  "task.projection_depth",
)


def check(params: cfg.ExperimentConfig) -> None:
  """Refuses settings that nothing can be pretrained with; warns of groups that cannot be mixed.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  insloc.check(params.task, params.trainer)
  registry.check(params.task.backbone.type)
  if params.task.head_type == "fpn":
    backbone = factory.build_backbone(params.task.backbone)
    pyramid_factory.check_backbone(backbone, "task.head_type", "faster_rcnn")
  if params.task.shuffle != "none" and insloc.has_one_group(params.task):
    _LOGGER.warning(
      "task.shuffle is %r, but all images of a batch are normalised together: what a query shares "
      "with its key may give them away; task.group_size at most half the batch prevents it",
      params.task.shuffle,
    )


def warn_of_queue(config: insloc.InsLoc, num_images: int) -> None:
  """Warns where queries are told from other composites of their own image.

  Args:
    config: the settings.
    num_images: of an epoch.
  """
  batch_size = config.train_data.global_batch_size
  # The batch itself and the queue before it, with each image once.
  longest = (num_images // batch_size - 1) * batch_size
  if config.queue_size <= longest:
    return
  advice = f"a queue of at most {longest} has none"
  if longest <= 0:
    advice = "smaller batches, and a queue shorter than an epoch, have fewer"
  _LOGGER.warning(
    "task.queue_size is %d, and an epoch has %d images: each query is told from about %.1f "
    "composites of its own image; %s",
    config.queue_size,
    num_images,
    config.queue_size / num_images,
    advice,
  )


def check_split(config: insloc.InsLoc, reason: str) -> None:
  """Refuses settings for which replicas exchange values within the encoders.

  Raises:
    ValueError: naming the field, its value, what is accepted and `reason`.
  """
  if config.backbone.norm.type == "sync":
    raise ValueError(f"task.backbone.norm.type is 'sync'; accepted: group, batch {reason}")


def check_data(config: insloc.InsLoc, name: str) -> None:
  """Refuses images that are not there, and a probe without records.

  Images are read when training begins, and broken ones are left out then.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  field = "train_data" if name == "train_data" else insloc.PROBE
  data = getattr(config, name)
  if name == "train_data" and data.image_dir:
    if not tf.io.gfile.isdir(data.image_dir):
      raise ValueError(
        f"task.{field}.image_dir is {quoting.shown(data.image_dir)}; accepted: a folder of images"
      )
    return
  if not data.input_path:
    raise ValueError(
      f"task.{field}.input_path is {quoting.shown(data.input_path)}; accepted: records of a few"
      " annotated images, or --mode=train, which measures nothing"
    )
  try:
    record_paths.match_files(data.input_path)
  except ValueError as error:
    raise ValueError(f"task.{field}.{error}") from error
