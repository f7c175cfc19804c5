"""Losses of a training step, from a batch through labels and model."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.labels import (
  annotated_classes,
  foreground,
  mining,
  roi_targets,
  rpn_targets,
  unlabelled_objects,
)
from mtl_ssl_tf.labels import auxiliary as auxiliary_labels
from mtl_ssl_tf.losses import auxiliary_losses, batch_sum, detection_losses
from mtl_ssl_tf.modeling import detector, proposals
from mtl_ssl_tf.ops import box_ops, resize_ops, seed_ops
from mtl_ssl_tf.tasks import main_head_losses

# Step that seeds windows that never change (`multi_object.resample: offline_fixed`).
FIXED_STEP = 0


class Measure(NamedTuple):
  """A mean for the log over a step's boxes or images: float32 scalars, their sum and their number.

  Over several steps it is the sum of all totals by that of all counts, so that a step without
  anything to count leaves it as it is.
  """

  total: tf.Tensor
  count: tf.Tensor

  @property
  def mean(self) -> tf.Tensor:
    """Returns the mean; 0 where there is nothing to count."""
    return tf.math.divide_no_nan(self.total, self.count)


@dataclasses.dataclass(frozen=True)
class Supervision:
  """The images of a step as the model sees them, and their ground truth.

  Attributes:
    first: what `Detector.first_stage` returned for them in training.
    labels: of the same images, as of a batch (`data/pipeline/detection_parser.py`). Where mined
      boxes complete them, `is_pseudo` bool [B, N] says which rows those are.
    num_views: the batch holds so many views of its images, one after the other. The losses of a
      step are the sum of theirs.
    measures: by name, for the log, no losses; of this replica's images.
    losses: further losses by name, weighted; a replica's part, as of `replica_losses`.
  """

  first: detector.FirstStage
  labels: dict[str, tf.Tensor]
  num_views: int = 1
  measures: dict[str, Measure] = dataclasses.field(default_factory=dict)
  losses: dict[str, batch_sum.BatchSum] = dataclasses.field(default_factory=dict)


def make_auxiliary_targets(
  config: detector_config.MtlDetection,
  labels: dict[str, tf.Tensor],
  step: tf.Tensor,
  num_classes: int,
) -> auxiliary_labels.AuxiliaryTargets:
  """Returns the targets of the auxiliary tasks, as configured, for one step's batch.

  Windows are drawn around annotations alone, so that they are the same in all views of an image.
  """
  auxiliary = config.auxiliary
  if auxiliary.multi_object.resample == "offline_fixed":
    step = FIXED_STEP
  window_classes = None
  if "is_pseudo" in labels:
    window_classes = tf.where(labels["is_pseudo"], -1, labels["gt_classes"])
  targets = auxiliary_labels.auxiliary_targets(
    labels["gt_boxes_px"],
    labels["gt_classes"],
    labels["image_size_px"],
    labels["flipped"],
    seed_ops.image_seeds(config.seed, seed_ops.WINDOWS, step, labels["image_key"]),
    num_classes,
    num_windows=auxiliary.multi_object.num_windows,
    min_window_px=auxiliary.multi_object.min_size_px,
    window_sampling=auxiliary.multi_object.sampling,
    empty_image=auxiliary.multi_object.empty_image,
    include_same_class=auxiliary.closeness.include_same_class,
    mask_size=auxiliary.foreground.mask_size,
    foreground_weighting=auxiliary.foreground.weighting,
    round_decimals=auxiliary.round_decimals,
    flip_labels=auxiliary.flip_labels,
    window_classes=window_classes,
  )
  annotated = annotated_classes.of_images(labels)
  if annotated is None:
    return targets
  closeness_labels = annotated_classes.closeness_labels(targets.closeness_labels, annotated)
  return targets._replace(closeness_labels=closeness_labels)


def reduce_over_replicas(parts: dict[str, tf.Tensor | batch_sum.BatchSum]) -> dict[str, tf.Tensor]:
  """Returns scalars whose means over replicas are the losses of the whole batch.

  A single replica's value may be larger or smaller than the loss of its own images. On several
  replicas this cannot be compiled by itself: they exchange their counts here.

  Args:
    parts: by name, see `replica_losses`.
  """
  return {
    name: part.replica_loss() if isinstance(part, batch_sum.BatchSum) else part
    for name, part in parts.items()
  }


def replica_losses(
  model: detector.Detector,
  config: detector_config.MtlDetection,
  first: detector.FirstStage,
  labels: dict[str, tf.Tensor],
  targets: auxiliary_labels.AuxiliaryTargets,
  step: tf.Tensor,
  training: bool = True,
  num_views: int = 1,
) -> dict[str, tf.Tensor | batch_sum.BatchSum]:
  """Returns a replica's part of every configured loss, weighted, without weight decay.

  Args:
    model: the detector.
    config: of the task.
    first: what `model.first_stage` returned in training.
    labels: the batch's ground truth, see `data/pipeline/detection_parser.py`.
    targets: of the auxiliary tasks.
    step: integer scalar, seeds the sampling.
    training: mode of the model; False for losses of the validation data.
    num_views: of each image, one after the other in the batch; every loss is the sum of theirs.

  Returns:
    Parts by name: `rpn_objectness`, `rpn_box`, `roi_class`, `roi_box`, and where configured
    `roi_class_2` and `roi_box_2` and so on of a cascade's later stages, `multi_object`,
    `closeness`, `foreground`, `refinement`. A scalar is a mean over images, or the sum of each
    view's mean.
  """
  annotated = annotated_classes.of_images(labels)
  if annotated is None:
    losses = _rpn_losses(config, first, labels, step)
  rois = sample_rois(config, first.proposals, labels, step)
  image_size_px = labels["image_size_px"]
  second = model.box_stage(
    first.features,
    rois.boxes_px,
    image_size_px,
    training=training,
    # Positives come first, and only positives have a closeness loss.
    num_closeness_rows=int(config.roi_head.positive_fraction * config.roi_head.batch_size),
  )
  regions = None
  if annotated is not None:
    # The RPN comes after the second stage here, which says where unannotated objects are. Of a
    # cascade it is the first stage that looks at the sampled boxes themselves.
    class_logits = second.cascade[0].class_logits if second.cascade else second.class_logits
    regions = annotated_classes.unannotated_regions(
      class_logits,
      rois.boxes_px,
      rois.valid & ~rois.is_positive,
      annotated_classes.of_boxes(labels, rois.boxes_px),
    )
    losses = _rpn_losses(config, first, labels, step, regions)
  main_losses, final_rois = main_head_losses.main_head_losses(config.roi_head, second, rois, labels)
  losses |= main_losses
  prepared = None
  if model.multi_object_head is not None:
    prepared = model.prepare_multi_object(first.features, training=training)
  losses.update(
    _auxiliary_losses(
      model, config, first, second, rois, targets, labels, regions, prepared, training, num_views
    )
  )
  if model.refiner is not None:
    losses["refinement"] = _refinement_loss(
      model,
      config,
      first,
      second,
      final_rois,
      image_size_px,
      prepared,
      annotated_classes.of_boxes(labels, final_rois.boxes_px),
    )
  if num_views > 1:
    losses = {
      # The mean over all views, so many times, is the sum of the views' means.
      name: part if isinstance(part, batch_sum.BatchSum) else num_views * part
      for name, part in losses.items()
    }
  return losses


def weight_decay(model: detector.Detector, config: detector_config.Regularization) -> tf.Tensor:
  """Returns scale / 2 x the sum of squares over the kernels of each group, as TF-slim counts it."""
  auxiliary_heads = (
    model.multi_object_head,
    model.closeness_head,
    model.foreground_head,
    model.refiner,
  )
  heads = [head for head in auxiliary_heads if head is not None]
  groups = (
    (config.backbone_l2, [kernel for stage in model.stages for kernel in stage.decayed_kernels]),
    (config.rpn_l2, model.rpn.decayed_kernels),
    (config.head_l2, model.box_head.last_kernels),
    (config.auxiliary_l2, [kernel for head in heads for kernel in head.last_kernels]),
  )
  total = tf.constant(0.0)
  for scale, kernels in groups:
    if scale and kernels:
      total += scale * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
  return total


def _rpn_losses(
  config, first: detector.FirstStage, labels, step, regions=None
) -> dict[str, tf.Tensor]:
  """Objectness and box loss; `regions` are those of `annotated_classes`, if there are any."""
  rpn = config.rpn
  never_negative = labels.get(unlabelled_objects.ANCHORS)
  if regions is not None:
    is_on = annotated_classes.on_regions(first.anchors.boxes_px, regions, rpn.negative_iou)
    never_negative = is_on if never_negative is None else never_negative | is_on
  targets = rpn_targets.rpn_targets(
    first.anchors.boxes_px,
    first.anchors.is_candidate,
    labels["gt_boxes_px"],
    labels["gt_classes"],
    _sampling_seeds(config, seed_ops.RPN_SAMPLING, labels, step),
    num_samples=rpn.batch_size,
    positive_fraction=rpn.positive_fraction,
    positive_iou=rpn.positive_iou,
    negative_iou=rpn.negative_iou,
    never_negative=never_negative,
  )
  objectness, box = detection_losses.rpn_losses(
    first.rpn.logits,
    first.rpn.deltas,
    targets.objectness,
    targets.box_deltas,
    targets.selected,
    mining.with_box_target(labels, targets.positive, targets.gt_indices),
    rpn.box_loss_sigma,
  )
  return {
    "rpn_objectness": rpn.objectness_loss_weight * objectness,
    "rpn_box": rpn.box_loss_weight * box,
  }


def _sampling_seeds(config, stream: int, labels, step) -> tf.Tensor:
  """Returns a seed for each image, int32 [B, 2]; views of an image have seeds of their own."""
  keys = labels.get("view_key", labels["image_key"])
  return seed_ops.image_seeds(config.seed, stream, step, keys)


def sample_rois(
  config: detector_config.MtlDetection,
  proposed: proposals.Proposals,
  labels: dict[str, tf.Tensor],
  step: tf.Tensor,
) -> roi_targets.RoiTargets:
  """Returns the minibatch of proposals for the losses of a step, positives first."""
  roi_head = config.roi_head
  return roi_targets.roi_targets(
    proposed.boxes_px,
    proposed.valid,
    labels["gt_boxes_px"],
    labels["gt_classes"],
    _sampling_seeds(config, seed_ops.ROI_SAMPLING, labels, step),
    num_samples=roi_head.batch_size,
    positive_fraction=roi_head.positive_fraction,
    positive_iou=roi_head.positive_iou,
    append_gt=roi_head.append_ground_truth,
  )


def _auxiliary_losses(
  model, config, first, second, rois, targets, labels, regions, prepared, training, num_views
) -> dict[str, tf.Tensor]:
  """Closeness is that of the object that a sampled box is of, wherever a cascade moves the box."""
  auxiliary, image_size_px = config.auxiliary, labels["image_size_px"]
  losses = {}
  if model.multi_object_head is not None:
    logits = model.classify_windows(
      first.features, targets.windows_px, image_size_px, training=training, prepared=prepared
    )
    losses["multi_object"] = auxiliary_losses.multi_object_loss(
      logits,
      targets.window_labels,
      targets.window_weights,
      num_views,
      annotated_classes.of_boxes(labels, targets.windows_px),
    ).weighted(auxiliary.multi_object.loss_weight)
  if model.closeness_head is not None:
    roi_labels = tf.gather(targets.closeness_labels, rois.gt_indices, batch_dims=1)  # [B, K, C]
    # Objects with nothing but ignored regions around them have no label.
    has_label = tf.reduce_any(roi_labels > 0.0, axis=-1)  # [B, K]
    losses["closeness"] = auxiliary_losses.closeness_loss(
      second.closeness_logits,
      roi_labels,
      rois.is_positive & has_label,
      auxiliary.closeness.drop_background,
      auxiliary.closeness.normalizer,
      num_views,
      annotated_classes.of_images(labels),
    ).weighted(auxiliary.closeness.loss_weight)
  if model.foreground_head is not None:
    logits = foreground_logits(model, config, first.features, image_size_px)
    weights = targets.foreground_weights
    if regions is not None:
      weights = _without_regions(config, targets, labels, regions)
    losses["foreground"] = auxiliary.foreground.loss_weight * auxiliary_losses.foreground_loss(
      logits, targets.foreground_mask, weights
    )
  return losses


def _without_regions(config, targets, labels, regions) -> tf.Tensor:
  """Weights of the foreground mask [B, h, w] without the background of `annotated_classes`."""
  (regions_px, region_classes), image_size_px = regions, labels["image_size_px"]
  if not config.auxiliary.flip_labels:  # The mask stays behind, as the released code has it.
    regions_px = auxiliary_labels.mirror_boxes(regions_px, image_size_px, labels["flipped"])
  return foreground.without_regions(
    targets.foreground_weights,
    targets.foreground_mask,
    box_ops.normalize(regions_px, image_size_px),
    tf.equal(region_classes, 0),
  )


def foreground_logits(
  model, config, features: detector.SharedMap, image_size_px: tf.Tensor
) -> tf.Tensor:
  """Returns the foreground head's logits [B, h, w, 2] at the size of the mask."""
  foreground = config.auxiliary.foreground
  content_cells = tf.math.ceil(image_size_px / model.foreground_stride)  # [B, 2]
  side = foreground.mask_size
  return resize_ops.bilinear_resize(
    model.predict_foreground(features),
    content_cells,
    (side, side),
    half_pixel_centers=foreground.resize == "half_pixel",
  )


def refinement_rows(num_rois: int, num_kept: int) -> tf.Tensor:
  """Returns int32 [K'], those of K sampled proposals that the refinement layer is trained on.

  Positives come first, so evenly spaced rows keep their share.
  """
  return tf.cast(tf.range(num_kept) * num_rois / num_kept, tf.int32)


def _refinement_loss(
  model, config, first, second, rois, image_size_px, prepared, annotated
) -> tf.Tensor:
  closeness = model.mean_closeness(second.closeness_logits, rois.valid)
  picked = (
    rois.boxes_px,
    second.class_logits,
    rois.classes,
    rois.valid,
    second.box_features,
    annotated,
  )
  num_rois = rois.boxes_px.shape[1]
  if 0 < config.refinement.train_rois < num_rois:
    rows = refinement_rows(num_rois, config.refinement.train_rois)  # [K']
    picked = [None if values is None else tf.gather(values, rows, axis=1) for values in picked]
  boxes_px, logits, classes, valid, box_features, annotated = picked
  refined = model.refine(
    first.features, boxes_px, logits, closeness, image_size_px, box_features, prepared
  )
  return config.refinement.loss_weight * detection_losses.roi_class_loss(
    refined, classes, valid, annotated
  )
