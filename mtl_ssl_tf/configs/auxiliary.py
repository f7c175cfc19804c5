"""Settings of the auxiliary tasks: their labels, heads and losses.

Where the paper and the released code differ, the default is the paper's, as in `detector`.
"""

import dataclasses

from official.modeling import hyperparams

from mtl_ssl_tf.configs.fields import group, setting
from mtl_ssl_tf.configs.ranges import LENGTH_PX, SAMPLES, WEIGHT, Range


@dataclasses.dataclass
class MultiObject(hyperparams.Config):
  """Multi-object task: soft class shares of random windows."""

  loss_weight: float = setting(1.0, "weight of the loss; 0 removes the head", bounds=WEIGHT)
  num_windows: int = setting(64, "windows of an image", bounds=Range(1, 10_000))
  min_size_px: float = setting(
    32.0, "least height and width of a window, pixels of the resized image", bounds=LENGTH_PX
  )
  sampling: str = setting(
    "top_left",
    "how windows are drawn: `top_left` (paper) or `center_clip` (released)",
    choices=("top_left", "center_clip"),
  )
  resample: str = setting(
    "online",
    "`online` draws new windows in each step; `offline_fixed` (released) always uses the same ones "
    "for an image",
    choices=("online", "offline_fixed"),
  )
  empty_image: str = setting(
    "no_loss",
    "windows of an image without objects carry `no_loss`, or are labelled `background` (released)",
    choices=("no_loss", "background"),
  )


@dataclasses.dataclass
class Closeness(hyperparams.Config):
  """Closeness task: how near the other objects of each class are."""

  loss_weight: float = setting(0.3, "weight of the loss; 0 removes the head", bounds=WEIGHT)
  include_same_class: bool = setting(
    True, "count neighbours of the object's own class (released: false)"
  )
  drop_background: bool = setting(
    False, "leave the background column out of the loss (released: true)"
  )
  normalizer: str = setting(
    "batch_positives",
    "`batch_positives` divides by the positives of the batch; `per_image_sum` (released) by those "
    "of each image, and adds the images up",
    choices=("batch_positives", "per_image_sum"),
  )


@dataclasses.dataclass
class Foreground(hyperparams.Config):
  """Foreground task: which cells of the image lie in a box."""

  loss_weight: float = setting(1.0, "weight of the loss; 0 removes the head", bounds=WEIGHT)
  mask_size: int = setting(64, "cells a side of the mask", bounds=Range(1, 4096))
  weighting: str = setting(
    "uniform",
    "weights of the cells in the loss: `uniform`, or `inverse_area` (released)",
    choices=("uniform", "inverse_area"),
  )
  logit_activation: str = setting(
    "linear",
    "activation of the head's output: `linear`, or `tanh` (released)",
    choices=("linear", "tanh"),
  )
  head: str = setting(
    "conv1x1",
    "`conv1x1` (as in the released configurations) or `conv3x3`",
    choices=("conv1x1", "conv3x3"),
  )
  resize: str = setting(
    "half_pixel",
    "`half_pixel`, or `legacy` (released) sampling when the map is brought to mask size",
    choices=("half_pixel", "legacy"),
  )


@dataclasses.dataclass
class SharedMap(hyperparams.Config):
  """Auxiliary heads of `features: shared_map`."""

  stride: int = setting(
    2,
    "cells of the shared map from one cell of their maps to the next, 1 or 2; of MobileNet, whose "
    "second stage strides, 1 is a dense form of it; Inception has 2 alone; not of a pyramid, which "
    "has 1 alone",
    bounds=Range(1, 2),
  )
  reduce_depth: int = setting(
    0,
    "channels of the map that the score maps are made from; 0 makes them from what the second "
    "stage puts out, or on a pyramid from as many channels as that has",
    bounds=Range(0, 65_536),
  )
  num_bins: int = setting(
    1,
    "bins a side that a region is divided into. One bin is what heads on crops do: the mean over a "
    "region",
    bounds=SAMPLES,
  )
  crop_size: int = setting(
    7, "samples a side of a whole region, a multiple of `num_bins`", bounds=SAMPLES
  )


@dataclasses.dataclass
class Auxiliary(hyperparams.Config):
  """The tasks that label themselves from the ground-truth boxes."""

  multi_object: MultiObject = group(MultiObject, "multi-object task")
  closeness: Closeness = group(Closeness, "closeness task")
  foreground: Foreground = group(Foreground, "foreground task")
  features: str = setting(
    "own_stage2",
    "features that the multi-object and the closeness head classify. `own_stage2`: the output of a "
    "second stage of their own, run as the main head's is (paper); `shared_map`: of a second stage "
    "of their own, run once over the shared map, from which regions are pooled as in R-FCN; "
    "`main_head`: the pooled features of the main second stage, of Faster R-CNN. On a feature "
    "pyramid, `own_stage2` has layers of its own, and `shared_map` a convolution on every map",
    choices=("own_stage2", "shared_map", "main_head"),
  )
  shared_map: SharedMap = group(SharedMap, "settings of `features: shared_map`")
  round_decimals: int | None = setting(
    None,
    "round soft labels to so many decimals (released: 3); null keeps them exact",
    bounds=Range(1, 10).or_null,
  )
  flip_labels: bool = setting(
    True, "windows and mask follow a flipped image (released: false, they stay behind)"
  )
  init_from: str = setting(
    "main_stage2",
    "weights that the tasks' own second stages start from: `main_stage2` copies the main head's, "
    "`random` draws new ones",
    choices=("main_stage2", "random"),
  )
  stop_gradient_shared: bool = setting(False, "keep the tasks from training the shared stage 1")
  stop_gradient_includes_foreground: bool = setting(
    True, "whether that holds for the foreground task too"
  )
