"""Class scores of proposals to mine among, for less than what inference would spend on them.

Inference refines every proposal that may be an object, and each of their windows costs a second
stage. A training step that mines would spend as much on that as on learning. Here refinement is for
the few proposals that are most likely objects. Letters as in `detector.py`; `M` refined boxes.
"""

from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.modeling import detector


class MiningScores(NamedTuple):
  """Scores and boxes that proposals are mined by.

  Attributes:
    class_logits: float32 [B, P, C], refined where there is refinement.
    box_deltas: float32 [B, P, C - 1, 4], or [B, P, 1, 4] for all classes.
    boxes_px: float32 [B, P, 4], what deltas are from: the proposals, or with a cascade the boxes of
      its last stage.
  """

  class_logits: tf.Tensor
  box_deltas: tf.Tensor
  boxes_px: tf.Tensor


def mining_scores(
  model: detector.Detector,
  first: detector.FirstStage,
  image_size_px: tf.Tensor,
  max_refined: int,
) -> MiningScores:
  """Returns final class logits and boxes of the proposals.

  Refined are the M proposals most likely to be any object by the main head, and the mean closeness
  of an image is that of M proposals evenly spread over all; the others keep the main head's logits.
  Heads that work on whole maps classify all boxes at next to no cost, and do.

  Args:
    model: the detector.
    first: with proposals as at inference, see `Detector.propose_as_at_inference`.
    image_size_px: float32 [B, 2].
    max_refined: M; 0 is as inference does it.
  """
  heads = (model.multi_object_head, model.closeness_head)
  runs_on_crops = any(head is not None and head.runs_on_crops for head in heads)
  num_proposals = first.proposals.boxes_px.shape[1]
  if model.refiner is None or not runs_on_crops or not 0 < max_refined < num_proposals:
    outputs, class_logits, box_deltas = model.score_proposals(first, image_size_px)
    return MiningScores(class_logits, box_deltas, outputs["proposals_px"])

  boxes_px, valid, _ = first.proposals
  main = model.box_stage(first.features, boxes_px, image_size_px, with_closeness=False)
  boxes_px = main.boxes_px
  logits = main.class_logits  # [B, P, C]
  spread = tf.range(max_refined) * num_proposals // max_refined  # [M]
  closeness = None
  if model.closeness_head is not None:
    spread_boxes, spread_features = (
      None if values is None else tf.gather(values, spread, axis=1)
      for values in (boxes_px, main.box_features)
    )
    closeness = model.classify_closeness(
      first.features, spread_boxes, image_size_px, spread_features
    )  # [B, M, C]
  mean_closeness = model.mean_closeness(closeness, tf.gather(valid, spread, axis=1))

  objectness = tf.reduce_logsumexp(logits[..., 1:], axis=-1) - logits[..., 0]  # [B, P]
  objectness = tf.where(valid, objectness, objectness.dtype.min)
  _, likely = tf.math.top_k(objectness, max_refined)  # [B, M]
  picked_boxes, picked_logits, picked_features = (
    None if values is None else tf.gather(values, likely, batch_dims=1)
    for values in (boxes_px, logits, main.box_features)
  )
  refined = model.refine(
    first.features, picked_boxes, picked_logits, mean_closeness, image_size_px, picked_features
  )  # [B, M, C]
  is_place = tf.equal(tf.range(num_proposals)[:, tf.newaxis], likely[:, tf.newaxis])  # [B, P, M]
  places = tf.argmax(tf.cast(is_place, tf.int32), axis=-1, output_type=tf.int32)  # [B, P]
  is_refined = tf.reduce_any(is_place, axis=-1, keepdims=True)  # [B, P, 1]
  refined = tf.gather(refined, places, batch_dims=1)  # [B, P, C]
  return MiningScores(tf.where(is_refined, refined, logits), main.box_deltas, boxes_px)
