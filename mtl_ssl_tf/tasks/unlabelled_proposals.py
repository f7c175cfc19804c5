"""Applies SparseDet: proposals that are probably objects without annotation are no background.

They are masked, so that neither stage is taught that they are background, and their features are
drawn together between both views of an image.

Letters: `B` images, `V` views of each, `P` proposals, `A` anchors, `T` proposals with consistency.

Reference: Suri et al., "SparseDet: Improving Sparsely Annotated Object Detection with
Pseudo-positive Mining", ICCV 2023.
"""

import dataclasses

import tensorflow as tf

from mtl_ssl_tf.configs import co_mining
from mtl_ssl_tf.labels import unlabelled_objects
from mtl_ssl_tf.losses import batch_sum
from mtl_ssl_tf.modeling import detector, proposals
from mtl_ssl_tf.ops import box_coder_ops, box_ops, nms_ops
from mtl_ssl_tf.tasks import training_losses

# Name of the loss, and of the measure for the log.
CONSISTENCY = "consistency"
MASKED = "mining/unlabelled"


def apply(
  model: detector.Detector,
  config: co_mining.Unlabelled,
  supervision: training_losses.Supervision,
  step: tf.Tensor,
) -> training_losses.Supervision:
  """Returns what a step learns from, without proposals and anchors that are probably objects.

  Args:
    model: the detector.
    config: which of that is asked for.
    supervision: of all views, annotations completed.
    step: integer scalar; before `start_step` nothing is known of them.
  """
  first, labels = supervision.first, supervision.labels
  num_views = supervision.num_views
  if config.shared_proposals:
    first = first._replace(proposals=of_first_view(first.proposals, num_views))
  if not config.is_used:
    return dataclasses.replace(supervision, first=first)
  has_begun = tf.cast(step, tf.int32) >= config.start_step
  boxes_px, valid, scores = first.proposals
  is_found = has_begun & _probable_objects(config, boxes_px, scores, valid, labels)  # [V·B, P]
  losses = dict(supervision.losses)
  if config.consistency_loss_weight:
    losses[CONSISTENCY] = consistency_loss(
      model, config, first, is_found, labels["image_size_px"]
    ).weighted(config.consistency_loss_weight)
  measures = supervision.measures | {
    MASKED: training_losses.Measure(
      tf.reduce_sum(tf.cast(is_found, tf.float32)), tf.cast(tf.shape(boxes_px)[0], tf.float32)
    )
  }
  if config.mask_proposals:
    first = first._replace(proposals=first.proposals._replace(valid=valid & ~is_found))
  if config.mask_anchors:
    is_masked = has_begun & _on_probable_objects(config, first, labels)
    labels = labels | {unlabelled_objects.ANCHORS: is_masked}
  return dataclasses.replace(
    supervision, first=first, labels=labels, losses=losses, measures=measures
  )


def of_first_view(proposed: proposals.Proposals, num_views: int) -> proposals.Proposals:
  """Returns proposals [V·B, ...] with those of the first of V views in the place of all others."""

  def repeat(values: tf.Tensor) -> tf.Tensor:
    first = tf.split(values, num_views)[0]
    return tf.concat([first] * num_views, axis=0)

  return tf.nest.map_structure(repeat, proposed)


def consistency_loss(
  model: detector.Detector,
  config: co_mining.Unlabelled,
  first: detector.FirstStage,
  is_found: tf.Tensor,
  image_size_px: tf.Tensor,
) -> batch_sum.BatchSum:
  """Mean squared difference of both views' features of the same proposals, those of the first view.

  Gradients pass to both. The main head is that of training, as for sampled proposals, but for
  normalisation, whose statistics stay as they are.

  Args:
    model: a detector whose main head has a feature vector for each box.
    config: how many proposals, and how far apart.
    first: of 2·B views, the images and then their copies.
    is_found: bool [2·B, P], the proposals that are probably objects.
    image_size_px: float32 [2·B, 2].

  Returns:
    The sum over proposals of the difference, a mean over the feature's entries, and their number.
  """
  boxes_px, _, scores = (tf.split(values, 2)[0] for values in first.proposals)  # [B, P, ...]
  indices, kept = nms_ops.batched_nms(
    boxes_px,
    scores,
    tf.split(is_found, 2)[0],
    iou_threshold=config.consistency_nms_iou,
    max_outputs=config.consistency_boxes,
    pre_nms_top_k=None,
    method=model.detect.nms_method,
  )  # [B, T] each
  boxes_px = tf.gather(boxes_px, indices, batch_dims=1)  # [B, T, 4]
  second = model.box_stage(
    first.features,
    tf.concat([boxes_px, boxes_px], axis=0),
    image_size_px,
    training=False,
    with_closeness=False,
  )
  features, copies = tf.split(tf.cast(second.box_features, tf.float32), 2)  # [B, T, depth] each
  differences = tf.reduce_mean(tf.math.squared_difference(features, copies), axis=-1)  # [B, T]
  counted = tf.cast(kept, tf.float32)
  return batch_sum.BatchSum(tf.reduce_sum(differences * counted), tf.reduce_sum(counted))


def _probable_objects(
  config: co_mining.Unlabelled,
  boxes_px: tf.Tensor,
  scores: tf.Tensor,
  valid: tf.Tensor,
  labels: dict[str, tf.Tensor],
) -> tf.Tensor:
  return unlabelled_objects.probable_objects(
    boxes_px,
    scores,
    valid,
    labels["gt_boxes_px"],
    labels["gt_classes"],
    min_objectness=config.min_objectness,
    max_iou=config.max_iou,
  )


def _on_probable_objects(
  config: co_mining.Unlabelled, first: detector.FirstStage, labels: dict[str, tf.Tensor]
) -> tf.Tensor:
  """Marks the anchors that predict a box which is probably an object; bool [V·B, A]."""
  boxes_px = box_coder_ops.decode(first.rpn.deltas, first.anchors.boxes_px)  # [V·B, A, 4]
  boxes_px = box_ops.clip_to_size(boxes_px, labels["image_size_px"])
  scores = tf.nn.softmax(first.rpn.logits)[..., 1]  # [V·B, A]
  return _probable_objects(config, boxes_px, scores, first.anchors.is_candidate, labels)
