"""What goes into a run and what is looked at afterwards: records, evaluation, pictures."""

import dataclasses

from official.core import config_definitions as cfg
from official.modeling import hyperparams


@dataclasses.dataclass
class Data(cfg.DataConfig):
  """Records on disk to batches.

  Attributes:
    canvas: `square`: all images on one canvas, the static network input; `aspect_buckets`: on one
      that lies or one that stands, batch by batch, which saves padding and compiles twice.
    canvas_size: height and width of the canvas, or of either of the two, whichever way round.
    short_side, long_side: of the resized image, pixels.
    max_num_boxes: ground-truth slots of an image; further boxes are left out and counted.
    flip_probability: horizontal flips, in training.
    vertical_flip_probability: flips from top to bottom; 0 is the paper's.
    scale_min, scale_max: random zoom in training; 1, 1 is the paper's (none).
    difficult: what objects so marked are in training: `keep`, ordinary objects (as published);
      `ignore`, regions that teach nothing; `drop`, not there. Evaluation always keeps them.
    crowd: the same for COCO's boxes around many objects (released: keep).
  """

  canvas: str = "square"
  canvas_size: list[int] = dataclasses.field(default_factory=lambda: [1024, 1024])
  short_side: int = 600
  long_side: int = 1024
  max_num_boxes: int = 100
  flip_probability: float = 0.5
  vertical_flip_probability: float = 0.0
  scale_min: float = 1.0
  scale_max: float = 1.0
  difficult: str = "keep"
  crowd: str = "ignore"
  seed: int | None = 0


def frozen(data: Data) -> Data:
  """Returns a copy that cannot be changed: the settings of one pipeline."""
  copy = data.replace()
  copy.lock()
  return copy


@dataclasses.dataclass
class Evaluation(hyperparams.Config):
  """What an evaluation measures and writes.

  Attributes:
    metrics: `voc`, `coco` or both; the first one chooses the best checkpoint.
    voc_ap: `area` or `11point`, the rule of the figure that does.
    iou_threshold: of VOC metrics and errors: smallest IoU that is a match.
    voc_inclusive_pixels: a box includes its last pixel, as the VOC development kit counts.
    coco_annotations: COCO annotation file that the ground truth of COCO metrics and of all else is
      taken from; empty is the records.
    errors: add the five kinds of error, what each costs, and confusions.
    score_threshold: of the detections among which errors and confusions are counted.
    results_dir: folder that takes, in a folder for each evaluated step, detections as COCO and VOC
      result files, the ground truth, figures, curves and pictures; empty writes nothing.
    auxiliary_metrics: measure the auxiliary tasks too.
  """

  metrics: list[str] = dataclasses.field(default_factory=lambda: ["voc"])
  voc_ap: str = "area"
  iou_threshold: float = 0.5
  voc_inclusive_pixels: bool = False
  coco_annotations: str = ""
  errors: bool = False
  score_threshold: float = 0.5
  results_dir: str = ""
  auxiliary_metrics: bool = True


@dataclasses.dataclass
class Pictures(hyperparams.Config):
  """Pictures for TensorBoard: every `interval` steps (0: never), `num_images` at a time."""

  interval: int = 1000
  num_images: int = 4
  score_threshold: float = 0.5
