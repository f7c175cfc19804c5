"""The setups to measure: configurations, their variants, and curves of growth.

Data only, so that the command need not load TensorFlow.
"""

import dataclasses
from typing import Any

# Of the configurations.
FOLDERS = ("configs/experiments", "benchmarks/cost/configs")
HEIGHT, WIDTH = 600, 1024
# A multiple of the coarsest map's stride, which Model Garden's pyramid needs.
PYRAMID_HEIGHT = 640
PRECISIONS = ("float32", "bfloat16")
FULL_IMAGE = (HEIGHT, WIDTH)
SMALL_IMAGE = (128, 160)


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of the table of steps.

  Attributes:
    config: name of a file in `FOLDERS`.
    baseline: name of the row that its times are divided by.
    override: what differs from the file, as of `--params_override`.
    height: of the input; `WIDTH` is that of all rows.
  """

  config: str
  baseline: str
  override: dict[str, Any] = dataclasses.field(default_factory=dict)
  height: int = HEIGHT


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
  """Returns two nested mappings as one; the second one wins."""
  result = dict(first)
  for key, value in second.items():
    both = isinstance(value, dict) and isinstance(result.get(key), dict)
    result[key] = merged(result[key], value) if both else value
  return result


def _features(value: str) -> dict[str, Any]:
  return {"task": {"auxiliary": {"features": value}}}


# All three auxiliary tasks and refinement, with the loss weights of the paper.
_METHOD = {
  "task": {
    "auxiliary": {
      "multi_object": {"loss_weight": 1.0},
      "closeness": {"loss_weight": 0.3},
      "foreground": {"loss_weight": 1.0},
    },
    "refinement": {"enabled": True},
  }
}
ROWS = {
  "frcnn_resnet101_baseline": Row("voc07_frcnn_resnet101_baseline", "frcnn_resnet101_baseline"),
  "frcnn_resnet101_mtl": Row("voc07_frcnn_resnet101_mtl", "frcnn_resnet101_baseline"),
  # Random weights find every proposal likely, so that all are refined in the row above.
  "frcnn_resnet101_mtl_200_refined": Row(
    "voc07_frcnn_resnet101_mtl",
    "frcnn_resnet101_baseline",
    {"task": {"refinement": {"max_proposals": 200}}},
  ),
  "frcnn_resnet101_mtl_recompute": Row(
    "voc07_frcnn_resnet101_mtl",
    "frcnn_resnet101_baseline",
    {"task": {"backbone": {"recompute": True}}},
  ),
  "frcnn_resnet101_mtl_shared_map": Row(
    "voc07_frcnn_resnet101_mtl", "frcnn_resnet101_baseline", _features("shared_map")
  ),
  "frcnn_resnet101_mtl_main_head": Row(
    "voc07_frcnn_resnet101_mtl", "frcnn_resnet101_baseline", _features("main_head")
  ),
  "frcnn_resnet101_task1": Row("voc07_frcnn_resnet101_task1", "frcnn_resnet101_baseline"),
  "rfcn_resnet101_baseline": Row("voc07_rfcn_resnet101_baseline", "rfcn_resnet101_baseline"),
  "rfcn_resnet101_mtl": Row("voc07_rfcn_resnet101_mtl", "rfcn_resnet101_baseline"),
  "frcnn_mobilenet_baseline": Row("voc07_frcnn_mobilenet_baseline", "frcnn_mobilenet_baseline"),
  "frcnn_mobilenet_mtl": Row("voc07_frcnn_mobilenet_mtl", "frcnn_mobilenet_baseline"),
  "frcnn_mobilenet_mtl_shared_map": Row(
    "voc07_frcnn_mobilenet_mtl", "frcnn_mobilenet_baseline", _features("shared_map")
  ),
  "fpn_resnet50_baseline": Row("fpn_resnet50", "fpn_resnet50_baseline", height=PYRAMID_HEIGHT),
  "fpn_resnet50_mtl": Row("fpn_resnet50", "fpn_resnet50_baseline", _METHOD, PYRAMID_HEIGHT),
  "fpn_resnet50_mtl_shared_map": Row(
    "fpn_resnet50",
    "fpn_resnet50_baseline",
    merged(_METHOD, _features("shared_map")),
    PYRAMID_HEIGHT,
  ),
  "fpn_resnet50_cascade": Row(
    "fpn_resnet50",
    "fpn_resnet50_baseline",
    {"task": {"roi_head": {"cascade": {"enabled": True}}}},
    PYRAMID_HEIGHT,
  ),
}
# Part by part.
PARTS_ROWS = (
  "frcnn_resnet101_baseline",
  "frcnn_resnet101_mtl",
  "frcnn_resnet101_mtl_shared_map",
)
# Windows in a loop, as where not all proposals are refined, could not be counted.
PARTS_OVERRIDE = {"task": {"refinement": {"min_object_score": 0.0}}}
# For `--small`: figures that mean nothing, quickly.
FEW_REGIONS = {
  "task": {
    "rpn": {"num_proposals": 32},
    "roi_head": {"batch_size": 16},
    "auxiliary": {"multi_object": {"num_windows": 8}},
  }
}


@dataclasses.dataclass(frozen=True)
class Setup:
  """A configuration on made-up images.

  Attributes:
    config: name of a file in `FOLDERS`.
    override: what differs from it.
    precision: that stages compute in.
    height, width: of the input, which the images fill.
    num_classes: of objects.
    num_boxes: of an image.
    batch_size: images.
  """

  config: str
  override: dict[str, Any]
  precision: str = "float32"
  height: int = HEIGHT
  width: int = WIDTH
  num_classes: int = 20
  num_boxes: int = 5
  batch_size: int = 1


def row_setup(
  name: str, precision: str, small: bool = False, override: dict[str, Any] | None = None
) -> Setup:
  """Returns the setup of a row of `ROWS`, with what else differs."""
  row = ROWS[name]
  override = merged(row.override, override or {})
  if not small:
    return Setup(row.config, override, precision, row.height)
  height, width = SMALL_IMAGE
  return Setup(row.config, merged(FEW_REGIONS, override), precision, height, width)


@dataclasses.dataclass(frozen=True)
class Curve:
  """One quantity that grows while all else stays.

  Attributes:
    values: its sizes.
    field: of `Setup`, or a path in the configuration such as `task/rpn/num_proposals`; several
      are separated by spaces and take the same value.
    inference: whether inference depends on it.
  """

  values: tuple[int, ...]
  field: str
  inference: bool = True


CURVES = {
  "proposals": Curve(
    (50, 100, 200, 400, 700, 1000), "task/rpn/num_proposals task/roi_head/batch_size"
  ),
  "windows": Curve((16, 32, 64, 128, 256), "task/auxiliary/multi_object/num_windows", False),
  "boxes": Curve(
    (1, 5, 20, 100, 250, 500), "num_boxes task/train_data/max_num_boxes", inference=False
  ),
  "classes": Curve((2, 20, 100, 300, 600, 1200), "num_classes"),
  "side": Curve((320, 480, 640, 960, 1280), "height width"),
  "batch": Curve((1, 2, 4, 8, 16), "batch_size"),
}
# All of a curve's points have this in common. Fewer regions than published, so that a point takes
# seconds.
GROWTH_SETUP = Setup(
  "voc07_frcnn_mobilenet_mtl",
  {
    "task": {
      "rpn": {"num_proposals": 50},
      "roi_head": {"batch_size": 32},
      "auxiliary": {"multi_object": {"num_windows": 32}},
      "refinement": {"train_rois": 0},
    }
  },
  height=320,
  width=512,
)


def growth_setup(curve: str, value: int, small: bool = False) -> Setup:
  """Returns the setup of one point of a curve of `CURVES`."""
  setup = GROWTH_SETUP
  if small:
    height, width = SMALL_IMAGE
    override = merged(setup.override, FEW_REGIONS)
    setup = dataclasses.replace(setup, override=override, height=height, width=width)
  override, changed = setup.override, {}
  for field in CURVES[curve].field.split():
    if "/" not in field:
      changed[field] = value
      continue
    nested: Any = value
    for key in reversed(field.split("/")):
      nested = {key: nested}
    override = merged(override, nested)
  return dataclasses.replace(setup, override=override, **changed)
