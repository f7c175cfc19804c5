"""Settings of Co-mining: training from images of which some objects have no annotation.

Wang et al., "Co-mining: Self-Supervised Learning for Sparsely Annotated Object Detection", AAAI
2021. The paper has one-stage detectors with sigmoid scores; where a two-stage detector with softmax
scores needs another value, the field says so.
"""

import dataclasses

from official.modeling import hyperparams

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import detector
from mtl_ssl_tf.configs.fields import group, setting
from mtl_ssl_tf.configs.ranges import (
  BOXES,
  BOXES_OR_NONE,
  SHARE,
  STEPS_OR_NONE,
  WEIGHT,
  Range,
)

CO_MINING, SELF_MINING, JOINT = "co_mining", "self_mining", "joint"
COMPLETED, ANNOTATIONS = "completed", "annotations"


@dataclasses.dataclass
class ViewAugmentation(hyperparams.Config):
  """Random changes of the second view; pixels stay in place, so that boxes hold in both views."""

  probability: float = setting(
    0.8, "probability that colours change; 0 leaves both views alike", bounds=SHARE
  )
  color_jitter: data_config.ColorJitter = group(
    data_config.ColorJitter,
    "changes of colours",
    brightness=0.8,
    contrast=0.8,
    saturation=0.8,
    hue=0.2,
  )
  blur_probability: float = setting(
    0.0,
    "probability of a Gaussian blur; 0 is the method, the ablation has it",
    bounds=SHARE,
  )
  blur_sigma_min: float = setting(
    0.1, "smallest standard deviation of the blur, pixels of the input", bounds=Range(0.01, 1000.0)
  )
  blur_sigma_max: float = setting(
    2.0, "largest standard deviation of the blur; neither is published", bounds=Range(0.01, 1000.0)
  )


@dataclasses.dataclass
class Guard(hyperparams.Config):
  """When a run ends because its mined boxes confirm themselves."""

  steps: int = setting(
    50, "steps in a row beyond a limit that end the run; 0 never does", bounds=STEPS_OR_NONE
  )
  max_filled: float = setting(
    0.8,
    "most slots, as a share of `num_slots`, that mined boxes may fill on average; raise "
    "`num_slots` where images hold so many objects",
    bounds=SHARE,
  )
  max_per_annotated_found: float = setting(
    100.0,
    "most mined boxes, where a view has more than 1, for each annotated object that detections of "
    "the same score and class find: far more than can be missing are mostly wrong",
    bounds=Range(1.0, 1e6),
  )
  max_loss: float = setting(
    100.0, "largest loss; that of an ordinary run is some ones", bounds=Range(0.0, 1e9)
  )


@dataclasses.dataclass
class Unlabelled(hyperparams.Config):
  """Proposals that are probably objects without annotation, as SparseDet (ICCV 2023) has them."""

  mask_proposals: bool = setting(
    False, "the RoI head samples none of them, so that none is taught as background"
  )
  mask_anchors: bool = setting(
    False,
    "by the same rule, an anchor that predicts such a box is no negative of the RPN; not in "
    "SparseDet",
  )
  consistency_loss_weight: float = setting(
    0.0,
    "weight of the difference between both views' features of them; 0 is none, SparseDet's is 1. "
    "Without `rfcn` and cascades",
    bounds=WEIGHT,
  )
  min_objectness: float = setting(0.8, "they score more in the RPN", bounds=SHARE)
  max_iou: float = setting(
    0.2, "their IoU with each annotation and each mined box is below", bounds=SHARE
  )
  start_step: int = setting(
    0, "first step that knows them; SparseDet's is 30,000 of 270,000", bounds=STEPS_OR_NONE
  )
  shared_proposals: bool = setting(
    False, "the copy has the proposals of the image as it is, not its own"
  )
  consistency_boxes: int = setting(
    32, "most of them that an image has the consistency of", bounds=BOXES
  )
  consistency_nms_iou: float = setting(
    0.3, "IoU beyond which NMS drops the lower scored of those", bounds=SHARE
  )

  @property
  def is_used(self) -> bool:
    """Whether anything depends on them."""
    return self.mask_proposals or self.mask_anchors or self.consistency_loss_weight > 0.0


@dataclasses.dataclass
class Mining(hyperparams.Config):
  """Co-mining, of the experiments `mtl_frcnn_co_mining` and `mtl_rfcn_co_mining` alone."""

  mode: str = setting(
    CO_MINING,
    "`co_mining`: what is mined in one view completes the annotations of the other; `self_mining`: "
    "those of its own view; `joint`: nothing is mined, the control",
    choices=(CO_MINING, SELF_MINING, JOINT),
  )
  views: int = setting(
    2,
    "views of an image in a step: the image, and a copy with other colours; 1 is the image alone, "
    "without `co_mining`",
    bounds=Range(1, 2),
  )
  score_threshold: float = setting(
    0.8,
    "mined boxes score more. Of softmax scores; the paper's 0.6 is of sigmoid scores, and its 0.4 "
    "diverges",
    bounds=SHARE,
  )
  nms_iou: float = setting(
    0.5, "IoU beyond which NMS drops the lower scored mined box of the same class", bounds=SHARE
  )
  same_class_iou: float = setting(
    0.4, "IoU with an annotation of its class beyond which a mined box is dropped", bounds=SHARE
  )
  any_class_iou: float = setting(
    0.7,
    "IoU with an annotation of whatever class beyond which a mined box is dropped; 1 is never, as "
    "published",
    bounds=SHARE,
  )
  num_slots: int = setting(
    50, "most mined boxes of a view, before those on annotations are dropped", bounds=BOXES
  )
  num_proposals: int = setting(
    128,
    "best proposals that are mined among; 0 is all that inference has, `rpn.num_proposals`",
    bounds=BOXES_OR_NONE,
  )
  max_refined: int = setting(
    16,
    "proposals of a view whose scores are refined, those most likely objects, and as many that "
    "give the mean closeness; the others keep the main head's scores. 0 is as at inference, slowly",
    bounds=BOXES_OR_NONE,
  )
  min_size_px: float = setting(
    2.0, "least height and width of a mined box, pixels of the input", bounds=Range(0.0, 65_536.0)
  )
  start_step: int = setting(
    0, "first step that mines; before it, steps are those of `joint`", bounds=STEPS_OR_NONE
  )
  warmup_steps: int = setting(
    0,
    "steps from `start_step` on in which the threshold falls from `warmup_score_threshold` to "
    "`score_threshold`; 0 is none, as published",
    bounds=STEPS_OR_NONE,
  )
  warmup_score_threshold: float = setting(
    0.95, "threshold that the warm-up begins with", bounds=SHARE
  )
  ignore_band: float = setting(
    0.0,
    "detections that score up to this much less than the threshold become regions to be ignored, "
    "neither object nor background; 0 is none, as published",
    bounds=SHARE,
  )
  labels_from: str = setting(
    COMPLETED,
    "boxes that the auxiliary labels are made from: `completed` by the mined ones, or "
    "`annotations` alone, for comparison",
    choices=(COMPLETED, ANNOTATIONS),
  )
  boxes_from: str = setting(
    COMPLETED,
    "boxes that box regression learns, in the RPN and the second stage: `completed` by the mined "
    "ones, as published, or `annotations` alone, so that mined boxes teach what is there and not "
    "where it ends",
    choices=(COMPLETED, ANNOTATIONS),
  )
  augmentation: ViewAugmentation = group(ViewAugmentation, "the second view")
  unlabelled: Unlabelled = group(Unlabelled, "proposals that look like objects without annotation")
  guard: Guard = group(Guard, "when mining ends a run")

  @property
  def mines(self) -> bool:
    """Whether anything is mined."""
    return self.mode != JOINT


@dataclasses.dataclass
class CoMining(detector.MtlDetection):
  """A detector that mines what the annotations lack while it trains."""

  mining: Mining = group(Mining, "mining of boxes")


def check(config: CoMining) -> None:
  """Refuses settings of mining that contradict each other.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  mining = config.mining
  if mining.mode == CO_MINING and mining.views == 1:
    raise ValueError(
      "task.mining.views is 1; accepted: 2 where task.mining.mode is 'co_mining', or the mode "
      "self_mining"
    )
  if mining.warmup_steps and mining.warmup_score_threshold < mining.score_threshold:
    raise ValueError(
      f"task.mining.warmup_score_threshold is {mining.warmup_score_threshold}; accepted: at least "
      f"task.mining.score_threshold ({mining.score_threshold})"
    )
  if mining.ignore_band > mining.score_threshold:
    raise ValueError(
      f"task.mining.ignore_band is {mining.ignore_band}; accepted: at most "
      f"task.mining.score_threshold ({mining.score_threshold})"
    )
  _check_unlabelled(config)
  augmentation = mining.augmentation
  if augmentation.blur_sigma_max < augmentation.blur_sigma_min:
    raise ValueError(
      f"task.mining.augmentation.blur_sigma_max is {augmentation.blur_sigma_max}; accepted: at "
      f"least task.mining.augmentation.blur_sigma_min ({augmentation.blur_sigma_min})"
    )


def _check_unlabelled(config: CoMining) -> None:
  """Refuses what needs a second view, or a feature vector for each box, without one."""
  settings, field = config.mining.unlabelled, "task.mining.unlabelled"
  if config.mining.views == 1:
    if settings.shared_proposals:
      raise ValueError(
        f"{field}.shared_proposals is true; accepted: false where task.mining.views is 1"
      )
    reason = "task.mining.views is 1"
  elif config.roi_head.type == "rfcn":
    reason = "task.roi_head.type is 'rfcn'"
  elif config.roi_head.cascade.enabled:
    reason = "task.roi_head.cascade.enabled is true"
  else:
    return
  if settings.consistency_loss_weight:
    raise ValueError(
      f"{field}.consistency_loss_weight is {settings.consistency_loss_weight}; accepted: 0 where "
      f"{reason}"
    )
