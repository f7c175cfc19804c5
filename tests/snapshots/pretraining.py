"""Steps of pretraining by instance localisation and its probe, with settings not the defaults."""

import contextlib
import io
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tf_keras

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.tasks import insloc
from tests.data import voc_files
from tests.modeling.pretraining import small
from tests.snapshots import records, summary

_NUM_STEPS = 2
_TASK_BOXES = {"min_iou": 0.4, "cells": 8, "scales": [2.0, 3.0], "aspect_ratios": [0.8]}
_TASK = {
  **small.CONFIG,
  "seed": 4,
  "max_pool": 1,
  "temperature": 0.3,
  "momentum": 0.7,
  "weight_decay": 0.01,
  "probe_neighbours": 2,
  "box_augmentation": _TASK_BOXES,
}
_VARIANTS: dict[str, Mapping[str, Any]] = {
  "pretraining": {},
  "pretraining_image": {
    "pooling": "image",
    "shuffle": "replica",
    "projection_hidden": 0,
    "backbone": {"type": small.BACKBONE, "norm": {"type": "group", "groups": 2}},
  },
  "pretraining_pyramid": {
    **small.PYRAMID_CONFIG,
    "box_augmentation": {**_TASK_BOXES, "levels": [3, 5]},
    "fpn": {"depth": 6, "min_level": 3},
  },
  "pretraining_pool": {"shuffle": "none", "crop_size": 4, "max_pool": 2, "keep_border": False},
}
_TRAIN = {"global_batch_size": 4, "seed": 2, "composite": {"size": 48}}
_PROBE = {
  "global_batch_size": 2,
  "input_size": [64, 96],
  "short_side": 56,
  "long_side": 90,
  "max_num_boxes": 4,
}


def _numbers(name: str, folder: pathlib.Path) -> dict[str, Any]:
  records.write(folder)
  (folder / "images").mkdir()
  for number in range(8):
    image = voc_files.picture(60 + 9 * number, 90 - 7 * number).rotate(50 * number)
    image.save(folder / "images" / f"{number}.png")
  files = {
    "train_data": {
      **_TRAIN,
      "image_dir": str(folder / "images"),
      "store_dir": str(folder / "store"),
    },
    "validation_data": {**_PROBE, "input_path": str(folder / "val.tfrecord")},
  }
  params = experiments.insloc_c4()
  params.override({"task": {**_TASK, **files, **_VARIANTS[name]}}, is_strict=True)
  task = insloc.InsLocTask.for_run(params.task, params.runtime)
  model = task.build_model()
  _randomize(model)
  with contextlib.redirect_stderr(io.StringIO()):
    found = _training(task, model)
  found |= _probe(task, model)
  return found


SCENARIOS: dict[str, Callable[..., dict[str, Any]]] = dict.fromkeys(_VARIANTS, _numbers)


def numbers(name: str, folder: pathlib.Path) -> dict[str, Any]:
  """What steps of training change, and what the probe finds, in a folder of its own."""
  return summary.of(SCENARIOS[name](name, folder))


def _randomize(model: tf_keras.Model) -> None:
  """Draws new weights, so that biases and norms do something; both encoders differ."""
  rng = np.random.default_rng(0)
  for variable in model.variables:
    if variable.dtype.is_floating:
      fan_in = max(np.prod(variable.shape[:-1]), 1)
      drawn = rng.normal(0.0, 1.5 / np.sqrt(fan_in), variable.shape)
      variable.assign(0.5 + abs(drawn) if "variance" in variable.name else drawn)


def _training(task: insloc.InsLocTask, model: tf_keras.Model) -> dict[str, Any]:
  """Logs of some steps, and by how much they change each variable."""
  optimizer = tf_keras.optimizers.SGD(0.1)
  optimizer.build(model.trainable_variables)
  metrics = task.build_metrics(training=True)
  before = [variable.numpy() for variable in model.variables]
  found: dict[str, Any] = {}
  batches = task.build_inputs(task.task_config.train_data, first_batch=1)
  for step, batch in enumerate(batches.take(_NUM_STEPS)):
    logs = task.train_step(batch, model, optimizer, metrics)
    found |= {f"log/{step}/{name}": value for name, value in logs.items()}
  found |= {f"metric/{metric.name}": metric.result() for metric in metrics}
  for number, (variable, old) in enumerate(zip(model.variables, before, strict=True)):
    found[f"steps/{number} {variable.name}"] = variable.numpy() - old
  return found


def _probe(task: insloc.InsLocTask, model: tf_keras.Model) -> dict[str, Any]:
  found: dict[str, Any] = {}
  state = None
  for batch in task.build_inputs(task.task_config.validation_data):
    outputs = task.validation_step(batch, model)
    if state is None:
      found = {f"probe/{name}": value for name, value in outputs.items()}
    state = task.aggregate_logs(state, {name: [value] for name, value in outputs.items()})
  figures = task.reduce_aggregated_logs(state)
  found |= {f"figure/{name}": np.float64(value) for name, value in figures.items()}
  return found | {"lines": "\n".join(task.describe_evaluation(figures))}
