"""Checks settings, data, label map and start weights of a detection run before it is built."""

import logging
import os
import shlex
from collections.abc import Sequence

import tensorflow as tf
from official.core import config_definitions as cfg

from mtl_ssl_tf.checkpoints import keras_weights, pretrained, torch_files
from mtl_ssl_tf.configs import data_validation, detector, validation
from mtl_ssl_tf.data import faults, label_map, schema, validate
from mtl_ssl_tf.data.inspection import checks, validation_report
from mtl_ssl_tf.data.records import manifests, pictures
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.modeling import factory, pyramid_factory
from mtl_ssl_tf.modeling.backbones import registry
from mtl_ssl_tf.reading import quoting, regular_files
from mtl_ssl_tf.tasks import pretraining_start

_LOGGER = logging.getLogger(__name__)
INIT_FIELD = "task.init_checkpoint:"
# Settings that the weights, or their meaning, depend on: fields, or groups of fields.
FIXED = (
  "task.backbone.type",
  "task.backbone.depth_multiplier",
  "task.backbone.fused_stage2",
  "task.backbone.layout",
  "task.backbone.norm.type",
  "task.backbone.norm.groups",
  "task.anchors",
  "task.fpn",
  "task.rpn.depth",
  "task.rpn.num_convs",
  "task.roi_head.type",
  "task.roi_head.crop_size",
  "task.roi_head.max_pool",
  "task.roi_head.rfcn",
  "task.roi_head.fpn",
  "task.roi_head.class_agnostic_boxes",
  "task.roi_head.cascade.enabled",
  "task.roi_head.cascade.delta_factors",
  "task.auxiliary.features",
  "task.auxiliary.shared_map",
  "task.auxiliary.foreground.head",
  "task.auxiliary.foreground.logit_activation",
  "task.refinement.enabled",
  "task.refinement.num_windows",
  "task.refinement.input",
  "task.refinement.residual",
  "task.refinement.use_bias",
)
# Heads that may be left out.
SWITCHES = tuple(
  f"task.auxiliary.{name}.loss_weight" for name in ("multi_object", "closeness", "foreground")
)
# What tells one detector's training from another's, in a table of runs.
HYPERPARAMETERS = (
  "task.backbone.type",
  "task.backbone.depth_multiplier",
  "task.backbone.norm.type",
  "task.roi_head.type",
  "task.roi_head.cascade.enabled",
  "task.train_data.input_size",
  "task.auxiliary.features",
  *SWITCHES,
  "task.refinement.enabled",
  "task.init_checkpoint",
  "task.regularization.backbone_l2",
  "task.seed",
)


def check(params: cfg.ExperimentConfig) -> None:
  """Refuses settings that no detector can be built from or trained with.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  validation.check_task(params.task)
  registry.check(params.task.backbone.type)
  if params.task.roi_head.type == "fpn":
    pyramid_factory.check_backbone(factory.build_backbone(params.task.backbone))
  data_validation.check_loops(params.task, params.trainer)
  validation.check_weight_decay(
    params.trainer.optimizer_config.optimizer, params.task.regularization
  )


def check_split(config: detector.MtlDetection, reason: str) -> None:
  """Refuses settings for which replicas exchange values before their losses.

  Raises:
    ValueError: naming the field, its value, what is accepted and `reason`.
  """
  if "sync" in detector.norm_types(config):
    fields = {
      "backbone.norm.type": config.backbone.norm.type,
      "fpn.norm": config.fpn.norm,
      "roi_head.fpn.norm": config.roi_head.fpn.norm,
    }
    name = next(name for name, value in fields.items() if value == "sync")
    raise ValueError(f"task.{name} is 'sync'; accepted: frozen, group, batch {reason}")
  if (
    config.refinement.enabled
    and config.auxiliary.closeness.loss_weight
    and config.refinement.closeness_mean == "all_rows"
  ):
    raise ValueError(
      f"task.refinement.closeness_mean is 'all_rows'; accepted: per_image_valid {reason}"
    )


def check_start(config: detector.MtlDetection) -> None:
  """Refuses missing start weights, and warns of frozen norms without start weights."""
  if config.init_checkpoint:
    pretrained.check_source(config.init_checkpoint, INIT_FIELD)
    pretraining_start.check(config)
  elif config.backbone.norm.type == "frozen":
    _LOGGER.warning(
      "task.backbone.norm.type is 'frozen' and there are no start weights (--init): statistics "
      "that never change fit pretrained weights alone. From scratch, use batch, sync or group."
    )


def start_from(config: detector.MtlDetection, weights: str) -> None:
  """Sets the start weights; for ResNet, those of others and of a pretraining bring their layout."""
  config.init_checkpoint = weights
  if weights == keras_weights.IMAGENET and config.backbone.type in keras_weights.RESNETS:
    config.backbone.layout = "keras"
  if weights.endswith(torch_files.ENDINGS) and config.backbone.type.startswith("resnet"):
    config.backbone.layout = "torchvision"
  pretraining = pretraining_start.pretraining_task(weights)
  if pretraining is not None and config.backbone.type.startswith("resnet"):
    config.backbone.layout = pretraining["backbone"]["layout"]


def check_data(config: detector.MtlDetection, name: str) -> None:
  """Compares the records' own label map with the task's, and warns where boxes are missing.

  Raises:
    ValueError: the label maps differ, there are no records, or validation records have no box.
  """
  try:
    files = record_paths.match_files(getattr(config, name).input_path)
  except ValueError as error:
    raise ValueError(f"task.{name}.{error}") from error
  try:
    class_names = label_map.read_label_map(config.label_map)
  except ValueError as error:
    raise ValueError(f"task.label_map: {error}") from error
  for folder in sorted({os.path.dirname(file) for file in files}):
    theirs = os.path.join(folder, schema.LABEL_MAP_FILE)
    if not tf.io.gfile.exists(theirs):
      continue
    if _class_names(theirs) != class_names:
      raise ValueError(
        f"task.label_map is {quoting.shown(config.label_map)}; accepted: the classes of"
        f" {quoting.shown(theirs)}, which the records of task.{name} were written with"
      )
  has_none, lines = manifests.boxes_missing(files, class_names)
  if has_none and name == "validation_data":
    raise ValueError(
      f"task.{name}.input_path: {lines[0]}; accepted: records with a box, as there is nothing to"
      " measure"
    )
  for line in lines:
    _LOGGER.warning(f"task.{name}.input_path: {line}")
  if name == "validation_data":
    _compare_pictures(files, config.train_data.input_path)


def _compare_pictures(files: Sequence[str], train_path: str | Sequence[str]) -> None:
  """Warns of pictures of the evaluation, in these record files, that are trained on."""
  try:
    train_files = record_paths.match_files(train_path)
  except ValueError:  # An evaluation alone does not need them.
    return
  found = pictures.shared(files, train_files)
  if found is None:
    _LOGGER.info(
      "task.validation_data.input_path: pictures are not compared with task.train_data, as a split"
      " has no list of them; mtl-ssl validate --records TRAIN --records VALIDATION compares them"
    )
  elif found.number:
    _LOGGER.warning(
      "task.validation_data.input_path: pictures that are in task.train_data too, by content:"
      f" {found.number}: {found}; accepted: each picture in one of them, or figures are too good"
    )


def inspect_data(
  config: detector.MtlDetection, name: str, num_records: int
) -> validation_report.ValidationReport:
  """Returns what was found in so many records, evenly spread over the files.

  Raises:
    ValueError: a setting is at fault, or the records cannot be read.
  """
  data = getattr(config, name)
  try:
    report = validate.validate_records(
      data.input_path,
      checks.Limits.of_config(config, data),
      label_map_file=config.label_map,
      num_sampled=num_records,
      num_threads=len(os.sched_getaffinity(0)),
    )
  except ValueError as error:
    raise ValueError(f"task.{name}.{error}") from error
  if name == "train_data":
    report.add_general(report.statistics.anchor_findings("task.anchors", _anchor_cure(config)))
  return report


def _anchor_cure(config: detector.MtlDetection) -> str:
  """Says what gives anchors that fit the training boxes."""
  if config.roi_head.type == "fpn":
    return "change task.anchors.cells, level_scales or aspect_ratios"
  paths = {
    "records": config.train_data.input_path,
    "validation_records": config.validation_data.input_path,
  }
  # The command takes one path or pattern.
  flags = [
    f"--{flag} {shlex.quote(path) if isinstance(path, str) and path else flag.upper()}"
    for flag, path in paths.items()
  ]
  return f"mtl-ssl suggest {' '.join(flags)} --output suggested.yaml writes anchors that fit"


def check_files(config: detector.MtlDetection, model_dir: str) -> list[str]:
  """Returns a line where the classes are not those of the run so far."""
  path = os.path.join(model_dir, schema.LABEL_MAP_FILE)
  if not tf.io.gfile.exists(path):
    return []
  before, now = _class_names(path), label_map.read_label_map(config.label_map)
  if before == now:
    return []
  return [f"task.label_map {faults.listing(before)} -> {faults.listing(now)}"]


def _class_names(path: str) -> list[str]:
  text = regular_files.read_text(path)  # It may lie on a remote file system.
  return [line.strip("\r\ufeff") for line in text.rstrip("\n").split("\n")]
