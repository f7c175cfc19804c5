"""Settings of pretraining by instance localisation; the defaults are the published ones.

What was published is the form with a feature pyramid (`head_type: fpn`). The form with one map at
stride 16, which is the default, was described but its configuration never released: its crop and
its projection are ours.

Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
2021, and the configuration that its authors released.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from official.core import config_definitions as cfg

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import data_validation, fields, insloc_data, optimization, training
from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs.fields import group, setting
from mtl_ssl_tf.configs.ranges import (
  BOXES,
  FACTOR,
  IMAGES,
  SAMPLES,
  SEED,
  SHARE,
  STEPS_OR_NONE,
  WEIGHT,
  Range,
)

# Boxes are cropped from levels up to this one.
COARSEST_LEVEL = 5
# In YAML files, another name of `validation_data`.
PROBE = "probe_data"


@dataclasses.dataclass
class InsLoc(cfg.TaskConfig):
  """Pretraining of a detector's backbone and heads on images without annotations."""

  seed: int = setting(
    0, "seed of the initial weights and of every random choice in a step", bounds=SEED
  )
  backbone: detector_config.Backbone = group(
    detector_config.Backbone,
    "the network; `freeze` has no effect",
    type="resnet_50",
    layout="torchvision",
    norm={"type": "batch", "momentum": 0.9},
  )
  group_size: int = setting(
    32,
    "images that norm `batch` takes mean and variance of; a divisor of each replica's share of the "
    "batch",
    bounds=IMAGES,
  )
  shuffle: str = setting(
    "batch",
    "how key images and their boxes change places before they are normalised in groups, so that a "
    "query and its key are not recognised by the company they were in: over the whole `batch`, for "
    "which replicas exchange images; within each `replica`; or not at all, `none`",
    choices=("batch", "replica", "none"),
  )
  pooling: str = setting(
    "box",
    "what features are the mean of: the pasted `box`, or the whole `image`, which is a control for "
    "experiments",
    choices=("box", "image"),
  )
  head_type: str = setting(
    "faster_rcnn",
    "detector that is pretrained, as its `roi_head.type`: `faster_rcnn` or `fpn`; `rfcn` starts "
    "from `faster_rcnn`",
    choices=("faster_rcnn", "fpn"),
  )
  fpn: detector_config.Fpn = group(
    detector_config.Fpn,
    "the pyramid of `head_type: fpn`. Each of its levels has a queue and a loss, so that level 5 is"
    " the coarsest",
    max_level=5,
    norm="batch",
  )
  fpn_head: detector_config.FpnHead = group(
    detector_config.FpnHead,
    "second stage of `head_type: fpn`, as `roi_head.fpn` of the detector; `canonical_size_px` is "
    "for the probe alone, as each box is cropped from all levels",
    layers="4conv1fc",
    norm="batch",
  )
  crop_size: int = setting(
    7, "samples a side of a crop, as `roi_head.crop_size` of the detector", bounds=SAMPLES
  )
  max_pool: int = setting(
    1,
    "side and stride of the pooling after the crop, as `roi_head.max_pool`; 1 is none; not of "
    "`fpn`",
    bounds=SAMPLES,
  )
  keep_border: bool = setting(True, "as `roi_head.keep_border` of the detector; not of `fpn`")
  projection_hidden: int = setting(
    2048,
    "channels of the hidden layer between features and vectors; 0 has none. Published with a "
    "pyramid: 1,024",
    bounds=Range(0, 65_536),
  )
  projection_depth: int = setting(
    128, "length of the vectors that are compared", bounds=Range(2, 65_536)
  )
  queue_size: int = setting(
    65_536,
    "keys of earlier batches that queries are told from; a multiple of the batch size",
    bounds=Range(1, 100_000_000),
  )
  temperature: float = setting(0.2, "divides the similarities", bounds=FACTOR)
  momentum: float = setting(
    0.999, "share of its own weights that the key encoder keeps in a step", bounds=SHARE
  )
  weight_decay: float = setting(
    1e-4,
    "scale / 2 x the sum of squares of all trained weights, those of norms and biases included, is "
    "added to the loss",
    bounds=WEIGHT,
  )
  box_augmentation: insloc_data.BoxAugmentation = group(
    insloc_data.BoxAugmentation, "boxes that queries are pooled from"
  )
  probe_neighbours: int = setting(
    5,
    "nearest objects of other images that say what class an object is, in the probe",
    bounds=BOXES,
  )
  picture_interval: int = setting(
    1000, "training steps from one set of pictures to the next; 0 is never", bounds=STEPS_OR_NONE
  )
  num_pictures: int = setting(4, "pairs of composites of a set", bounds=Range(1, 1000))
  train_data: insloc_data.InsLocData = group(
    insloc_data.InsLocData, "images to pretrain on", is_training=True
  )
  validation_data: data_config.Data = group(
    data_config.Data,
    "the probe: records of a few annotated images, whose objects measure the features; YAML files "
    "may call it `probe_data`. `--mode=train` needs none",
    is_training=False,
    global_batch_size=1,
    drop_remainder=False,
  )


def is_pretraining(fields: Any) -> bool:
  """Whether the fields of a configuration, nested, are those of a pretraining."""
  task = fields.get("task") if isinstance(fields, Mapping) else None
  return isinstance(task, Mapping) and "queue_size" in task


def check(config: InsLoc, trainer: training.Trainer) -> None:
  """Refuses settings that nothing can be pretrained with.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  fields.check(config, "task")
  insloc_data.check(config.train_data, "task.train_data")
  default = InsLoc().validation_data
  data_validation.check_split(config.validation_data, default, "task.validation_data")
  insloc_data.check_box_augmentation(config.box_augmentation, "task.box_augmentation")
  norm = config.backbone.norm.type
  if norm == "frozen":
    raise ValueError(
      "task.backbone.norm.type is 'frozen'; accepted: batch, sync, group, as there are no "
      "statistics yet; a detector with norm 'frozen' can start from a run with norm batch"
    )
  if config.backbone.recompute and norm != "group":
    raise ValueError(
      f"task.backbone.recompute is true; accepted: false where task.backbone.norm.type is {norm!r},"
      " whose statistics would see every batch twice"
    )
  if config.head_type == "fpn":
    _check_pyramid(config)
  batch_size = config.train_data.global_batch_size
  if config.queue_size % batch_size:
    raise ValueError(
      f"task.queue_size is {config.queue_size}; accepted: a multiple of "
      f"task.train_data.global_batch_size ({batch_size}), so that a batch never splits at its end"
    )
  check_groups(config)
  found = optimization.weight_decay(trainer.optimizer_config.optimizer)
  if found is not None and config.weight_decay:
    raise ValueError(
      f"trainer.optimizer_config.optimizer.{found[0]} is {found[1]}; accepted: 0, or 0 for "
      f"task.weight_decay ({config.weight_decay}), as weights would decay twice"
    )


def _check_pyramid(config: InsLoc) -> None:
  norm = config.backbone.norm.type
  if config.fpn.max_level != COARSEST_LEVEL:
    raise ValueError(
      f"task.fpn.max_level is {config.fpn.max_level}; accepted: {COARSEST_LEVEL}, as boxes are"
      " cropped from no coarser level; a detector may have more"
    )
  for field, value in (("fpn", config.fpn.norm), ("fpn_head", config.fpn_head.norm)):
    if value not in ("none", norm):
      raise ValueError(
        f"task.{field}.norm is {value!r}; accepted: none, or {norm}, as task.backbone.norm.type"
      )
  found, augmented = levels(config), config.box_augmentation.levels
  if config.box_augmentation.enabled and not set(augmented) <= set(found):
    raise ValueError(
      f"task.box_augmentation.levels is {augmented}; accepted: of {', '.join(map(str, found))}, the"
      " levels of task.fpn"
    )


def levels(config: InsLoc) -> tuple[int, ...]:
  """Returns the levels of the pyramid that have a queue and a loss; without a pyramid none."""
  if config.head_type != "fpn":
    return ()
  return tuple(range(config.fpn.min_level, config.fpn.max_level + 1))


def check_groups(config: InsLoc, num_replicas: int = 1) -> None:
  """Refuses groups of normalisation that a replica's share of the batch is not made of.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  share = config.train_data.global_batch_size // num_replicas
  if config.backbone.norm.type == "batch" and share % config.group_size:
    of_replica = "" if num_replicas == 1 else f" over {num_replicas} replicas"
    raise ValueError(
      f"task.group_size is {config.group_size}; accepted with task.backbone.norm.type batch: a "
      f"divisor of task.train_data.global_batch_size{of_replica}, {share}"
    )


def has_one_group(config: InsLoc) -> bool:
  """Whether all images of a batch are normalised together, so that shuffling changes nothing."""
  norm = config.backbone.norm.type
  one = norm == "batch" and config.group_size == config.train_data.global_batch_size
  return norm == "sync" or one
