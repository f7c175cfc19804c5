"""Settings of a cascade of main heads, and which of them go together.

Cai and Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection", CVPR 2018.
"""

import dataclasses
import itertools
from typing import Any

from official.modeling import hyperparams

from mtl_ssl_tf.configs.fields import setting
from mtl_ssl_tf.configs.ranges import FACTOR, SHARE, WEIGHT, ListOf

_MOST_STAGES = 8


@dataclasses.dataclass
class Cascade(hyperparams.Config):
  """Main heads one after the other, each on the boxes that the one before it predicts.

  Each predicts one box for all classes, whatever `class_agnostic_boxes` says. A list has an entry
  for each stage.
  """

  enabled: bool = setting(
    False,
    "whether there is one; needs `roi_head.type: fpn`. Each stage has layers of its own, as "
    "`roi_head.fpn` says",
  )
  ious: list[float] = setting(
    [0.5, 0.6, 0.7],
    "smallest IoU with an object that makes a box of a stage positive; the first is that of "
    "`positive_iou`, and none is below the one before it",
    bounds=ListOf(SHARE, longest=_MOST_STAGES),
  )
  delta_factors: list[float] = setting(
    [1.0, 2.0, 3.0],
    "how many times larger than in a detector without cascade the offsets are that a stage "
    "predicts, as later ones are smaller: 2 are factors 20, 20, 10, 10 of the box coder in place "
    "of 10, 10, 5, 5",
    bounds=ListOf(FACTOR, longest=_MOST_STAGES),
  )
  loss_weights: list[float] = setting(
    [1.0, 1.0, 1.0],
    "weights of a stage's two losses, on top of `class_loss_weight` and `box_loss_weight`",
    bounds=ListOf(WEIGHT, longest=_MOST_STAGES),
  )


def check(roi_head: Any) -> None:
  """Refuses settings of a cascade that contradict each other or those around them.

  Args:
    roi_head: a `detector.RoiHead`.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  cascade = roi_head.cascade
  if not cascade.enabled:
    return
  if roi_head.type != "fpn":
    raise ValueError(
      "task.roi_head.cascade.enabled is true; accepted: false where task.roi_head.type is "
      f"{roi_head.type!r}, or the type fpn"
    )
  for name in ("delta_factors", "loss_weights"):
    values = getattr(cascade, name)
    if len(values) != len(cascade.ious):
      raise ValueError(
        f"task.roi_head.cascade.{name} is {list(values)}; accepted: as many numbers as "
        f"task.roi_head.cascade.ious has, which is {len(cascade.ious)}"
      )
  if cascade.ious[0] != roi_head.positive_iou:
    raise ValueError(
      f"task.roi_head.cascade.ious is {list(cascade.ious)}; accepted: a first number equal to "
      f"task.roi_head.positive_iou ({roi_head.positive_iou}), which proposals are sampled by"
    )
  if any(later < earlier for earlier, later in itertools.pairwise(cascade.ious)):
    raise ValueError(
      f"task.roi_head.cascade.ious is {list(cascade.ious)}; accepted: none below the one before it"
    )
