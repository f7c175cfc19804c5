"""Checks of a whole configuration before anything is built from it."""

import difflib
from collections.abc import Mapping
from typing import Any

from official.modeling import hyperparams

from mtl_ssl_tf.configs import detector

# Path of a field of the task -> accepted values.
CHOICES = {
  "backbone.type": ("mobilenet_v1",),
  "backbone.norm.type": ("frozen", "batch", "sync", "group"),
  "auxiliary.multi_object.sampling": ("top_left", "center_clip"),
  "auxiliary.multi_object.resample": ("online", "offline_fixed"),
  "auxiliary.multi_object.empty_image": ("no_loss", "background"),
  "auxiliary.closeness.normalizer": ("batch_positives", "per_image_sum"),
  "auxiliary.foreground.weighting": ("uniform", "inverse_area"),
  "auxiliary.foreground.logit_activation": ("linear", "tanh"),
  "auxiliary.foreground.head": ("conv1x1", "conv3x3"),
  "auxiliary.foreground.resize": ("half_pixel", "legacy"),
  "auxiliary.init_from": ("main_stage2", "random"),
  "refinement.input": ("logits", "probabilities"),
  "refinement.closeness_mean": ("per_image_valid", "all_rows"),
  "evaluation.voc_ap": ("area", "11point"),
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
  "roi_head.batch_size": (1, None),
  "roi_head.positive_fraction": (0.0, 1.0),
  "roi_head.positive_iou": (0.0, 1.0),
  "roi_head.crop_size": (1, None),
  "roi_head.max_pool": (1, None),
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
  "refinement.train_rois": (0, None),
  "refinement.loss_weight": (0.0, None),
  "regularization.backbone_l2": (0.0, None),
  "regularization.rpn_l2": (0.0, None),
  "regularization.head_l2": (0.0, None),
  "regularization.auxiliary_l2": (0.0, None),
}


def check_keys(overrides: Mapping[str, Any], config: hyperparams.Config, source: str) -> None:
  """Refuses keys that the configuration does not have.

  Args:
    overrides: nested mapping, as read from a YAML file.
    config: what it is to override.
    source: where it comes from, for the message.

  Raises:
    ValueError: naming the source, the whole key and the nearest one that exists.
  """
  _check_keys(overrides, config, source, ())


def check_task(config: detector.MtlDetection) -> None:
  """Refuses values that no detector can be built from.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  for path, accepted in CHOICES.items():
    value = _get(config, path)
    if value not in accepted:
      raise ValueError(f"task.{path} is {value!r}; accepted: {', '.join(accepted)}")
  for path, (low, high) in RANGES.items():
    value = _get(config, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
      raise ValueError(f"task.{path} is {value!r}; accepted: a number")
    if isinstance(low, int) and not isinstance(value, int):
      raise ValueError(f"task.{path} is {value!r}; accepted: a whole number")
    # Written so that NaN is refused too.
    if not (value >= low and (high is None or value <= high)):
      bounds = f"at least {low}" if high is None else f"{low} to {high}"
      raise ValueError(f"task.{path} is {value!r}; accepted: {bounds}")
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
  decimals = config.auxiliary.round_decimals
  if decimals is not None and (not isinstance(decimals, int) or decimals < 1):
    raise ValueError(
      f"task.auxiliary.round_decimals is {decimals!r}; accepted: a whole number above 0, or null"
    )
  if not config.label_map:
    raise ValueError(
      "task.label_map is empty; accepted: the label_map.txt that the converter wrote"
    )


def _get(config: hyperparams.Config, path: str) -> Any:
  for name in path.split("."):
    config = getattr(config, name)
  return config


def _check_keys(overrides: Any, config: Any, source: str, path: tuple[str, ...]) -> None:
  if not isinstance(config, hyperparams.Config):
    return
  where = ".".join(path)
  if overrides is None and path:
    return
  if not isinstance(overrides, Mapping):
    field = f"field {where!r}" if path else "the file"
    raise ValueError(f"{source}: {field} is {overrides!r}; accepted: a mapping of field to value")
  # Not `as_dict`, which hides the alternatives that are not chosen.
  known = [name for name in vars(config) if name not in config.RESERVED_ATTR]
  for key, value in overrides.items():
    full = ".".join((*path, str(key)))
    if key not in known:
      nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
      hint = ".".join((*path, nearest[0])) if nearest else "none"
      raise ValueError(
        f"{source}: unknown field {full!r}; the nearest is {hint!r} (here: {', '.join(known)})"
      )
    _check_keys(value, getattr(config, key), source, (*path, str(key)))
