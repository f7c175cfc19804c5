"""A detector on a feature pyramid, from the factory, small enough for tests."""

from typing import Any

from mtl_ssl_tf.configs import detector as config_lib
from mtl_ssl_tf.modeling import detector, factory
from tests.modeling import small

NUM_CLASSES = 4
SETTINGS = {
  "backbone": {"type": "mobilenet_v1", "depth_multiplier": 0.25, "norm": {"type": "group"}},
  "fpn": {"depth": 8, "min_level": 3, "max_level": 6},
  "anchors": {"cells": 4.0},
  "rpn": {"depth": 8, "num_proposals": 8, "pre_nms_top_k": 20},
  "roi_head": {
    "type": "fpn",
    "crop_size": 3,
    "fpn": {"dense_depth": 16, "conv_depth": 8, "canonical_size_px": 64.0},
  },
  "detections": {"max_total": 10},
}


def config(*overrides: dict[str, Any]) -> config_lib.MtlDetection:
  """Returns the settings, changed."""
  result = config_lib.MtlDetection()
  for override in (SETTINGS, *overrides):
    result.override(override, is_strict=True)
  return result


def build(*overrides: dict[str, Any], **options) -> detector.Detector:
  """Returns a detector with all heads and random weights, the same every time."""
  model = factory.build_detector(config(*overrides), NUM_CLASSES, **options)
  small.randomize(model)
  return model
