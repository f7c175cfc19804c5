"""Tests of what the commands on data do where a flag is not given."""

import os
import sys

import pytest

from mtl_ssl_tf.command_line import (
  browse,
  convert_coco,
  convert_voc,
  import_any,
  sparse_annotations,
  validate,
)

_BOX_RULES = {"clip_px": None, "ignore_faulty_boxes": True, "annotated_classes": None}
_CONVERTERS = {
  "label_map": None,
  "on_error": "fail",
  "num_shards": None,
  "workers": None,
  **_BOX_RULES,
}
_LAYOUT = {"split_share": None, "seed": 0, "missing_annotation": "fault"}
_DEFAULTS = {
  convert_voc: (["data_dir", "split", "output_dir"], _CONVERTERS | _LAYOUT),
  convert_coco: (["annotations", "image_dir", "split", "output_dir"], _CONVERTERS),
  import_any: (
    ["input", "output_dir"],
    _CONVERTERS | {"format": "yolo", "split": None, "datumaro_python": sys.executable},
  ),
  validate: (
    [],
    {
      **dict.fromkeys(("records", "data_dir", "annotations", "image_dir", "split", "label_map")),
      **_LAYOUT,
      **_BOX_RULES,
      "sample": 0,
      "experiment": "mtl_frcnn",
      "config_file": None,
      "data": "train_data",
      "min_boxes_per_class": 10,
      "duplicate_iou": 0.95,
      "report": None,
      "contact_sheet": None,
      "max_listed": 1000,
      "strict": False,
      "threads": len(os.sched_getaffinity(0)),
    },
  ),
  sparse_annotations: (
    ["input_dir", "split", "protocol"],
    {
      **dict.fromkeys(("share", "output_dir", "output_split", "num_shards")),
      "seed": 0,
      "one_box": "keep-one",
      "difficult": "keep",
    },
  ),
  browse: (
    ["output"],
    {
      **dict.fromkeys(("config_file", "model_dir", "checkpoint", "params_override", "first_batch")),
      "experiment": "mtl_frcnn",
      "num_images": 24,
    },
  ),
}


@pytest.mark.parametrize("command", _DEFAULTS, ids=lambda command: command.__name__.split(".")[-1])
def test_defaults(command):
  needed, expected = _DEFAULTS[command]
  flags = [f"--{name}=x" for name in needed] + ["--format=yolo"] * (command is import_any)
  assert vars(command.parser().parse_args(flags)) == expected | dict.fromkeys(needed, "x")
