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


def check_backbone(config: detector_config.MtlDetection) -> None:
  """Refuses a backbone of another form than that of the pretraining, if it starts from one.

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
  their_norm = theirs["norm"].get("type")
  if (ours.norm.type == "group") != (their_norm == "group"):
    accepted = "group" if ours.norm.type != "group" else "frozen, batch, sync"
    raise ValueError(
      f"task.backbone.norm.type is {quoting.shown(ours.norm.type)}; accepted {source}: {accepted},"
      f" as that pretraining had {quoting.shown(their_norm)}"
    )


def after_pretraining(model: detector.Detector, config: detector_config.MtlDetection) -> list[str]:
  """Estimates the statistics of frozen norms on training images; returns lines on the start.

  Args:
    model: the detector, with the weights of the pretraining.
    config: of the task.

  Raises:
    ValueError: the training data cannot be read.
  """
  copies = config.auxiliary.init_from == "main_stage2"
  lines = [
    "query encoder of a pretraining: stage 1 and stage 2"
    + (", which the auxiliary second stages start from too" if copies else "")
    + "; its projection, key encoder and queue are left out"
  ]
  if config.backbone.norm.type != "frozen":
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
  found = norm_statistics.estimate(model, config.backbone, batches, with_auxiliary=copies)
  return [
    *lines,
    f"statistics of {found.num_norms} frozen norms: estimated on {found.num_images} training "
    "images, with their boxes as regions",
  ]
