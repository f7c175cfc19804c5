"""A training step and an evaluation of detectors whose settings are not the defaults."""

import copy
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
import yaml

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.configs import experiments
from mtl_ssl_tf.tasks import co_mining, mtl_detection
from mtl_ssl_tf.training import driver
from tests.modeling import small, small_backbones
from tests.snapshots import records, summary

_DATA = {
  "global_batch_size": 4,
  "input_size": [64, 96],
  "short_side": 56,
  "long_side": 90,
  "max_num_boxes": 4,
}
_BASE = {
  "backbone": {"type": "blocks"},
  "anchors": {"base_size_px": 48.0, "scales": [0.5, 1.0], "aspect_ratios": [0.5, 1.0]},
  "rpn": {"depth": 8, "pre_nms_top_k": 40, "num_proposals": 16, "batch_size": 12},
  "roi_head": {"batch_size": 6, "crop_size": 3, "append_ground_truth": True},
  "auxiliary": {"multi_object": {"num_windows": 5}, "foreground": {"mask_size": 8}},
  "refinement": {"train_rois": 4, "num_windows": 3, "min_object_score": 0.0},
  "detections": {"max_per_class": 12, "max_total": 30},
  # Of weights that were not trained.
  "evaluation": {"iou_threshold": 0.1},
}
_OTHERWISE = {
  "seed": 3,
  "anchors": {"whole_px": True, "aspect_ratios": [0.7, 1.3]},
  "rpn": {
    "positive_iou": 0.4,
    "negative_iou": 0.2,
    "batch_size": 8,
    "positive_fraction": 0.3,
    "nms_iou": 0.8,
    "pre_nms_top_k": 90,
    "num_proposals": 40,
    "box_loss_weight": 0.7,
    "objectness_loss_weight": 1.3,
    "box_loss_sigma": 1.5,
    "num_convs": 2,
  },
  "roi_head": {
    "positive_fraction": 0.6,
    "positive_iou": 0.35,
    "append_ground_truth": False,
    "max_pool": 2,
    "crop_size": 4,
    "keep_border": False,
    "initializer": "glorot_uniform",
    "class_agnostic_boxes": True,
    "box_loss_weight": 1.4,
    "class_loss_weight": 0.6,
    "box_loss_sigma": 2.0,
  },
  "auxiliary": {
    "round_decimals": 2,
    "flip_labels": False,
    "stop_gradient_shared": True,
    "stop_gradient_includes_foreground": False,
    "multi_object": {
      "loss_weight": 0.4,
      "min_size_px": 20.0,
      "sampling": "center_clip",
      "resample": "offline_fixed",
      "empty_image": "background",
    },
    "closeness": {
      "loss_weight": 0.6,
      "include_same_class": False,
      "drop_background": True,
      "normalizer": "per_image_sum",
    },
    "foreground": {
      "loss_weight": 0.8,
      "mask_size": 6,
      "weighting": "inverse_area",
      "logit_activation": "tanh",
      "head": "conv3x3",
      "resize": "legacy",
    },
  },
  "refinement": {
    "loss_weight": 0.5,
    "num_windows": 4,
    "input": "probabilities",
    "residual": False,
    "stop_gradient_residual": False,
    "use_bias": True,
    "closeness_mean": "all_rows",
    "train_rois": 3,
    "min_object_score": 0.3,
    "max_proposals": 4,
  },
  "detections": {"score_threshold": 0.05, "nms_iou": 0.7, "max_per_class": 25, "max_total": 60},
  "regularization": {"backbone_l2": 0.1, "rpn_l2": 0.2, "head_l2": 0.3, "auxiliary_l2": 0.4},
  "train_data": {"difficult": "ignore", "crowd": "keep", "flip_probability": 1.0},
  "evaluation": {
    "metrics": ["coco", "voc"],
    "voc_ap": "11point",
    "iou_threshold": 0.15,
    "voc_inclusive_pixels": True,
    "errors": True,
    "score_threshold": 0.1,
    "losses": True,
  },
}
_MAPS = {
  "auxiliary": {
    "features": "shared_map",
    "shared_map": {"stride": 1, "reduce_depth": 4, "num_bins": 2, "crop_size": 4},
  },
}
_PYRAMID = {
  "backbone": {
    "type": "mobilenet_v1",
    "depth_multiplier": 0.25,
    # In training, 27 normalisations of few cells would make differences of rounding large.
    "norm": {"type": "frozen"},
    "freeze": ["Conv2d_0"],
  },
  "fpn": {"depth": 8, "min_level": 3, "max_level": 6, "coarser": "convolution", "norm": "batch"},
  "anchors": {"cells": 4.0, "level_scales": [1.0, 1.4]},
  "roi_head": {
    "type": "fpn",
    # More than there are proposals.
    "batch_size": 24,
    "crop_size": 3,
    "fpn": {
      "layers": "4conv1fc",
      "norm": "group",
      "dense_depth": 12,
      "conv_depth": 8,
      "canonical_size_px": 40.0,
      "samples": 1,
    },
  },
  "auxiliary": {"features": "main_head"},
}
_CASCADE = {
  "roi_head": {
    "cascade": {
      "enabled": True,
      "ious": [0.5, 0.55, 0.65],
      "delta_factors": [1.2, 1.5, 2.5],
      "loss_weights": [1.1, 0.7, 0.4],
    }
  }
}
_MINING = {
  "mining": {
    "score_threshold": 0.4,
    "nms_iou": 0.6,
    "same_class_iou": 0.1,
    "any_class_iou": 0.3,
    "num_slots": 9,
    "num_proposals": 12,
    "max_refined": 5,
    "min_size_px": 5.0,
    "start_step": 0,
    "warmup_steps": 4,
    "warmup_score_threshold": 0.45,
    "ignore_band": 0.05,
    "augmentation": {"probability": 1.0, "blur_probability": 0.5, "color_jitter": {"hue": 0.1}},
  },
}
_ONE_VIEW = {
  "mining": {
    "mode": "self_mining",
    "views": 1,
    "score_threshold": 0.5,
    "num_slots": 7,
    "labels_from": "annotations",
  }
}
_UNLABELLED = {
  "mining": {
    "mode": "joint",
    "augmentation": {"probability": 1.0},
    "unlabelled": {
      "mask_proposals": True,
      "mask_anchors": True,
      "consistency_loss_weight": 0.8,
      "min_objectness": 0.45,
      "max_iou": 0.25,
      "start_step": 2,
      "shared_proposals": True,
      "consistency_boxes": 5,
      "consistency_nms_iou": 0.4,
    },
  }
}

# Experiment, and what its task is set to, one on top of the other.
SCENARIOS = {
  "crops": (experiments.DEFAULT, ()),
  "crops_otherwise": (experiments.DEFAULT, (_OTHERWISE,)),
  "position_sensitive": (
    experiments.DEFAULT,
    ({"roi_head": {"type": "rfcn", "rfcn": {"reduce_depth": 6, "num_bins": 2, "crop_size": 4}}},),
  ),
  "auxiliary_maps": (experiments.DEFAULT, (_MAPS, {"train_data": {"difficult": "drop"}})),
  "pyramid": (
    experiments.DEFAULT,
    (_PYRAMID, {"refinement": {"min_object_score": 0.2, "train_rois": 0}}),
  ),
  "cascade": (experiments.DEFAULT, (_PYRAMID, _CASCADE)),
  "mining": (experiments.CO_MINING, (_MINING,)),
  "mining_one_view": (experiments.CO_MINING, (_ONE_VIEW, {"refinement": {"enabled": False}})),
  "mining_unlabelled": (experiments.CO_MINING, (_UNLABELLED,)),
}


def numbers(name: str, folder: pathlib.Path) -> dict[str, Any]:
  """What a step of training changes, and what an evaluation finds, on records in the folder."""
  experiment_name, overrides = SCENARIOS[name]
  records.write(folder)
  with small_backbones.registered():
    params = _experiment(folder, experiment_name, overrides)
    kind = co_mining.CoMiningTask if "mining" in name else mtl_detection.MtlDetectionTask
    task = kind(params.task)
    model = task.build_model()
    small.randomize(model)
    for variable in model.variables:
      if "variance" in variable.name:
        variable.assign(0.5 + tf.abs(variable))
      # A signal that nearly vanishes is scaled up with its rounding, which processors do otherwise.
      if "depthwise_kernel" in variable.name:
        variable.assign(np.sqrt(variable.shape[2]) * variable)
      if "gamma" in variable.name:
        variable.assign(1.0 + 0.2 * variable)
      if "/box/" in variable.name:  # So that boxes stay near their anchors, and meet some objects.
        variable.assign(0.1 * variable)
      if "/class/" in variable.name:  # So that scores are not all 0 and 1.
        variable.assign(0.4 * variable)
    found = _training(task, model)
    found |= _evaluation(task, model)
  return summary.of(found)


def _experiment(folder: pathlib.Path, name: str, overrides: tuple[Mapping, ...]):
  files = {
    "label_map": str(folder / "label_map.txt"),
    "train_data": {**_DATA, "input_path": str(folder / "train.tfrecord")},
    "validation_data": {**_DATA, "input_path": str(folder / "val.tfrecord")},
  }
  task: dict[str, Any] = {}
  for fields in (_BASE, files, *overrides):
    _merge(task, fields)
  path = folder / "snapshot.yaml"
  path.write_text(yaml.safe_dump({"task": task}))
  return driver.load_experiment(name, [str(path)], "{}")


def _merge(into: dict[str, Any], fields: Mapping[str, Any]) -> None:
  for name, value in fields.items():
    if isinstance(value, Mapping):
      _merge(into.setdefault(name, {}), value)
    else:
      into[name] = copy.deepcopy(value)


def _training(task: mtl_detection.MtlDetectionTask, model: tf_keras.Model) -> dict[str, Any]:
  """Logs of two steps, and by how much the first changes each weight."""
  optimizer = tf_keras.optimizers.SGD(1.0)
  optimizer.build(model.trainable_variables)
  metrics = task.build_metrics(training=True)
  before = [variable.numpy() for variable in model.variables]
  found: dict[str, Any] = {}
  batches = task.build_inputs(task.task_config.train_data, first_batch=1)
  for step, batch in enumerate(batches.take(2), start=1):
    found |= {f"batch/{step}/{name}": value for name, value in _flat(batch).items()}
    optimizer.iterations.assign(step)
    logs = task.train_step(batch, model, optimizer, metrics)
    found |= {f"log/{step}/{name}": value for name, value in logs.items()}
    for variable, old in zip(model.variables, before, strict=True):
      if step == 1:
        found[f"step/{variable.name}"] = variable.numpy() - old
      variable.assign(old)
  return found | {f"metric/{metric.name}": metric.result() for metric in metrics}


def _evaluation(task: mtl_detection.MtlDetectionTask, model: tf_keras.Model) -> dict[str, Any]:
  """Outputs for the first validation batch, and the figures of the whole evaluation."""
  task.prepare_evaluation(writes=False)
  found, state = {}, None
  for batch in task.build_inputs(task.task_config.validation_data):
    outputs = task.validation_step(batch, model)
    if state is None:
      found = {f"validation/{name}": value for name, value in _flat(outputs).items()}
    state = task.aggregate_logs(state, {name: [value] for name, value in outputs.items()})
  figures = task.reduce_aggregated_logs(state, tf.constant(7))
  found |= {f"figure/{name}": np.float64(value) for name, value in figures.items()}
  lines = [*task.describe_evaluation(figures), *task.evaluation_warnings(figures)]
  found["lines"] = re.sub(r"[\d.]+", "#", "\n".join(lines))  # The figures are kept above.
  for number, picture in enumerate(task.draw_evaluation()):
    found[f"picture/{number}"] = picture
  worth = task._evaluation.worth()
  return found if worth is None else found | {"worth": list(worth[1:])}


def _flat(structure: Any, prefix: str = "") -> dict[str, Any]:
  """The tensors of a nested structure by path."""
  if isinstance(structure, Mapping):
    items = structure.items()
  elif hasattr(structure, "_asdict"):
    items = structure._asdict().items()
  elif isinstance(structure, (tuple, list)):
    items = enumerate(structure)
  else:
    return {} if structure is None else {prefix.rstrip("/"): structure}
  found = {}
  for name, value in items:
    found |= _flat(value, f"{prefix}{name}/")
  return found
