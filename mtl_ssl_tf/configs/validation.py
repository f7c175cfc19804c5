"""Checks the values of a whole configuration before anything is built from it."""

import dataclasses
from typing import Any

from official.core import config_definitions as cfg
from official.modeling import hyperparams
from official.modeling.optimization.configs import optimization_config

from mtl_ssl_tf.configs import (
  cascade,
  co_mining,
  data_validation,
  detector,
  fields,
  optimization,
  schedules,
  training,
)
from mtl_ssl_tf.reading import quoting

METRICS = ("voc", "coco")


def check_task(config: detector.MtlDetection) -> None:
  """Refuses values that no detector can be built from.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  fields.check(config, "task")
  data_validation.check_data(config)
  if isinstance(config, co_mining.CoMining):
    co_mining.check(config)
  if config.rpn.negative_iou > config.rpn.positive_iou:
    raise ValueError(
      f"task.rpn.negative_iou is {config.rpn.negative_iou}; accepted: at most "
      f"task.rpn.positive_iou ({config.rpn.positive_iou})"
    )
  if config.roi_head.max_pool > config.roi_head.crop_size:
    raise ValueError(
      f"task.roi_head.max_pool is {config.roi_head.max_pool}; accepted: at most "
      f"task.roi_head.crop_size ({config.roi_head.crop_size})"
    )
  for path in ("roi_head.rfcn", "auxiliary.shared_map"):
    pooling = _get(config, path)
    if pooling.crop_size % pooling.num_bins:
      raise ValueError(
        f"task.{path}.crop_size is {pooling.crop_size}; accepted: a multiple of "
        f"task.{path}.num_bins ({pooling.num_bins})"
      )
  check_pyramid(config)
  cascade.check(config.roi_head)
  backbone = config.backbone
  if backbone.recompute and backbone.norm.type not in ("frozen", "group"):
    raise ValueError(
      f"task.backbone.recompute is true; accepted: false where task.backbone.norm.type is "
      f"{quoting.shown(backbone.norm.type)}, whose statistics would see every batch twice"
    )
  if config.roi_head.convolution == "fourier" and backbone.norm.type == "group":
    raise ValueError(
      "task.roi_head.convolution is 'fourier'; accepted: auto or direct where"
      " task.backbone.norm.type is 'group', which normalises every crop by itself"
    )
  if config.auxiliary.features == "main_head" and config.roi_head.type == "rfcn":
    raise ValueError(
      "task.auxiliary.features is 'main_head'; accepted: own_stage2 or shared_map where "
      "task.roi_head.type is 'rfcn', whose second stage has no features of a single region"
    )
  metrics = config.evaluation.metrics
  if not metrics or sorted(metrics) != sorted(set(metrics) & set(METRICS)):
    raise ValueError(
      f"task.evaluation.metrics is {quoting.shown(metrics)}; accepted: a list of"
      f" {' and '.join(METRICS)}, or of one of them"
    )
  if config.evaluation.coco_annotations and "coco" not in metrics:
    raise ValueError(
      f"task.evaluation.coco_annotations is {quoting.shown(config.evaluation.coco_annotations)};"
      " accepted: empty, or a file where task.evaluation.metrics holds coco"
    )
  if not config.label_map:
    raise ValueError(
      "task.label_map is empty; accepted: the label_map.txt that the converter wrote"
    )


def check_pyramid(config: detector.MtlDetection) -> None:
  """Refuses what does not go with a feature pyramid.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  roi_head = config.roi_head
  if roi_head.type == "rfcn" and roi_head.class_agnostic_boxes:
    raise ValueError(
      "task.roi_head.class_agnostic_boxes is true; accepted: false where task.roi_head.type is "
      "'rfcn'"
    )
  if roi_head.type != "fpn":
    return
  if roi_head.max_pool != 1:
    raise ValueError(
      f"task.roi_head.max_pool is {roi_head.max_pool}; accepted: 1 where task.roi_head.type is "
      "'fpn', whose crops have task.roi_head.fpn.samples"
    )
  if config.auxiliary.features == "shared_map" and config.auxiliary.shared_map.num_bins != 1:
    raise ValueError(
      f"task.auxiliary.shared_map.num_bins is {config.auxiliary.shared_map.num_bins}; accepted: 1 "
      "where task.roi_head.type is 'fpn'"
    )


def check_trainer(config: cfg.TrainerConfig) -> None:
  """Refuses values that would end a run early, or never.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  check_clipping(config.optimizer_config)
  fields.check(config, "trainer")
  if config.summary_interval % config.steps_per_loop:
    raise ValueError(
      f"trainer.summary_interval is {config.summary_interval}; accepted: a multiple of "
      f"trainer.steps_per_loop ({config.steps_per_loop})"
    )
  if not config.preemption_on_demand_checkpoint:
    raise ValueError(
      "trainer.preemption_on_demand_checkpoint is False; accepted: True, as a run that is asked to"
      " end always saves"
    )
  check_optimizer(config)
  schedules.check(config)


def check_optimizer(config: cfg.TrainerConfig) -> None:
  """Refuses optimizers that do not do what their settings say, and averages that never begin.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  prefix = "trainer.optimizer_config"
  if config.optimizer_config.optimizer.type == "adamw_experimental":
    raise ValueError(
      f"{prefix}.optimizer.type is 'adamw_experimental'; accepted: adamw, as the weight decay of "
      "that one takes in biases and norms"
    )
  averages = config.optimizer_config.ema
  if averages is None:
    return
  if averages.start_step >= config.train_steps:
    raise ValueError(
      f"{prefix}.ema.start_step is {averages.start_step}; accepted: below trainer.train_steps "
      f"({config.train_steps})"
    )


def check_clipping(config: optimization_config.OptimizationConfig) -> None:
  """Refuses a way of clipping that ours does not go, and names the other.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  clip_norm = config.optimizer.adamw.gradient_clip_norm
  if clip_norm != 0.0:
    raise ValueError(
      f"trainer.optimizer_config.optimizer.adamw.gradient_clip_norm is {clip_norm!r}; accepted: 0, "
      "and global_clipnorm in its place, which clips after replicas have added up their gradients"
    )


def check_weight_decay(
  optimizer: optimization_config.OptimizerConfig, config: detector.Regularization
) -> None:
  """Refuses weight decay by the optimizer on top of that in the loss.

  Raises:
    ValueError: naming the field, its value, and the fields of the loss.
  """
  found = optimization.weight_decay(optimizer)
  in_loss = [
    f"task.regularization.{field.name} ({getattr(config, field.name)})"
    for field in dataclasses.fields(config)
    if getattr(config, field.name)
  ]
  if found is not None and in_loss:
    field, value = found
    raise ValueError(
      f"trainer.optimizer_config.optimizer.{field} is {value}; accepted: 0, or 0 for each of "
      f"{', '.join(in_loss)}, as kernels would decay twice"
    )


def check_runtime(config: training.Runtime) -> None:
  """Refuses devices, precisions and forms of operations that no step can be built with.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  fields.check(config, "runtime")
  if config.crop_method == "native" and config.compiles:
    cause = "enable_xla is true" if config.enable_xla else "distribution_strategy is 'tpu'"
    raise ValueError(
      "runtime.crop_method is 'native'; accepted: auto or matmul where runtime."
      f"{cause}, because XLA cannot compile the native kernel"
    )
  _check_loss_scale(config)


def _check_loss_scale(config: training.Runtime) -> None:
  scale = config.loss_scale
  if scale is None:
    return
  if config.mixed_precision_dtype != "float16":
    raise ValueError(
      f"runtime.loss_scale is {quoting.shown(scale)}; accepted: null unless"
      " runtime.mixed_precision_dtype is float16"
    )


def _get(config: hyperparams.Config, path: str) -> Any:
  for name in path.split("."):
    config = getattr(config, name)
  return config
