"""Checks the values of a whole configuration before anything is built from it."""

from collections.abc import Mapping
from typing import Any

from official.core import config_definitions as cfg
from official.modeling import hyperparams

from mtl_ssl_tf.configs import data_validation, detector, training

# Path of a field of the task -> accepted values.
CHOICES = {
  "init_modules": ("all", "backbone"),
  "backbone.layout": ("slim", "keras"),
  "backbone.norm.type": ("frozen", "batch", "sync", "group"),
  "roi_head.type": ("faster_rcnn", "rfcn"),
  "roi_head.initializer": ("truncated_normal", "glorot_uniform"),
  "auxiliary.trunk": ("own", "shared_map", "classifier_features"),
  "auxiliary.multi_object.sampling": ("top_left", "center_clip"),
  "auxiliary.multi_object.resample": ("online", "offline_fixed"),
  "auxiliary.multi_object.empty_image": ("no_loss", "background"),
  "auxiliary.closeness.normalizer": ("batch_positives", "per_image_sum"),
  "auxiliary.foreground.weighting": ("uniform", "inverse_area"),
  "auxiliary.foreground.logit_activation": ("linear", "tanh"),
  "auxiliary.foreground.head": ("conv1x1", "conv3x3"),
  "auxiliary.foreground.resize": ("half_pixel", "legacy"),
  "auxiliary.init_from": ("main_stage2", "random"),
  "roi_head.convolution": ("auto", "direct", "fourier"),
  "refinement.input": ("logits", "probabilities"),
  "refinement.closeness_mean": ("per_image_valid", "all_rows"),
  "evaluation.voc_ap": ("area", "11point"),
} | {
  f"{data}.{name}": ("keep", "ignore", "drop")
  for data in ("train_data", "validation_data")
  for name in ("difficult", "crowd")
}
CHOICES |= {f"{data}.canvas": ("square", "aspect_buckets") for data in data_validation.DATA}
METRICS = ("voc", "coco")
# None, and "float32" as well, is ordinary precision.
RUNTIME_CHOICES = {
  "crop_method": ("auto", "native", "matmul"),
  "mixed_precision_dtype": (None, "float32", "bfloat16", "float16"),
  "distribution_strategy": ("one_device", "mirrored", "multi_worker_mirrored", "tpu"),
}
# Path of a field -> smallest and largest accepted value, None for no bound.
RANGES = {
  "backbone.depth_multiplier": (0.125, 2.0),
  "backbone.norm.momentum": (0.0, 1.0),
  "backbone.norm.groups": (1, None),
  "anchors.base_size_px": (1.0, None),
  "rpn.depth": (1, None),
  "rpn.batch_size": (1, None),
  "rpn.positive_fraction": (0.0, 1.0),
  "rpn.positive_iou": (0.0, 1.0),
  "rpn.negative_iou": (0.0, 1.0),
  "rpn.nms_iou": (0.0, 1.0),
  "rpn.pre_nms_top_k": (0, None),
  "rpn.num_proposals": (1, None),
  "rpn.box_loss_weight": (0.0, None),
  "rpn.objectness_loss_weight": (0.0, None),
  "rpn.box_loss_sigma": (0.1, None),
  "roi_head.batch_size": (1, None),
  "roi_head.positive_fraction": (0.0, 1.0),
  "roi_head.positive_iou": (0.0, 1.0),
  "roi_head.crop_size": (1, None),
  "roi_head.max_pool": (1, None),
  "roi_head.rfcn.reduce_depth": (1, None),
  "roi_head.rfcn.num_bins": (1, None),
  "roi_head.rfcn.crop_size": (1, None),
  "roi_head.box_loss_weight": (0.0, None),
  "roi_head.class_loss_weight": (0.0, None),
  "roi_head.box_loss_sigma": (0.1, None),
  "detections.score_threshold": (0.0, 1.0),
  "detections.nms_iou": (0.0, 1.0),
  "detections.max_per_class": (1, None),
  "detections.max_total": (1, None),
  "auxiliary.multi_object.loss_weight": (0.0, None),
  "auxiliary.multi_object.num_windows": (1, None),
  "auxiliary.multi_object.min_size_px": (1.0, None),
  "auxiliary.closeness.loss_weight": (0.0, None),
  "auxiliary.foreground.loss_weight": (0.0, None),
  "auxiliary.foreground.mask_size": (1, None),
  "refinement.num_windows": (2, None),
  "auxiliary.shared_map.stride": (1, 2),
  "auxiliary.shared_map.reduce_depth": (0, None),
  "auxiliary.shared_map.num_bins": (1, None),
  "auxiliary.shared_map.crop_size": (1, None),
  "refinement.train_rois": (0, None),
  "refinement.min_object_score": (0.0, 1.0),
  "refinement.max_proposals": (0, None),
  "refinement.loss_weight": (0.0, None),
  "regularization.backbone_l2": (0.0, None),
  "regularization.rpn_l2": (0.0, None),
  "regularization.head_l2": (0.0, None),
  "regularization.auxiliary_l2": (0.0, None),
  "pictures.interval": (0, None),
  "pictures.num_images": (1, None),
  "pictures.score_threshold": (0.0, 1.0),
  "evaluation.score_threshold": (0.0, 1.0),
} | {
  f"{data}.{name}": bounds
  for data in ("train_data", "validation_data")
  for name, bounds in {
    "global_batch_size": (1, None),
    "short_side": (1, None),
    "long_side": (1, None),
    "max_num_boxes": (1, None),
    "flip_probability": (0.0, 1.0),
    "vertical_flip_probability": (0.0, 1.0),
  }.items()
}
# The same of the trainer.
TRAINER_RANGES = {
  "train_steps": (1, None),
  "steps_per_loop": (1, None),
  "summary_interval": (1, None),
  "checkpoint_interval": (1, None),
  "validation_interval": (1, None),
  "max_to_keep": (1, None),
  "base_batch_size": (1, None),
  "best_checkpoints_to_keep": (1, None),
  "early_stopping_patience": (0, None),
  "recovery_max_trials": (0, training.MAX_SKIPPED_BATCHES),
  "recovery_begin_steps": (0, None),
}
TRAINER_CHOICES = {
  "nonfinite": ("stop", "recover"),
  "best_checkpoint_metric_comp": ("higher", "lower"),
}
RATE_SCALINGS = ("none", "linear")
# Fields of Model Garden's learning rates that need no value.
OPTIONAL_RATE_FIELDS = ("staircase",)


def check_task(config: detector.MtlDetection) -> None:
  """Refuses values that no detector can be built from.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  for path, accepted in CHOICES.items():
    value = _get(config, path)
    if value not in accepted:
      raise ValueError(f"task.{path} is {value!r}; accepted: {', '.join(accepted)}")
  _check_ranges(config, RANGES, "task")
  data_validation.check_data(config)
  for path in ("anchors.scales", "anchors.aspect_ratios"):
    values = _get(config, path)
    if not values or not all(isinstance(v, int | float) and v > 0.0 for v in values):
      raise ValueError(f"task.{path} is {values!r}; accepted: a list of numbers above 0")
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
  backbone = config.backbone
  if backbone.recompute and backbone.norm.type not in ("frozen", "group"):
    raise ValueError(
      f"task.backbone.recompute is true; accepted: false where task.backbone.norm.type is "
      f"{backbone.norm.type!r}, whose statistics would see every batch twice"
    )
  if config.roi_head.convolution == "fourier" and backbone.norm.type == "group":
    raise ValueError(
      "task.roi_head.convolution is 'fourier'; accepted: auto or direct where"
      " task.backbone.norm.type is 'group', which normalises every crop by itself"
    )
  if config.auxiliary.trunk == "classifier_features" and config.roi_head.type == "rfcn":
    raise ValueError(
      "task.auxiliary.trunk is 'classifier_features'; accepted: own or shared_map where "
      "task.roi_head.type is 'rfcn', whose second stage has no features of a single region"
    )
  decimals = config.auxiliary.round_decimals
  if decimals is not None and (not isinstance(decimals, int) or decimals < 1):
    raise ValueError(
      f"task.auxiliary.round_decimals is {decimals!r}; accepted: a whole number above 0, or null"
    )
  metrics = config.evaluation.metrics
  if not metrics or sorted(metrics) != sorted(set(metrics) & set(METRICS)):
    raise ValueError(
      f"task.evaluation.metrics is {metrics!r}; accepted: a list of {' and '.join(METRICS)}, or of"
      " one of them"
    )
  if config.evaluation.coco_annotations and "coco" not in metrics:
    raise ValueError(
      f"task.evaluation.coco_annotations is {config.evaluation.coco_annotations!r}; accepted:"
      " empty, or a file where task.evaluation.metrics holds coco"
    )
  if not config.label_map:
    raise ValueError(
      "task.label_map is empty; accepted: the label_map.txt that the converter wrote"
    )


def check_trainer(config: cfg.TrainerConfig) -> None:
  """Refuses values that would end a run in its midst, or never.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  for path, accepted in TRAINER_CHOICES.items():
    value = _get(config, path)
    if value not in accepted:
      raise ValueError(f"trainer.{path} is {value!r}; accepted: {', '.join(accepted)}")
  _check_ranges(config, TRAINER_RANGES, "trainer")
  if config.summary_interval % config.steps_per_loop:
    raise ValueError(
      f"trainer.summary_interval is {config.summary_interval}; accepted: a multiple of "
      f"trainer.steps_per_loop ({config.steps_per_loop})"
    )
  if config.learning_rate_scaling not in RATE_SCALINGS:
    raise ValueError(
      f"trainer.learning_rate_scaling is {config.learning_rate_scaling!r}; accepted: "
      f"{', '.join(RATE_SCALINGS)}"
    )
  if not config.preemption_on_demand_checkpoint:
    raise ValueError(
      "trainer.preemption_on_demand_checkpoint is False; accepted: True, as a run that is asked to"
      " end always saves"
    )
  if config.validation_steps != -1 and config.validation_steps < 1:
    raise ValueError(
      f"trainer.validation_steps is {config.validation_steps}; accepted: at least 1, or -1 for all"
    )
  for name in ("learning_rate", "warmup"):
    group = getattr(config.optimizer_config, name)
    for field, value in vars(group.get()).items() if group.type else ():
      if value is None and field not in OPTIONAL_RATE_FIELDS:
        raise ValueError(
          f"trainer.optimizer_config.{name}.{group.type}.{field} is not set; accepted: a value"
        )


def check_runtime(config: training.Runtime) -> None:
  """Refuses devices, precisions and forms of operations that no step can be built with.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  for name, accepted in RUNTIME_CHOICES.items():
    value = getattr(config, name)
    if value not in accepted:
      choices = ", ".join("null" if choice is None else choice for choice in accepted)
      raise ValueError(f"runtime.{name} is {value!r}; accepted: {choices}")
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
  is_number = isinstance(scale, int | float) and not isinstance(scale, bool)
  if not (scale == "dynamic" or (is_number and 1.0 <= scale < float("inf"))):
    raise ValueError(
      f"runtime.loss_scale is {scale!r}; accepted: dynamic, a number of at least 1, or null"
    )
  if config.mixed_precision_dtype != "float16":
    raise ValueError(
      f"runtime.loss_scale is {scale!r}; accepted: null unless runtime.mixed_precision_dtype is "
      "float16"
    )


def _check_ranges(config: hyperparams.Config, ranges: Mapping[str, tuple], prefix: str) -> None:
  for path, (low, high) in ranges.items():
    value = _get(config, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
      raise ValueError(f"{prefix}.{path} is {value!r}; accepted: a number")
    if isinstance(low, int) and not isinstance(value, int):
      raise ValueError(f"{prefix}.{path} is {value!r}; accepted: a whole number")
    # Written so that NaN is refused too.
    if not (value >= low and (high is None or value <= high)):
      bounds = f"at least {low}" if high is None else f"{low} to {high}"
      raise ValueError(f"{prefix}.{path} is {value!r}; accepted: {bounds}")


def _get(config: hyperparams.Config, path: str) -> Any:
  for name in path.split("."):
    config = getattr(config, name)
  return config
