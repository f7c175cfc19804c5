"""Arms of the study of Co-mining: ways of training on images that lack annotations."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

_PLAIN, _MINING = "mtl_frcnn", "mtl_frcnn_co_mining"
# The strengths that the paper's code has for the second view.
_JITTER = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
JOINT, CO_MINING = "joint", "co_mining"
# Settings of `task.mining.unlabelled` by the name of the arm.
_MASKING, _CONSISTENCY = {"mask_proposals": True}, {"consistency_loss_weight": 1.0}
UNLABELLED = {
  "masking": _MASKING,
  "consistency": _CONSISTENCY,
  "masking_consistency": _MASKING | _CONSISTENCY,
  "masking_anchors": _MASKING | {"mask_anchors": True},
}


@dataclasses.dataclass(frozen=True)
class Arm:
  """A way of training.

  Attributes:
    name: of the arm, and of its folder.
    experiment: as `--experiment` takes it.
    num_views: of each image in a step. An arm of one view has twice as many images in a step, so
      that all steps see as many views.
    task: fields over those of the configuration.
    overrides: fields over all others, as `--params_override` takes them.
  """

  name: str
  experiment: str
  num_views: int
  task: Mapping[str, Any]
  overrides: str = ""

  def content(self) -> dict[str, Any]:
    """Returns what the arm sets, for comparing it with that of earlier runs."""
    return json.loads(json.dumps(dataclasses.asdict(self)))


def named(threshold: float | None = None) -> dict[str, Arm]:
  """Returns the arms that there always are, by name.

  Args:
    threshold: of those that mine; None is the configuration's.
  """
  mining = {} if threshold is None else {"score_threshold": threshold}
  self_mining = {"mode": "self_mining", "views": 1, **mining}
  jitter = {"train_data": {"augmentation": {"color_jitter": _JITTER}}}
  arms = [
    Arm("plain", _PLAIN, 1, {}),
    Arm("augmented", _PLAIN, 1, jitter),
    Arm(JOINT, _MINING, 2, {"mining": {"mode": "joint"}}),
    Arm("self_mining", _MINING, 1, {"mining": self_mining}),
    Arm(CO_MINING, _MINING, 2, {"mining": mining}),
  ]
  # SparseDet's parts, on two views that mine nothing; the anchors are not its own.
  arms += [
    Arm(name, _MINING, 2, {"mining": {"mode": "joint", "unlabelled": unlabelled}})
    for name, unlabelled in UNLABELLED.items()
  ]
  return {arm.name: arm for arm in arms}


def with_threshold(arm: Arm, threshold: float) -> Arm:
  """Returns the arm with another score threshold, under a name of its own."""
  mining = {**arm.task["mining"], "score_threshold": threshold}
  return dataclasses.replace(
    arm, name=f"{arm.name}_tau{threshold:g}", task={**arm.task, "mining": mining}
  )


def with_labels_from_annotations(arm: Arm) -> Arm:
  """Returns the arm whose auxiliary labels are made from the annotations alone."""
  mining = {**arm.task["mining"], "labels_from": "annotations"}
  return dataclasses.replace(
    arm, name=f"{arm.name}_labels_of_annotations", task={**arm.task, "mining": mining}
  )


def parse_variant(text: str, arms: Mapping[str, Arm]) -> Arm:
  """Returns the arm of `NAME=ARM;OVERRIDES`.

  Raises:
    ValueError: it has another form, or there is no such arm.
  """
  name, equals, rest = text.partition("=")
  base, semicolon, overrides = rest.partition(";")
  if not (name and equals and semicolon and overrides and base in arms):
    raise ValueError(
      f"--variant is {text!r}; accepted: NAME=ARM;OVERRIDES, with ARM one of {', '.join(arms)}"
    )
  return dataclasses.replace(arms[base], name=name, overrides=overrides)
