"""Input, evaluation and picture settings."""

import dataclasses
from collections.abc import Sequence

from official.core import config_definitions as cfg
from official.modeling import hyperparams

from mtl_ssl_tf.configs.fields import group, setting
from mtl_ssl_tf.configs.ranges import (
  BOXES,
  IMAGES,
  PIXELS,
  SEED,
  SHARE,
  STEPS_OR_NONE,
  ListOf,
  Range,
)

_DOUBTFUL = ("keep", "ignore", "drop")


@dataclasses.dataclass
class ColorJitter(hyperparams.Config):
  """Strengths of random changes of a training image's colours, made in random order."""

  brightness: float = setting(
    0.0, "times a factor of 1 - this to 1 + this; 0 is none, as of the others", bounds=SHARE
  )
  contrast: float = setting(
    0.0, "a factor likewise, about the mean of the greyscale image", bounds=SHARE
  )
  saturation: float = setting(0.0, "a factor likewise, about the greyscale image", bounds=SHARE)
  hue: float = setting(
    0.0, "most that hues move, in turns of the colour circle", bounds=Range(0.0, 0.5)
  )


@dataclasses.dataclass
class Augmentation(hyperparams.Config):
  """Random changes of training images besides flips and zooms, see docs/recipe.md."""

  mosaic: float = setting(0.0, "probability that an image is one of four in a mosaic", bounds=SHARE)
  copy_paste: float = setting(
    0.0,
    "probability that one to three objects of another image are pasted into an image",
    bounds=SHARE,
  )
  rotate_90: float = setting(
    0.0, "probability that an image is turned by one, two or three right angles", bounds=SHARE
  )
  color_jitter: ColorJitter = group(ColorJitter, "changes of colours")


@dataclasses.dataclass
class Data(cfg.DataConfig):
  """One split: records on disk to batches."""

  input_path: Sequence[str] | str | hyperparams.Config = setting(
    "", "record files: a path, a pattern, a folder with one split, or a list of these"
  )
  global_batch_size: int = setting(
    0, "images of a step, over all replicas; 1 in the paper's main row", bounds=IMAGES
  )
  is_training: bool | None = setting(
    None, "true in `train_data`, false in `validation_data`; there is no need to set it"
  )
  cache: bool = setting(False, "keep the records in memory, their images still compressed")
  input_layout: str = setting(
    "single",
    "`single` pads all images to one input size; `by_orientation` pads landscape and portrait "
    "images to a size of their own each, batch by batch, which saves padding and compiles twice",
    choices=("single", "by_orientation"),
  )
  input_size: list[int] = setting(
    [1024, 1024],
    "height and width of the padded network input; with two sizes, either way round",
    bounds=ListOf(PIXELS, 2, 2),
  )
  short_side: int = setting(600, "short side of the resized image, pixels", bounds=PIXELS)
  long_side: int = setting(
    1024, "longest that the long side of the resized image may be, pixels", bounds=PIXELS
  )
  max_num_boxes: int = setting(
    100,
    "ground-truth rows of an image; further boxes are left out and counted",
    bounds=BOXES,
  )
  flip_probability: float = setting(
    0.5, "probability of a horizontal flip, in training", bounds=SHARE
  )
  vertical_flip_probability: float = setting(
    0.0,
    "probability of a flip from top to bottom, in training; 0 is the paper's",
    bounds=SHARE,
  )
  scale_min: float = setting(
    1.0,
    "smallest factor of the random zoom in training; 1 to 1 is the paper's (none)",
    bounds=Range(0.01, 100.0),
  )
  scale_max: float = setting(1.0, "largest factor of the random zoom", bounds=Range(0.01, 100.0))
  scale_crop: str = setting(
    "image",
    "what a zoomed image is cut to: `image`, the size that it has without the zoom; `input`, the "
    "whole network input (large-scale jitter)",
    choices=("image", "input"),
  )
  augmentation: Augmentation = group(Augmentation, "further random changes in training")
  difficult: str = setting(
    "keep",
    "what objects marked difficult are in training: `keep`, ordinary objects (as published); "
    "`ignore`, regions that are not used in the loss; `drop`, not there. Evaluation keeps them",
    choices=_DOUBTFUL,
  )
  crowd: str = setting(
    "ignore", "the same for COCO's boxes around many objects (released: keep)", choices=_DOUBTFUL
  )
  seed: int | None = setting(
    0,
    "seed of the order of images and of all random changes; null draws one, and no run can be "
    "repeated",
    bounds=SEED.or_null,
  )


def frozen(data: Data) -> Data:
  """Returns a copy that cannot be changed: the settings of one pipeline."""
  copy = data.replace()
  copy.lock()
  return copy


@dataclasses.dataclass
class Evaluation(hyperparams.Config):
  """Metrics and output files of an evaluation."""

  metrics: list[str] = setting(
    ["voc"], "`voc`, `coco` or both; the first one chooses the best checkpoint"
  )
  voc_ap: str = setting(
    "area",
    "rule of the VOC figure that chooses it: `area` or `11point`; both are reported",
    choices=("area", "11point"),
  )
  iou_threshold: float = setting(
    0.5, "smallest IoU of a match, in VOC metrics and errors", bounds=Range(0.0, 1.0, above=True)
  )
  voc_inclusive_pixels: bool = setting(
    False, "a box includes its last pixel, as the VOC development kit counts"
  )
  coco_annotations: str = setting(
    "",
    "COCO annotation file that the ground truth of all metrics is taken from; empty is the records",
  )
  errors: bool = setting(False, "add the five kinds of error, what each costs, and confusions")
  score_threshold: float = setting(
    0.5,
    "smallest score of the detections among which errors and confusions are counted",
    bounds=SHARE,
  )
  results_dir: str = setting(
    "",
    "folder that takes, in a folder for each evaluated step, detections as COCO and VOC result "
    "files, the ground truth, figures, curves and pictures; empty writes nothing",
  )
  auxiliary_metrics: bool = setting(True, "measure the auxiliary tasks too")
  auxiliary_costs: bool = setting(
    True,
    "end a run with what auxiliary tasks and refinement cost, and with the main figure without "
    "refinement; each evaluation then makes detections by unrefined scores too",
  )
  losses: bool = setting(
    False,
    "compute the losses of training on the validation data too, as `validation/..._loss`",
  )


@dataclasses.dataclass
class Pictures(hyperparams.Config):
  """Pictures for TensorBoard."""

  interval: int = setting(
    1000, "training steps from one set to the next; 0 is never", bounds=STEPS_OR_NONE
  )
  num_images: int = setting(4, "images of a set", bounds=Range(1, 1000))
  score_threshold: float = setting(
    0.5, "smallest score of the detections that are drawn", bounds=SHARE
  )
