"""What can be chosen about the detector, field by field; the defaults are the paper's main row.

Nothing here touches a tensor. Where the paper and the released code differ, the default is the
paper's and the other value is the released code's (`configs/overlays/released.yaml` sets them all).
"""

import dataclasses

from official.core import config_definitions as cfg
from official.modeling import hyperparams

from mtl_ssl_tf.configs import data as data_config


def _new(cls, **values):
  return dataclasses.field(default_factory=lambda: cls(**values))


@dataclasses.dataclass
class Norm(hyperparams.Config):
  """Normalisation layers.

  Attributes:
    type: `frozen` uses given statistics and never updates them (the paper: pretrained weights);
      `batch` and `sync` learn them, `sync` over all replicas; `group` needs none. A run from
      scratch needs one of the last three.
    train_affine: of `frozen`, whether scale and offset are trained; null is as published: not for
      ResNet, for the others.
    momentum: of the moving statistics of `batch` and `sync`.
    groups: of `group`; a layer uses the greatest common divisor with its channels.
  """

  type: str = "frozen"
  train_affine: bool | None = None
  momentum: float = 0.97
  groups: int = 16


@dataclasses.dataclass
class Backbone(hyperparams.Config):
  """The network that is cut into the shared stage 1 and the per-box stage 2.

  Attributes:
    type: `resnet_101`, `resnet_50`, `mobilenet_v1` or `inception_resnet_v2`.
    freeze: groups of stage-1 layers that are not trained, e.g. [conv1, block1]; null is as
      published: these two of ResNet, nothing of the others.
    depth_multiplier: of MobileNet's channels; weights exist for 0.25, 0.5, 0.75 and 1.0.
    fused_stage2: of MobileNet: stage 2 as in the released detector; false is that of the
      classification network, whose weights it takes whole.
    layout: of ResNet: `slim`, or `keras` for weights of tf_keras.applications.
    recompute: in training, keep no activations inside a unit and compute them again on the way
      back: larger batches for slower steps. Needs norm `frozen` or `group`.
  """

  type: str = "resnet_101"
  freeze: list[str] | None = None
  depth_multiplier: float = 1.0
  fused_stage2: bool = True
  layout: str = "slim"
  recompute: bool = False
  norm: Norm = _new(Norm)


@dataclasses.dataclass
class Anchors(hyperparams.Config):
  """Grid anchors; `base_size_px` and `scales` are for the resized image."""

  base_size_px: float = 256.0
  scales: list[float] = dataclasses.field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0])
  aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0, 2.0])


@dataclasses.dataclass
class Rpn(hyperparams.Config):
  """Region proposal network.

  Attributes:
    pre_nms_top_k: best-scored anchors that enter the suppression; 0 is all of them, as published.
    num_proposals: kept after suppression, in training and at inference.
  """

  depth: int = 512
  positive_iou: float = 0.7
  negative_iou: float = 0.3
  batch_size: int = 256
  positive_fraction: float = 0.5
  nms_iou: float = 0.7
  pre_nms_top_k: int = 0
  num_proposals: int = 300
  box_loss_weight: float = 2.0
  objectness_loss_weight: float = 1.0
  box_loss_sigma: float = 3.0


@dataclasses.dataclass
class Rfcn(hyperparams.Config):
  """Position-sensitive heads.

  Attributes:
    reduce_depth: channels of the map that the score maps are made from.
    num_bins: a region is looked at in so many bins a side.
    crop_size: samples a side of a whole region, a multiple of `num_bins`.
  """

  reduce_depth: int = 1024
  num_bins: int = 3
  crop_size: int = 18


@dataclasses.dataclass
class RoiHead(hyperparams.Config):
  """Second stage: sampling of proposals, crop and main head.

  Attributes:
    type: `faster_rcnn` runs stage 2 on crops of the shared map; `rfcn` runs it on the map and
      pools position-sensitive score maps.
    crop_size, max_pool: of `faster_rcnn`.
    convolution: how 3 x 3 convolutions of crops are computed, in second stages of ResNet: `direct`;
      `fourier`, by way of the crops' Fourier transform, which takes less than half the time on a
      CPU; or `auto`: `fourier` where steps are neither compiled nor in mixed precision and there is
      no GPU. Results differ in rounding.
    keep_border: regions that end at the image's border keep their last samples for certain; else a
      rounding error decides (released: false).
    initializer: of the last layers of the main head of `faster_rcnn`: `truncated_normal`, or
      `glorot_uniform` as published for COCO.
    append_ground_truth: add the ground-truth boxes to the proposals that are sampled from; the
      paper and the released code do not. It helps short runs from scratch.
  """

  type: str = "faster_rcnn"
  batch_size: int = 256
  positive_fraction: float = 0.25
  positive_iou: float = 0.5
  append_ground_truth: bool = False
  crop_size: int = 7
  max_pool: int = 1
  convolution: str = "auto"
  keep_border: bool = True
  initializer: str = "truncated_normal"
  rfcn: Rfcn = _new(Rfcn)
  box_loss_weight: float = 2.0
  class_loss_weight: float = 1.0
  box_loss_sigma: float = 1.0


@dataclasses.dataclass
class Detections(hyperparams.Config):
  """Final suppression."""

  score_threshold: float = 0.0
  nms_iou: float = 0.4
  max_per_class: int = 100
  max_total: int = 300


@dataclasses.dataclass
class MultiObject(hyperparams.Config):
  """Multi-object task: soft class shares of random windows.

  Attributes:
    loss_weight: 0 removes the head.
    sampling: `top_left` (paper) or `center_clip` (released).
    resample: `online` draws windows anew each step; `offline_fixed` (released) always uses the
      same ones for an image.
    empty_image: windows of an image without objects carry `no_loss`, or are learnt as
      `background` (released).
  """

  loss_weight: float = 1.0
  num_windows: int = 64
  min_size_px: float = 32.0
  sampling: str = "top_left"
  resample: str = "online"
  empty_image: str = "no_loss"


@dataclasses.dataclass
class Closeness(hyperparams.Config):
  """Closeness task: how near the other objects of each class are.

  Attributes:
    loss_weight: 0 removes the head.
    include_same_class: count neighbours of the object's own class (released: false).
    drop_background: leave the background column out of the loss (released: true).
    normalizer: `batch_positives` divides by the positives of the batch; `per_image_sum`
      (released) by those of each image, and adds the images up.
  """

  loss_weight: float = 0.3
  include_same_class: bool = True
  drop_background: bool = False
  normalizer: str = "batch_positives"


@dataclasses.dataclass
class Foreground(hyperparams.Config):
  """Foreground task: which cells of the image lie in a box.

  Attributes:
    loss_weight: 0 removes the head.
    weighting: `uniform`, or `inverse_area` (released).
    logit_activation: `linear`, or `tanh` (released).
    head: `conv1x1` (as in the released configurations) or `conv3x3`.
    resize: `half_pixel`, or `legacy` (released) sampling when the map is brought to mask size.
  """

  loss_weight: float = 1.0
  mask_size: int = 64
  weighting: str = "uniform"
  logit_activation: str = "linear"
  head: str = "conv1x1"
  resize: str = "half_pixel"


@dataclasses.dataclass
class SharedMap(hyperparams.Config):
  """Auxiliary heads of `trunk: shared_map`.

  Attributes:
    stride: cells of the shared map from one cell of their maps to the next, 1 or 2; of MobileNet,
      whose second stage strides, 1 is a dense form of it; Inception has 2 alone.
    reduce_depth: as of `Rfcn`; 0 makes the score maps from what the second stage puts out.
    num_bins, crop_size: as of `Rfcn`. One bin is what heads on crops do: the mean over a region.
  """

  stride: int = 2
  reduce_depth: int = 0
  num_bins: int = 1
  crop_size: int = 7


@dataclasses.dataclass
class Auxiliary(hyperparams.Config):
  """The tasks that label themselves from the ground-truth boxes.

  Attributes:
    trunk: what the multi-object and the closeness head classify. `own`: the output of a second
      stage of their own, run as the main head's is (paper); `shared_map`: of a second stage of
      their own, run once over the shared map, from which regions are pooled as in R-FCN;
      `classifier_features`: the pooled features of the main second stage, of Faster R-CNN.
    shared_map: of that trunk.
    round_decimals: round soft labels to so many decimals (released: 3); None keeps them exact.
    flip_labels: windows and mask follow a flipped image (released: false, they stay behind).
    init_from: weights that the tasks' own second stages start from: `main_stage2` copies the main
      head's, `random` draws new ones.
    stop_gradient_shared: keep the tasks from training the shared stage 1.
    stop_gradient_includes_foreground: whether that holds for the foreground task too.
  """

  multi_object: MultiObject = _new(MultiObject)
  closeness: Closeness = _new(Closeness)
  foreground: Foreground = _new(Foreground)
  trunk: str = "own"
  shared_map: SharedMap = _new(SharedMap)
  round_decimals: int | None = None
  flip_labels: bool = True
  init_from: str = "main_stage2"
  stop_gradient_shared: bool = False
  stop_gradient_includes_foreground: bool = True


@dataclasses.dataclass
class Refinement(hyperparams.Config):
  """The layer that corrects class scores by the auxiliary tasks' outputs.

  Attributes:
    num_windows: windows around a proposal, from itself to the whole image.
    input: `logits` or `probabilities` of the auxiliary heads.
    stop_gradient_residual: the refinement loss trains this layer alone (released: false).
    use_bias: (released: true).
    closeness_mean: over the image's valid proposals, `per_image_valid`, or over `all_rows` of the
      batch with padding (released).
    train_rois: sampled boxes of an image that the layer learns from; 0 is all of them.
    min_object_score: at inference, proposals whose probability of being any object is less, by the
      main head, keep the main head's scores; refining them could make no detection of them.
    max_proposals: at inference, refine at most so many proposals of an image, the likeliest
      objects; 0 is no limit.
  """

  enabled: bool = True
  loss_weight: float = 1.0
  num_windows: int = 5
  input: str = "logits"
  residual: bool = True
  stop_gradient_residual: bool = True
  use_bias: bool = False
  closeness_mean: str = "per_image_valid"
  train_rois: int = 64
  min_object_score: float = 0.01
  max_proposals: int = 0


@dataclasses.dataclass
class Regularization(hyperparams.Config):
  """Weight decay, added to the loss as scale / 2 x the sum of squared kernel entries.

  Attributes:
    auxiliary_l2: of the auxiliary heads' last layers and the refinement layer (released: 1e-3).
  """

  backbone_l2: float = 1e-4
  rpn_l2: float = 1e-4
  head_l2: float = 1e-4
  auxiliary_l2: float = 1e-4


@dataclasses.dataclass
class MtlDetection(cfg.TaskConfig):
  """A detector with its data, losses and evaluation.

  Attributes:
    label_map: text file with one class name a line; gives the number of classes.
    seed: of the initial weights and of every random choice in a step.
    init_checkpoint: weights to start from: `imagenet`, a .h5 file of a Keras network, a TF-slim
      checkpoint, or a detector's checkpoint; see `checkpoints/pretrained.py`.
    init_modules: of a detector's checkpoint, `all`, or `backbone` to leave the heads out, e.g.
      because the classes are others.
  """

  label_map: str = ""
  seed: int = 0
  init_modules: str = "all"
  backbone: Backbone = _new(Backbone)
  anchors: Anchors = _new(Anchors)
  rpn: Rpn = _new(Rpn)
  roi_head: RoiHead = _new(RoiHead)
  auxiliary: Auxiliary = _new(Auxiliary)
  refinement: Refinement = _new(Refinement)
  detections: Detections = _new(Detections)
  regularization: Regularization = _new(Regularization)
  train_data: data_config.Data = _new(data_config.Data, is_training=True, global_batch_size=1)
  validation_data: data_config.Data = _new(
    data_config.Data, is_training=False, global_batch_size=1, drop_remainder=False
  )
  evaluation: data_config.Evaluation = _new(data_config.Evaluation)
  pictures: data_config.Pictures = _new(data_config.Pictures)
