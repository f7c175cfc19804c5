"""Every row resolves to what it did when it was recorded, up to the names of fields."""

from typing import Any

import pytest

from tests.configs import resolved_rows

DATA = ("train_data", "validation_data")
# Field of the record -> today's field, and its values likewise.
RENAMED = (
  {f"task.{data}.canvas": f"task.{data}.input_layout" for data in DATA}
  | {f"task.{data}.canvas_size": f"task.{data}.input_size" for data in DATA}
  | {"task.auxiliary.trunk": "task.auxiliary.features"}
)
_LAYOUTS = {"square": "single", "aspect_buckets": "by_orientation"}
_FEATURES = {"own": "own_stage2", "classifier_features": "main_head"}
RENAMED_VALUES: dict[str, dict[str, str]] = dict.fromkeys(
  [f"task.{data}.canvas" for data in DATA], _LAYOUTS
) | {"task.auxiliary.trunk": _FEATURES}
# Field that the record does not have -> its value in every row.
NEW: dict[str, Any] = {
  "task.evaluation.auxiliary_costs": True,
  "task.evaluation.losses": False,
  "task.refinement.zeroed_input": "",
  "task.anchors.cells": 8.0,
  "task.anchors.level_scales": [1.0],
  "task.anchors.whole_px": False,
  "task.rpn.num_convs": 1,
  "task.fpn.depth": 256,
  "task.fpn.min_level": 2,
  "task.fpn.max_level": 6,
  "task.fpn.coarser": "subsample",
  "task.fpn.norm": "none",
  "task.roi_head.class_agnostic_boxes": False,
  "task.roi_head.cascade.enabled": False,
  "task.roi_head.cascade.ious": [0.5, 0.6, 0.7],
  "task.roi_head.cascade.delta_factors": [1.0, 2.0, 3.0],
  "task.roi_head.cascade.loss_weights": [1.0, 1.0, 1.0],
  "task.roi_head.fpn.layers": "2fc",
  "task.roi_head.fpn.dense_depth": 1024,
  "task.roi_head.fpn.conv_depth": 256,
  "task.roi_head.fpn.norm": "none",
  "task.roi_head.fpn.canonical_size_px": 224.0,
  "task.roi_head.fpn.samples": 2,
  "task.init_statistics_images": 64,
} | {
  f"task.{data}.{field}": value
  for data in DATA
  for field, value in {
    "scale_crop": "image",
    "augmentation.mosaic": 0.0,
    "augmentation.copy_paste": 0.0,
    "augmentation.rotate_90": 0.0,
    "augmentation.color_jitter.brightness": 0.0,
    "augmentation.color_jitter.contrast": 0.0,
    "augmentation.color_jitter.saturation": 0.0,
    "augmentation.color_jitter.hue": 0.0,
  }.items()
}

RECORDED = resolved_rows.recorded()


def flatten(fields: dict, path: str = "") -> dict[str, Any]:
  """Every value by its whole name; an empty mapping is a value."""
  found = {}
  for name, value in fields.items():
    is_group = isinstance(value, dict) and value
    found |= flatten(value, f"{path}{name}.") if is_group else {path + name: value}
  return found


def in_todays_words(recorded: dict[str, Any]) -> dict[str, Any]:
  """The recorded fields under the names that they have now, and the new ones."""
  renamed = {
    RENAMED.get(field, field): RENAMED_VALUES.get(field, {}).get(value, value)
    if isinstance(value, str)
    else value
    for field, value in recorded.items()
  }
  return renamed | NEW


def test_nothing_recorded_is_gone():
  assert set(RECORDED) <= set(resolved_rows.names())


@pytest.mark.parametrize("name", RECORDED)
def test_resolves_to_the_same(name):
  resolved = flatten(resolved_rows.resolve(name))
  # JSON has no tuples.
  resolved = {
    field: list(value) if isinstance(value, tuple) else value for field, value in resolved.items()
  }
  assert resolved == in_todays_words(flatten(RECORDED[name]))
