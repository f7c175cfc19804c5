"""A detector's start from a pretraining by instance localisation: what must fit, and statistics."""

import itertools
import logging
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.configs import insloc, yaml_files
from mtl_ssl_tf.data.pipeline import reader
from mtl_ssl_tf.modeling import detector, norm_statistics
from mtl_ssl_tf.reading import quoting
from mtl_ssl_tf.training import determinism, run_folder

_LOGGER = logging.getLogger(__name__)
# Images that are normalised together while statistics are estimated.
_BATCH_SIZE = 8
# Fields of the backbone that the weights depend on, by the beginning of the types that have them.
_FIELDS = {
  "type": "",
  "layout": "resnet",
  "depth_multiplier": "mobilenet",
  "fused_stage2": "mobilenet",
}
# The same on a feature pyramid: fields of a detector -> those of a pretraining.
_PYRAMID_FIELDS = {
  "fpn.depth": "fpn.depth",
  "roi_head.fpn.layers": "fpn_head.layers",
  "roi_head.fpn.dense_depth": "fpn_head.dense_depth",
  "roi_head.crop_size": "crop_size",
}
_CONVOLUTION_FIELD = {"roi_head.fpn.conv_depth": "fpn_head.conv_depth"}


def pretraining_task(weights: str) -> Mapping[str, Any] | None:
  """Returns the fields of the pretraining task in whose run's folder start weights lie, if any.

  Args:
    weights: of `task.init_checkpoint`: the folder of a run, one inside it, or a checkpoint there.
  """
  if not weights:
    return None
  folder = weights if tf.io.gfile.isdir(weights) else os.path.dirname(weights)
  for place in (folder, os.path.dirname(folder.rstrip("/"))):
    path = os.path.join(place, run_folder.PARAMS_FILE)
    if tf.io.gfile.exists(path):
      fields = yaml_files.read(path)[-1].fields
      return fields["task"] if insloc.is_pretraining(fields) else None
  return None


def check(config: detector_config.MtlDetection) -> None:
  """Refuses a detector of another form than that of the pretraining, if it starts from one.

  Weights of another layout have the same shapes and would be loaded into the wrong places.

  Raises:
    ValueError: naming the field, its value and that of the pretraining.
  """
  task = pretraining_task(config.init_checkpoint)
  if task is None:
    return
  ours, theirs = config.backbone, task.get("backbone")
  source = f"with task.init_checkpoint {quoting.shown(config.init_checkpoint)}"
  if not isinstance(theirs, Mapping) or not isinstance(theirs.get("norm"), Mapping):
    raise ValueError(
      f"{source}: {run_folder.PARAMS_FILE} there lacks task.backbone and its norm; accepted: that"
      " of a pretraining"
    )
  for name, prefix in _FIELDS.items():
    value = getattr(ours, name)
    if ours.type.startswith(prefix) and value != theirs.get(name):
      raise ValueError(
        f"task.backbone.{name} is {quoting.shown(value)}; accepted {source}:"
        f" {quoting.shown(theirs.get(name))}, as in that pretraining"
      )
  _check_norm("backbone.norm.type", ours.norm.type, theirs["norm"].get("type"), source)
  _check_head(config, run_folder.flatten(task), source)


def _check_norm(field: str, value: str, their_value: Any, source: str) -> None:
  kinds = ("none",), ("group",), ("frozen", "batch", "sync")
  accepted = next((kind for kind in kinds if their_value in kind), None)
  if accepted is None:
    raise ValueError(
      f"{source}: {run_folder.PARAMS_FILE} there has {quoting.shown(their_value)} where a"
      f" pretraining has the kind of normalisation for task.{field}; accepted:"
      f" {', '.join(itertools.chain(*kinds))}"
    )
  if value not in accepted:
    raise ValueError(
      f"task.{field} is {quoting.shown(value)}; accepted {source}: {', '.join(accepted)}, as that"
      f" pretraining had {quoting.shown(their_value)}"
    )


def _check_head(
  config: detector_config.MtlDetection, theirs: Mapping[str, Any], source: str
) -> None:
  """Refuses another kind of detector, or another pyramid and second stage on it."""
  on_pyramid = config.roi_head.type == "fpn"
  # There was one kind once.
  if on_pyramid != (theirs.get("head_type", "faster_rcnn") == "fpn"):
    accepted = "faster_rcnn, rfcn" if on_pyramid else "fpn"
    raise ValueError(
      f"task.roi_head.type is {quoting.shown(config.roi_head.type)}; accepted {source}: {accepted},"
      " as that pretraining was for"
    )
  if not on_pyramid:
    return
  ours = run_folder.flatten({"fpn": config.fpn.as_dict(), "roi_head": config.roi_head.as_dict()})
  has_convolutions = config.roi_head.fpn.layers == "4conv1fc"
  for field, other in (_PYRAMID_FIELDS | (_CONVOLUTION_FIELD if has_convolutions else {})).items():
    if ours[field] != theirs.get(other):
      raise ValueError(
        f"task.{field} is {quoting.shown(ours[field])}; accepted {source}:"
        f" {quoting.shown(theirs.get(other))}, as in that pretraining"
      )
  finest = theirs.get("fpn.min_level")
  if not isinstance(finest, int) or config.fpn.min_level < finest:
    raise ValueError(
      f"task.fpn.min_level is {config.fpn.min_level}; accepted {source}: from"
      f" {quoting.shown(finest)} on, the finest level of that pretraining"
    )
  _check_norm("fpn.norm", config.fpn.norm, theirs.get("fpn.norm"), source)
  if has_convolutions:
    their_norm = theirs.get("fpn_head.norm")
    _check_norm("roi_head.fpn.norm", config.roi_head.fpn.norm, their_norm, source)


def after_pretraining(model: detector.Detector, config: detector_config.MtlDetection) -> list[str]:
  """Estimates the statistics of frozen norms on training images; returns lines on the start.

  Args:
    model: the detector, with the weights of the pretraining.
    config: of the task.

  Raises:
    ValueError: the training data cannot be read.
  """
  copies = config.auxiliary.init_from == "main_stage2"
  parts = "stage 1" if model.pyramid is None else "network, pyramid"
  lines = [
    f"query encoder of a pretraining: {parts} and stage 2"
    + (", which the auxiliary second stages start from too" if copies else "")
    + "; its projection, key encoder and queue are left out"
  ]
  if "frozen" not in detector_config.norm_types(config):
    return lines
  if not config.init_statistics_images:
    _LOGGER.warning(
      "task.init_statistics_images is 0: frozen norms keep the statistics of composites, which are "
      "not those of the detector's images"
    )
    return lines
  num_batches = -(-config.init_statistics_images // _BATCH_SIZE)
  data = config.train_data.replace(global_batch_size=_BATCH_SIZE)
  batches = itertools.islice(determinism.Batches(reader.make_dataset(data)), num_batches)
  found = norm_statistics.estimate(model, config, batches, with_auxiliary=copies)
  return [
    *lines,
    f"statistics of {found.num_norms} frozen norms: estimated on {found.num_images} training "
    "images, with their boxes as regions",
  ]
