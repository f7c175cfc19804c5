"""Input of pretraining by instance localisation: images without annotations, and what is drawn.

Defaults are those of the published pretraining, whose composites are 256 pixels wide. Lengths are
shares of that side, so that another `composite.size` gives the same composites, larger or smaller.

Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
2021, and the configuration that its authors released.
"""

import dataclasses
from collections.abc import Sequence

from official.core import config_definitions as cfg
from official.modeling import hyperparams

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs import data_validation, fields
from mtl_ssl_tf.configs.fields import group, setting
from mtl_ssl_tf.configs.ranges import FACTOR, IMAGES, SAMPLES, SEED, SHARE, ListOf, Range
from mtl_ssl_tf.reading import quoting


@dataclasses.dataclass
class Composite(hyperparams.Config):
  """A crop of one image, pasted at a random place of another image, of which all is shown."""

  size: int = setting(
    256, "side of a composite, which is square, in pixels", bounds=Range(16, 8192)
  )
  crop_area_min: float = setting(
    0.2, "smallest area of a crop, as a share of its image", bounds=SHARE
  )
  crop_area_max: float = setting(1.0, "largest area of a crop", bounds=SHARE)
  crop_aspect_min: float = setting(0.5, "smallest width of a crop over its height", bounds=FACTOR)
  crop_aspect_max: float = setting(2.0, "largest width of a crop over its height", bounds=FACTOR)
  paste_side_min: float = setting(
    0.5,
    "smallest bound that is drawn for a side of a pasted crop, as a share of `size`. Two are "
    "drawn; the crop keeps its shape and is as large as fits the larger one with its long side "
    "and the smaller one with its short side",
    bounds=SHARE,
  )
  paste_side_max: float = setting(254 / 256, "largest bound that is drawn", bounds=SHARE)
  flip_probability: float = setting(
    0.5, "probability that a composite is mirrored from left to right", bounds=SHARE
  )


@dataclasses.dataclass
class Colors(hyperparams.Config):
  """Changes of a whole composite's colours, drawn for each composite by itself."""

  jitter_probability: float = setting(
    0.8, "probability that brightness, contrast, saturation and hue change", bounds=SHARE
  )
  jitter: data_config.ColorJitter = group(
    data_config.ColorJitter,
    "strengths of these changes",
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
  )
  grey_probability: float = setting(
    0.2, "probability that a composite becomes greyscale", bounds=SHARE
  )
  blur_probability: float = setting(
    0.5, "probability that a composite is blurred by a Gaussian", bounds=SHARE
  )
  blur_sigma_min: float = setting(
    0.1,
    "smallest standard deviation of the Gaussian, in pixels where `composite.size` is 256, and "
    "otherwise in proportion",
    bounds=Range(0.0, 1000.0),
  )
  blur_sigma_max: float = setting(2.0, "largest standard deviation", bounds=Range(0.0, 1000.0))


@dataclasses.dataclass
class BoxAugmentation(hyperparams.Config):
  """Boxes near a pasted crop that take its place where the query's features are pooled."""

  enabled: bool = setting(True, "pool the query's features from such a box, not from the exact one")
  levels: list[int] = setting(
    [5],
    "levels of a feature pyramid on which such boxes are pooled; the others pool the exact one. "
    "Without a pyramid there is one map, on which they are",
    bounds=ListOf(Range(2, 5)),
  )
  min_iou: float = setting(0.5, "boxes overlap the pasted crop by an IoU above this", bounds=SHARE)
  cells: int = setting(
    16, "rows and columns of the grid on whose corners the boxes are centred", bounds=SAMPLES
  )
  scales: list[float] = setting(
    [2.0, 4.0, 8.0, 16.0], "sides of square boxes, in cells", bounds=ListOf(FACTOR)
  )
  aspect_ratios: list[float] = setting(
    [0.5, 2 / 3, 1.0, 4 / 3, 2.0], "widths over heights", bounds=ListOf(FACTOR)
  )


@dataclasses.dataclass
class InsLocData(cfg.DataConfig):
  """Images without annotations to batches of composites, two of each image."""

  image_dir: str = setting(
    "",
    "folder of images, which may lie in folders inside it: JPEG, PNG, BMP, TIFF, WebP and GIF of "
    "any mode; either this or `input_path`",
  )
  input_path: Sequence[str] | str | hyperparams.Config = setting(
    "", "record files: a path, a pattern, a folder with one split, or a list of these"
  )
  store_dir: str = setting(
    "",
    "folder for the images as they are kept ready: checked, upright, RGB, not too large; empty is "
    "`mtl_ssl_tf/images` in the user's cache folder",
  )
  store_side: float = setting(
    2.0,
    "shortest side of images that are kept ready, in sides of a composite; larger images are "
    "shrunk. 0 keeps the sizes, and reads records as they are",
    bounds=Range(0.0, 1000.0),
  )
  global_batch_size: int = setting(
    256, "images of a step, over all replicas; each gives two composites", bounds=IMAGES
  )
  is_training: bool | None = setting(
    None, "true in `train_data`, without end; otherwise as many whole batches as there are images"
  )
  cache: bool = setting(
    False,
    "keep the decoded images in memory: 1 MB for each as published, a quarter of it with "
    "composites of 128 pixels",
  )
  composite: Composite = group(Composite, "how crops are drawn and pasted")
  colors: Colors = group(Colors, "how colours change")
  seed: int | None = setting(
    0,
    "seed of the order of images and of all that is drawn; null draws one, and no run can be "
    "repeated",
    bounds=SEED.or_null,
  )


# Fields of our own, and those of Model Garden's that ours declares again.
USED = tuple(InsLocData.__annotations__)


def check(data: InsLocData, path: str) -> None:
  """Refuses settings that no composites can be made with, or that would have no effect.

  Args:
    data: the settings.
    path: their own name, such as `task.train_data`, for messages.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  fields.check(data, path)
  data_validation.check_unused(data, InsLocData(), USED, path)
  if bool(data.image_dir) == bool(data.input_path):
    raise ValueError(
      f"{path}.image_dir is {quoting.shown(data.image_dir)} and {path}.input_path"
      f" {quoting.shown(data.input_path)}; accepted:"
      " one of them, a folder of images or record files"
    )
  _check_ranges(data, path)


def _check_ranges(data: InsLocData, path: str) -> None:
  """Raises ValueError where a smallest value is above the largest one, or no side is left."""
  for group_name, names in (
    ("composite", ("crop_area", "crop_aspect", "paste_side")),
    ("colors", ("blur_sigma",)),
  ):
    values = getattr(data, group_name)
    for name in names:
      low, high = getattr(values, f"{name}_min"), getattr(values, f"{name}_max")
      may_be_zero = name == "blur_sigma"
      if low > high or (low == 0.0 and not may_be_zero):
        accepted = "at least 0" if may_be_zero else "above 0"
        raise ValueError(
          f"{path}.{group_name}.{name}_min is {low}; accepted: {accepted} and at most {name}_max"
          f" ({high})"
        )


def check_box_augmentation(boxes: BoxAugmentation, path: str) -> None:
  """Refuses settings that no boxes can be made with.

  Raises:
    ValueError: naming the field, its value and what is accepted.
  """
  fields.check(boxes, path)
