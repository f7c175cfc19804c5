"""Settings of the detector, field by field; the defaults are the paper's main row.

Nothing here touches a tensor. Where the paper and the released code differ, the default is the
paper's and the other value is the released code's (`configs/overlays/released.yaml` sets them all).
"""

import dataclasses

from official.core import config_definitions as cfg
from official.modeling import hyperparams

from mtl_ssl_tf.configs import auxiliary as auxiliary_config
from mtl_ssl_tf.configs import cascade as cascade_config
from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.configs.fields import group, setting
from mtl_ssl_tf.configs.ranges import (
  BOXES,
  BOXES_OR_NONE,
  CHANNELS,
  FACTOR,
  LENGTH_PX,
  SAMPLES,
  SEED,
  SHARE,
  SIGMA,
  WEIGHT,
  ListOf,
  Range,
)


@dataclasses.dataclass
class Norm(hyperparams.Config):
  """Normalisation layers."""

  type: str = setting(
    "frozen",
    "`frozen` uses given statistics and never updates them (the paper: pretrained weights); "
    "`batch` and `sync` learn them, `sync` over all replicas; `group` needs none. A run from "
    "scratch needs one of the last three",
    choices=("frozen", "batch", "sync", "group"),
  )
  train_affine: bool | None = setting(
    None,
    "`frozen` only: whether scale and offset are trained; null is as published: not for ResNet, "
    "for the others",
  )
  momentum: float = setting(
    0.97, "momentum of the moving statistics of `batch` and `sync`", bounds=SHARE
  )
  groups: int = setting(
    16,
    "number of groups of `group`; a layer uses the greatest common divisor with its channels",
    bounds=CHANNELS,
  )


@dataclasses.dataclass
class Backbone(hyperparams.Config):
  """The network that is cut into the shared stage 1 and the per-box stage 2.

  With a feature pyramid it is not cut.
  """

  type: str = setting(
    "resnet_101",
    "`resnet_101`, `resnet_50`, `resnet_34`, `resnet_18`, `mobilenet_v1`, `inception_resnet_v2`, "
    "or `efficientnet_lite0`, `efficientnet_lite1` and `efficientnet_lite2`, whose weights are a "
    "package to install",
  )
  freeze: list[str] | None = setting(
    None,
    "groups of stage-1 layers that are not trained, e.g. [conv1, block1]; null is as published: "
    "these two of ResNet, nothing of the others",
  )
  depth_multiplier: float = setting(
    1.0,
    "factor of MobileNet's channels; weights exist for 0.25, 0.5, 0.75 and 1.0",
    bounds=Range(0.125, 2.0),
  )
  fused_stage2: bool = setting(
    True,
    "MobileNet only: stage 2 as in the released detector; false is that of the classification "
    "network, whose weights it takes whole, as it always does with a feature pyramid",
  )
  layout: str = setting(
    "slim",
    "ResNet only: `slim`, `keras` for weights of tf_keras.applications, or `torchvision` for its "
    "weights (.pth); `resnet_34` and `resnet_18` accept `torchvision` alone",
    choices=("slim", "keras", "torchvision"),
  )
  recompute: bool = setting(
    False,
    "in training, keep no activations inside a unit and compute them again on the way back: larger "
    "batches for slower steps. Needs norm `frozen` or `group`",
  )
  norm: Norm = group(Norm, "normalisation layers")


@dataclasses.dataclass
class Anchors(hyperparams.Config):
  """Grid anchors."""

  base_size_px: float = setting(
    256.0,
    "side of the square anchor of scale 1, pixels of the resized image",
    bounds=LENGTH_PX,
  )
  scales: list[float] = setting(
    [0.25, 0.5, 1.0, 2.0], "factors of the base size", bounds=ListOf(FACTOR)
  )
  aspect_ratios: list[float] = setting(
    [0.5, 1.0, 2.0], "width over height, of anchors of the same area", bounds=ListOf(FACTOR)
  )
  cells: float = setting(
    8.0,
    "with `roi_head.type: fpn`, in place of `base_size_px`: side of the square anchor of scale 1, "
    "cells of the level",
    bounds=Range(0.5, 10_000.0),
  )
  level_scales: list[float] = setting(
    [1.0],
    "with `roi_head.type: fpn`, in place of `scales`: factors of that size on each level",
    bounds=ListOf(FACTOR),
  )
  whole_px: bool = setting(
    False,
    "half heights and widths are rounded to whole pixels, as torchvision's detectors have them",
  )


@dataclasses.dataclass
class Fpn(hyperparams.Config):
  """Feature pyramid, of `roi_head.type: fpn`."""

  depth: int = setting(256, "channels of its maps", bounds=CHANNELS)
  min_level: int = setting(
    2,
    "finest level; level l has a cell every 2^l pixels. Images are cheaper from 3 on",
    bounds=Range(2, 4),
  )
  max_level: int = setting(
    6,
    "coarsest level. Boxes are classified on levels up to 5, those above have anchors alone",
    bounds=Range(5, 7),
  )
  coarser: str = setting(
    "subsample",
    "how levels above 5 are made: `subsample` takes every other cell of the level below, "
    "`convolution` is one with stride 2",
    choices=("subsample", "convolution"),
  )
  norm: str = setting(
    "none",
    "normalisation after its convolutions, as of `backbone.norm.type`, or `none` as published",
    choices=("none", "frozen", "batch", "sync", "group"),
  )


@dataclasses.dataclass
class Rpn(hyperparams.Config):
  """Region proposal network."""

  depth: int = setting(512, "channels of the network's own convolutions", bounds=CHANNELS)
  num_convs: int = setting(
    1, "how many of 3 x 3 it has; torchvision's `v2` have 2", bounds=Range(1, 4)
  )
  positive_iou: float = setting(
    0.7, "smallest IoU with an object that makes an anchor positive", bounds=SHARE
  )
  negative_iou: float = setting(
    0.3, "an anchor with less than this IoU with every object is negative", bounds=SHARE
  )
  batch_size: int = setting(256, "anchors of an image that are sampled for the loss", bounds=BOXES)
  positive_fraction: float = setting(0.5, "largest share of positives among them", bounds=SHARE)
  nms_iou: float = setting(
    0.7, "IoU beyond which non-maximum suppression (NMS) drops the lower scored box", bounds=SHARE
  )
  pre_nms_top_k: int = setting(
    0,
    "best-scored anchors that NMS is applied to; 0 is all of them, as published. With "
    "`roi_head.type: fpn` of each level, and 0 is 1000, as published",
    bounds=Range(0, 10_000_000),
  )
  num_proposals: int = setting(
    300, "boxes kept after NMS, in training and at inference", bounds=BOXES
  )
  box_loss_weight: float = setting(2.0, "weight of the loss of box offsets", bounds=WEIGHT)
  objectness_loss_weight: float = setting(1.0, "weight of the objectness loss", bounds=WEIGHT)
  box_loss_sigma: float = setting(
    3.0,
    "sigma of the smooth L1 loss, which is quadratic up to an error of 1 / sigma^2",
    bounds=SIGMA,
  )


@dataclasses.dataclass
class Rfcn(hyperparams.Config):
  """Position-sensitive heads."""

  reduce_depth: int = setting(
    1024, "channels of the map that the score maps are made from", bounds=CHANNELS
  )
  num_bins: int = setting(3, "bins a side that a region is divided into", bounds=SAMPLES)
  crop_size: int = setting(
    18, "samples a side of a whole region, a multiple of `num_bins`", bounds=SAMPLES
  )


@dataclasses.dataclass
class FpnHead(hyperparams.Config):
  """Second stages on a feature pyramid."""

  layers: str = setting(
    "2fc",
    "`2fc`, two fully connected layers, or `4conv1fc`, four convolutions and one such layer",
    choices=("2fc", "4conv1fc"),
  )
  dense_depth: int = setting(1024, "outputs of the fully connected layers", bounds=CHANNELS)
  conv_depth: int = setting(256, "channels of the convolutions of `4conv1fc`", bounds=CHANNELS)
  norm: str = setting(
    "none",
    "normalisation after the convolutions of `4conv1fc`, as of `backbone.norm.type`, or `none`",
    choices=("none", "frozen", "batch", "sync", "group"),
  )
  canonical_size_px: float = setting(
    224.0,
    "side of the square box that is cropped from level 4; twice as large ones are from level 5, "
    "half as large ones from level 3, and so on. Pixels of the resized image",
    bounds=LENGTH_PX,
  )
  samples: int = setting(
    2,
    "bilinear samples a side of each of a crop's cells, which is their mean; 1 is cheaper",
    bounds=Range(1, 4),
  )


@dataclasses.dataclass
class RoiHead(hyperparams.Config):
  """Second stage: sampling of proposals, crop and main head."""

  type: str = setting(
    "faster_rcnn",
    "`faster_rcnn` runs stage 2 on crops of the shared map; `rfcn` runs it on the map and pools "
    "position-sensitive score maps; `fpn` runs layers of its own on crops of a feature pyramid, "
    "see `task.fpn`",
    choices=("faster_rcnn", "rfcn", "fpn"),
  )
  batch_size: int = setting(
    256, "proposals of an image that are sampled for the loss", bounds=BOXES
  )
  positive_fraction: float = setting(0.25, "largest share of positives among them", bounds=SHARE)
  positive_iou: float = setting(
    0.5,
    "smallest IoU with an object that makes a proposal positive; the others are background",
    bounds=SHARE,
  )
  append_ground_truth: bool = setting(
    False,
    "add the ground-truth boxes to the proposals that are sampled from; the paper and the released "
    "code do not. It helps short runs from scratch",
  )
  crop_size: int = setting(
    7,
    "`faster_rcnn` and `fpn`: cells a side of a crop; of `faster_rcnn` one sample each",
    bounds=SAMPLES,
  )
  max_pool: int = setting(
    1,
    "`faster_rcnn` only: side and stride of the pooling after the crop; 1 is none",
    bounds=SAMPLES,
  )
  convolution: str = setting(
    "auto",
    "how 3 x 3 convolutions of crops are computed, in second stages of ResNet: `direct`; "
    "`fourier`, by way of the crops' Fourier transform, which takes less than half the time on a "
    "CPU; or `auto`: `fourier` where steps are neither compiled nor in mixed precision and there "
    "is no GPU. Results differ in rounding",
    choices=("auto", "direct", "fourier"),
  )
  keep_border: bool = setting(
    True,
    "regions that end at the image's border keep their last samples for certain; else a rounding "
    "error decides (released: false)",
  )
  initializer: str = setting(
    "truncated_normal",
    "initial weights of the last layers of the main head of `faster_rcnn` and `fpn`: "
    "`truncated_normal`, or `glorot_uniform` as published for COCO",
    choices=("truncated_normal", "glorot_uniform"),
  )
  class_agnostic_boxes: bool = setting(
    False, "one box for all classes of a proposal, in place of one for each; not of `rfcn`"
  )
  cascade: cascade_config.Cascade = group(
    cascade_config.Cascade, "several main heads, one after the other"
  )
  rfcn: Rfcn = group(Rfcn, "settings of `rfcn`")
  fpn: FpnHead = group(FpnHead, "settings of `fpn`")
  box_loss_weight: float = setting(2.0, "weight of the loss of box offsets", bounds=WEIGHT)
  class_loss_weight: float = setting(1.0, "weight of the classification loss", bounds=WEIGHT)
  box_loss_sigma: float = setting(
    1.0,
    "sigma of the smooth L1 loss, which is quadratic up to an error of 1 / sigma^2",
    bounds=SIGMA,
  )


@dataclasses.dataclass
class Detections(hyperparams.Config):
  """Selection of the second stage's boxes that become detections."""

  score_threshold: float = setting(0.0, "detections score more than this", bounds=SHARE)
  nms_iou: float = setting(
    0.4, "IoU beyond which NMS drops the lower scored box of the same class", bounds=SHARE
  )
  max_per_class: int = setting(100, "most detections of one class in an image", bounds=BOXES)
  max_total: int = setting(300, "most detections in an image", bounds=BOXES)


@dataclasses.dataclass
class Refinement(hyperparams.Config):
  """The layer that corrects class scores by the auxiliary tasks' outputs."""

  enabled: bool = setting(True, "whether there is one")
  loss_weight: float = setting(1.0, "weight of its loss", bounds=WEIGHT)
  num_windows: int = setting(
    5, "windows around a proposal, from itself to the whole image", bounds=Range(2, 1000)
  )
  input: str = setting(
    "logits",
    "`logits` or `probabilities` of the auxiliary heads",
    choices=("logits", "probabilities"),
  )
  residual: bool = setting(True, "add its output to the main logits; false replaces them by it")
  stop_gradient_residual: bool = setting(
    True, "the refinement loss trains this layer alone (released: false)"
  )
  use_bias: bool = setting(False, "whether the layer has a bias (released: true)")
  closeness_mean: str = setting(
    "per_image_valid",
    "mean of the closeness logits over the image's valid proposals, `per_image_valid`, or over "
    "`all_rows` of the batch with padding (released)",
    choices=("per_image_valid", "all_rows"),
  )
  train_rois: int = setting(
    64,
    "sampled boxes of an image that the layer is trained on; 0 is all of them",
    bounds=BOXES_OR_NONE,
  )
  min_object_score: float = setting(
    0.01,
    "at inference, proposals whose probability of being any object is less, by the main head, keep "
    "the main head's scores, which saves their windows",
    bounds=SHARE,
  )
  zeroed_input: str = setting(
    "",
    "an input that the layer is given as zeros, `main_head`, `multi_object` or `closeness`, to see "
    "what it is worth with the same weights; empty is none",
    choices=("", "main_head", "multi_object", "closeness"),
  )
  max_proposals: int = setting(
    0,
    "at inference, refine at most so many proposals of an image, those most likely objects; 0 is "
    "no limit",
    bounds=BOXES_OR_NONE,
  )


@dataclasses.dataclass
class Regularization(hyperparams.Config):
  """Weight decay, added to the loss as scale / 2 x the sum of squared kernel entries."""

  backbone_l2: float = setting(
    1e-4, "scale for the kernels of stage 1 and of all second stages", bounds=WEIGHT
  )
  rpn_l2: float = setting(1e-4, "scale for those of the region proposal network", bounds=WEIGHT)
  head_l2: float = setting(1e-4, "scale for the last layers of the main head", bounds=WEIGHT)
  auxiliary_l2: float = setting(
    1e-4,
    "scale for the auxiliary heads' last layers and the refinement layer (released: 1e-3)",
    bounds=WEIGHT,
  )


@dataclasses.dataclass
class MtlDetection(cfg.TaskConfig):
  """A detector with its data, losses and evaluation."""

  label_map: str = setting(
    "",
    "text file with one class name a line; gives the number of classes. Empty is the label_map.txt "
    "in the folder of the training records",
  )
  seed: int = setting(
    0, "seed of the initial weights and of every random choice in a step", bounds=SEED
  )
  init_checkpoint: str = setting(
    "",
    "weights to start from: `imagenet`, `efficientnet_lite0` (1, 2), a .h5 file of a Keras "
    "network, a .pth file of a PyTorch network, a TF-slim checkpoint, or a checkpoint of a "
    "detector or a pretraining; see `docs/start_weights.md`",
  )
  init_modules: str = setting(
    "all",
    "what a detector's checkpoint initialises: `all`, or `backbone` to leave the heads out, e.g. "
    "because the classes are others",
    choices=("all", "backbone"),
  )
  init_statistics_images: int = setting(
    64,
    "training images on which the statistics of norm `frozen` are estimated after a start from a "
    "pretraining run (`--experiment=insloc`), whose own are those of composites; 0 keeps these",
    bounds=Range(0, 1_000_000),
  )
  backbone: Backbone = group(Backbone, "the network")
  anchors: Anchors = group(Anchors, "anchors of the region proposal network")
  fpn: Fpn = group(Fpn, "feature pyramid, of `roi_head.type: fpn`")
  rpn: Rpn = group(Rpn, "region proposal network")
  roi_head: RoiHead = group(RoiHead, "second stage")
  auxiliary: auxiliary_config.Auxiliary = group(auxiliary_config.Auxiliary, "auxiliary tasks")
  refinement: Refinement = group(Refinement, "refinement of class scores")
  detections: Detections = group(Detections, "from scored boxes to detections")
  regularization: Regularization = group(Regularization, "weight decay")
  train_data: data_config.Data = group(
    data_config.Data, "training records", is_training=True, global_batch_size=1
  )
  validation_data: data_config.Data = group(
    data_config.Data,
    "records to evaluate",
    is_training=False,
    global_batch_size=1,
    drop_remainder=False,
  )
  evaluation: data_config.Evaluation = group(data_config.Evaluation, "what is measured")
  pictures: data_config.Pictures = group(data_config.Pictures, "pictures for TensorBoard")


def norm_types(config: MtlDetection) -> list[str]:
  """Returns the types of all normalisations that a detector has; `none` may be among them."""
  if config.roi_head.type != "fpn":
    return [config.backbone.norm.type]
  return [config.backbone.norm.type, config.fpn.norm, config.roi_head.fpn.norm]
