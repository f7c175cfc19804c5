"""The one file to read: images in, detections out.

    images -> stage 1 -> shared map -> RPN -> proposals
                              |                  |
                              |                boxes  -> main head: class logits, boxes
                              |                  |----> closeness head
                              |----> windows around boxes -> multi-object head
                              |----> foreground head
             main + multi-object + closeness logits -> refinement -> detections

Each head prepares the shared map once an image and then classifies any boxes (`heads/base.py`).
With a feature pyramid stage 1 is the whole network, and the shared map is the pyramid:

    images -> stage 1 -> C2 ... C5 -> pyramid -> P2 ... P6 -> RPN on each -> proposals
                                         |
                                         |-> packed into one map, that boxes are cropped from

With a cascade the main head is several, one after the other, each on the boxes that the one before
it predicts (`heads/cascade_head.py`). All that follows from it takes the boxes of the last one.

Inference is `Detector.call`. A training step calls the parts in this order:

    tasks/mtl_detection.py      first_stage                      images -> map, anchors, proposals
    (tasks/co_mining.py         propose_as_at_inference, mining_scores     boxes to learn from)
    tasks/training_losses.py    (RPN losses, sampled proposals)
      replica_losses            box_stage                        main and closeness logits
                                prepare_multi_object, classify_windows       multi-object logits
                                predict_foreground               foreground logits
                                mean_closeness, refine           refined logits

Letters: `B` images of `H` x `W` pixels; `h`, `w`, `c` rows, columns and channels of the shared map;
`C` classes with the background; `R` boxes of an image, which are its `P` proposals at inference and
those sampled in training; `S` windows of an image, for the multi-object head; `Q` windows around
each box, in refinement.
"""

import contextlib
import dataclasses
from typing import NamedTuple

import tensorflow as tf

from mtl_ssl_tf.modeling import detector_parts, proposals
from mtl_ssl_tf.modeling.heads import base as heads_base
from mtl_ssl_tf.modeling.heads import rpn_head
from mtl_ssl_tf.ops import box_ops, pyramid_ops

# The map [B, h, w, c] that all heads share, or a pyramid of maps.
SharedMap = tf.Tensor | pyramid_ops.PackedMaps
# Level whose cells the foreground head classifies: its stride is that of the shared map.
FOREGROUND_LEVEL = 4


class FirstStage(NamedTuple):
  """Shared map, RPN outputs, anchors and proposals."""

  features: SharedMap
  rpn: rpn_head.RpnOutputs
  anchors: proposals.Anchors
  proposals: proposals.Proposals


class BoxStage(NamedTuple):
  """Outputs of the heads that classify boxes.

  Attributes:
    class_logits: float32 [B, R, C], background first.
    box_deltas: float32 [B, R, C - 1, 4], or [B, R, 1, 4] for all classes.
    closeness_logits: float32 [B, R, C], or None without that head.
    box_features: float32 [B, R, depth], the main head's, or None of heads on maps.
    boxes_px: float32 [B, R, 4], what all of these are of: the given boxes, or with a cascade those
      of its last stage.
    cascade: the stages of a cascade, first one first; empty without one.
  """

  class_logits: tf.Tensor
  box_deltas: tf.Tensor
  closeness_logits: tf.Tensor | None
  box_features: tf.Tensor | None
  boxes_px: tf.Tensor
  cascade: tuple[heads_base.CascadeStage, ...] = ()


class Detector(detector_parts.DetectorParts):
  """Faster R-CNN or R-FCN with auxiliary heads and refinement (Lee et al., CVPR 2019).

  Heads given as None are left out. Any batch size works, and each image's result is its own,
  except with `refinement.closeness_mean: all_rows`: the padded input may be larger than the image
  (`image_size_px`) and what lies outside plays no part in anchors, crops and windows.

  In mixed precision the stages and the hidden convolutions compute in bfloat16 or float16; images,
  boxes, logits and all that follows from them stay float32.
  """

  def call(
    self, images: tf.Tensor, image_size_px: tf.Tensor, training: bool = False
  ) -> dict[str, tf.Tensor]:
    """Detects objects.

    Args:
      images: float32 [B, H, W, 3], RGB 0 ... 255, content in the top-left corner.
      image_size_px: float32 [B, 2], height and width of the content.
      training: bool, as in `first_stage` and `box_stage`.

    Returns:
      What `DetectionGenerator` returns, and the tensors on the way: `features`, the shared map,
      `proposals_px` [B, P, 4], `proposals_valid` and `proposals_scores` [B, P], `class_logits`
      [B, P, C] (unrefined), and where there are such heads `refined_logits` and
      `closeness_logits` [B, P, C], and `refined` bool [B, P]: proposals that are not refined keep
      the main head's logits. With the multi-object head also `window_logits` [B, P, Q, C], which
      are undefined for the windows of those. With a cascade, proposals are those of its last stage.
    """
    first = self.first_stage(images, image_size_px, training=training)
    return self.second_stage(first, image_size_px, training=training)

  def second_stage(
    self, first: FirstStage, image_size_px: tf.Tensor, training: bool = False
  ) -> dict[str, tf.Tensor]:
    """Returns what `call` returns, from the first stage's outputs for the same images."""
    outputs, final_logits, box_deltas = self.score_proposals(first, image_size_px, training)
    boxes_px, valid = outputs["proposals_px"], first.proposals.valid
    return outputs | self.detect(final_logits, box_deltas, boxes_px, valid, image_size_px)

  def score_proposals(
    self, first: FirstStage, image_size_px: tf.Tensor, training: bool = False
  ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Returns all that `call` returns but the detections, and what these are selected by.

    The second value are the class logits [B, P, C], refined where there is refinement; the third
    the box deltas [B, P, C - 1, 4] from `proposals_px`.
    """
    boxes_px, valid, scores = first.proposals
    second = self.box_stage(first.features, boxes_px, image_size_px, training=training)
    outputs = {
      "features": first.features,
      "proposals_px": second.boxes_px,
      "proposals_valid": valid,
      "proposals_scores": scores,
      "class_logits": second.class_logits,
    }
    if second.closeness_logits is not None:
      outputs["closeness_logits"] = second.closeness_logits
    final_logits = second.class_logits
    if self.refiner is not None:
      outputs |= self._refine_proposals(first, second, image_size_px)
      final_logits = outputs["refined_logits"]
    return outputs, final_logits, second.box_deltas

  def first_stage(
    self, images: tf.Tensor, image_size_px: tf.Tensor, training: bool = False
  ) -> FirstStage:
    """Proposes boxes.

    Args:
      images: float32 [B, H, W, 3], RGB 0 ... 255, content in the top-left corner.
      image_size_px: float32 [B, 2], height and width of the content.
      training: bool; the anchors that cross the border are dropped, not clipped.
    """
    inputs = self.backbone.preprocess(images) * content_mask(images, image_size_px)
    features = self.stage1(inputs, training=training)  # [B, h, w, c], or one for each level
    if self.pyramid is not None:
      features = self.pyramid(features, training=training)
    rpn = self.rpn(features)
    anchors = self.anchor_grid(features, image_size_px, training)
    if self.pyramid is not None:
      features = self._pyramid_cropper.pack(features, image_size_px)
    return FirstStage(features, rpn, anchors, self._propose(rpn, anchors, image_size_px))

  def anchors_in_losses(self, features: SharedMap, image_size_px: tf.Tensor) -> proposals.Anchors:
    """Returns the anchors of the shared map as in training, whatever `first_stage` returned."""
    return self._anchors(features, image_size_px, training=True)

  def _anchors(
    self, features: SharedMap, image_size_px: tf.Tensor, training: bool
  ) -> proposals.Anchors:
    maps = features if self.pyramid is None else features.maps
    return self.anchor_grid(maps, image_size_px, training)

  def propose_as_at_inference(
    self, first: FirstStage, image_size_px: tf.Tensor, num_proposals: int | None = None
  ) -> FirstStage:
    """Returns the first stage with anchors and proposals as at inference; no gradient passes.

    Args:
      first: what `first_stage` returned, in training or not.
      image_size_px: float32 [B, 2].
      num_proposals: the best so many; None is as many as the detector has.
    """
    propose = self._propose
    if num_proposals is not None:
      propose = dataclasses.replace(
        propose, num_proposals=min(num_proposals, propose.num_proposals)
      )
    anchors = self._anchors(first.features, image_size_px, training=False)
    proposed = propose(first.rpn, anchors, image_size_px)
    # A feature pyramid has several maps.
    features = tf.nest.map_structure(tf.stop_gradient, first.features)
    return FirstStage(features, first.rpn, anchors, proposed)

  def box_stage(
    self,
    features: SharedMap,
    boxes_px: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
    num_closeness_rows: int | None = None,
    with_closeness: bool = True,
  ) -> BoxStage:
    """Classifies boxes and refines their position.

    Args:
      features: the shared map.
      boxes_px: float32 [B, R, 4].
      image_size_px: float32 [B, 2].
      training: bool.
      num_closeness_rows: closeness logits from this row on are not used in the loss; None if all
        are used. They carry no gradient where the closeness head runs a second stage of its own on
        crops and rows are independent, which saves two thirds of their cost.
      with_closeness: False leaves the closeness head out.
    """
    boxes_norm = box_ops.normalize(boxes_px, image_size_px)
    prepared = self.box_head.prepare(features, training)
    main = self.box_head(prepared, boxes_norm, image_size_px, training)
    if main.cascade:
      boxes_px = main.cascade[-1].boxes_px
      boxes_norm = box_ops.normalize(boxes_px, image_size_px)
    closeness_logits = None
    if self.closeness_head is not None and with_closeness:
      with _after(main.class_logits):
        if self.closeness_head.uses_box_features:
          closeness_logits = self.closeness_head(
            prepared, boxes_norm, image_size_px, training, main.box_features
          )
        else:
          closeness_logits = self._closeness(
            features, boxes_norm, image_size_px, training, num_closeness_rows
          )
    return BoxStage(
      main.class_logits,
      main.box_deltas,
      closeness_logits,
      main.box_features,
      boxes_px,
      main.cascade,
    )

  def classify_closeness(
    self,
    features: tf.Tensor,
    boxes_px: tf.Tensor,
    image_size_px: tf.Tensor,
    box_features: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Returns closeness logits [B, R, C] of boxes as at inference; arguments as of `refine`."""
    boxes_norm = box_ops.normalize(boxes_px, image_size_px)
    if not self.closeness_head.uses_box_features:
      return self._closeness(features, boxes_norm, image_size_px, False, None)
    prepared = self.box_head.prepare(features)
    return self.closeness_head(prepared, boxes_norm, image_size_px, False, box_features)

  def prepare_multi_object(
    self, features: SharedMap, training: bool = False
  ) -> heads_base.PreparedFeatures:
    """Returns the shared map as the multi-object head prepares it, for all windows of an image."""
    if self._stop_gradient_shared:
      features = tf.nest.map_structure(tf.stop_gradient, features)
    return self.multi_object_head.prepare(features, training)

  def classify_windows(
    self,
    features: SharedMap,
    windows_px: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
    prepared: heads_base.PreparedFeatures | None = None,
  ) -> tf.Tensor:
    """Returns multi-object logits [B, S, C] of windows [B, S, 4].

    Args:
      features: the shared map.
      windows_px: float32 [B, S, 4].
      image_size_px: float32 [B, 2].
      training: bool.
      prepared: what `prepare_multi_object` returned for these features in this mode, if it did.
    """
    prepared = self.prepare_multi_object(features, training) if prepared is None else prepared
    windows_norm = box_ops.normalize(windows_px, image_size_px)
    return self.multi_object_head(prepared, windows_norm, image_size_px, training)

  @property
  def foreground_stride(self) -> int:
    """Pixels from one cell that the foreground head classifies to the next."""
    return self.backbone.stride if self.pyramid is None else 2**FOREGROUND_LEVEL

  def predict_foreground(self, features: SharedMap) -> tf.Tensor:
    """Returns background and foreground logits [B, h, w, 2] of the shared map's cells.

    Of a pyramid they are those of level 4.
    """
    if self.pyramid is not None:
      features = features.maps[self.pyramid.levels.index(FOREGROUND_LEVEL)]  # [B, h, w, c]
    if self._stop_gradient_foreground:
      features = tf.stop_gradient(features)
    return self.foreground_head(features)

  def mean_closeness(
    self, closeness_logits: tf.Tensor | None, valid: tf.Tensor
  ) -> tf.Tensor | None:
    """Returns the image's mean closeness logits [B, 1, C], or None without that head."""
    return self._refinement.mean_closeness(closeness_logits, valid)

  def refine(
    self,
    features: SharedMap,
    boxes_px: tf.Tensor,
    class_logits: tf.Tensor,
    mean_closeness: tf.Tensor | None,
    image_size_px: tf.Tensor,
    box_features: tf.Tensor | None = None,
    prepared: heads_base.PreparedFeatures | None = None,
  ) -> tf.Tensor:
    """Returns refined class logits [B, R, C].

    Args:
      features: the shared map.
      boxes_px: float32 [B, R, 4].
      class_logits: float32 [B, R, C] of the main head for these boxes.
      mean_closeness: float32 [B, 1, C] of `mean_closeness`, or None without that head.
      image_size_px: float32 [B, 2].
      box_features, prepared: as of `expanded_window_logits`.
    """
    window_logits = None
    if self.multi_object_head is not None:
      window_logits = self.expanded_window_logits(
        features, boxes_px, image_size_px, box_features, prepared
      )
    return self.refiner(class_logits, window_logits, mean_closeness)

  def select_refined(self, class_logits: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Returns bool [B, P], the proposals whose scores are refined; see `RefinementStage.select`."""
    return self._refinement.select(class_logits, valid)

  def proposal_windows(
    self, first: FirstStage, second: BoxStage, image_size_px: tf.Tensor, selected: tf.Tensor
  ) -> tf.Tensor:
    """Returns multi-object logits [B, P, Q, C] of the windows around the proposals, at inference.

    Args:
      first, second: outputs of both stages for the same images.
      image_size_px: float32 [B, 2].
      selected: what `select_refined` returned; other windows are undefined.
    """
    return self.expanded_window_logits(
      first.features,
      second.boxes_px,
      image_size_px,
      second.box_features,
      selected=selected if self._refinement.is_limited else None,
    )

  def expanded_window_logits(
    self,
    features: SharedMap,
    boxes_px: tf.Tensor,
    image_size_px: tf.Tensor,
    box_features: tf.Tensor | None = None,
    prepared: heads_base.PreparedFeatures | None = None,
    selected: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Returns multi-object logits [B, R, Q, C] of the windows around boxes, without gradient.

    Args:
      features: the shared map.
      boxes_px: float32 [B, R, 4].
      image_size_px: float32 [B, 2].
      box_features: float32 [B, R, depth] of `box_stage` for these boxes, if there are any.
      prepared: what `prepare_multi_object` returned for these features in training, if it did. It
        is made again, as at inference, where it depends on the mode.
      selected: bool [B, R], see `WindowEvidence`.
    """
    depends_on_mode = self.multi_object_head.prepare_depends_on_mode
    if prepared is None or (depends_on_mode and not self._rows_are_independent):
      prepared = self.prepare_multi_object(features)
    return self._refinement.windows(
      self.multi_object_head,
      prepared,
      box_ops.normalize(boxes_px, image_size_px),
      image_size_px,
      box_features,
      selected,
    )

  def _closeness(
    self,
    features: SharedMap,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool,
    num_trained: int | None,
  ) -> tf.Tensor:
    """Returns closeness logits [B, R, C]; rows from `num_trained` on may carry no gradient.

    They do where that saves time: rows are independent, and each costs a second stage.
    """
    if self._stop_gradient_shared:
      features = tf.nest.map_structure(tf.stop_gradient, features)
    head = self.closeness_head
    prepared = head.prepare(features, training)
    can_split = training and self._rows_are_independent and head.runs_on_crops
    if not (can_split and 0 < (num_trained or 0) < boxes_norm.shape[1]):
      return head(prepared, boxes_norm, image_size_px, training)
    shielded = tf.nest.map_structure(tf.stop_gradient, prepared)
    others = head(shielded, boxes_norm[:, num_trained:], image_size_px, training)
    trained = head(prepared, boxes_norm[:, :num_trained], image_size_px, training)
    return tf.concat([trained, tf.stop_gradient(others)], axis=1)

  def _refine_proposals(
    self, first: FirstStage, second: BoxStage, image_size_px: tf.Tensor
  ) -> dict[str, tf.Tensor]:
    """Returns `refined`, `refined_logits` and `window_logits` of `call`."""
    valid = first.proposals.valid
    selected = self.select_refined(second.class_logits, valid)  # [B, P]
    outputs = {"refined": selected}
    if self.multi_object_head is not None:
      with _after(second.class_logits, second.closeness_logits):
        outputs["window_logits"] = self.proposal_windows(first, second, image_size_px, selected)
    closeness = self.mean_closeness(second.closeness_logits, valid)
    refined = self.refiner(second.class_logits, outputs.get("window_logits"), closeness)
    refined = tf.where(selected[..., tf.newaxis], refined, second.class_logits)  # [B, P, C]
    return outputs | {"refined_logits": refined}

  def build_variables(self) -> None:
    """Creates every variable by one pass over an empty image."""
    # Enough cells for a stage 2 with a VALID stride.
    side = 4 * self.backbone.stride
    size = tf.constant([[side, side]], tf.float32)
    features = self.first_stage(tf.zeros([1, side, side, 3]), size).features
    boxes_px = tf.constant([[[0.0, 0.0, side, side]]])
    for head in self.region_heads:
      if head.runs_on_crops and head.stages:  # In the order in which a seed has always drawn them.
        head(head.prepare(features), boxes_px / side, size)
    second = self.box_stage(features, boxes_px, size)
    if self.foreground_head is not None:
      self.predict_foreground(features)
    if self.multi_object_head is not None:
      self.classify_windows(features, boxes_px, size)
    if self.refiner is not None:
      closeness = self.mean_closeness(second.closeness_logits, tf.constant([[True]]))
      self.refine(features, boxes_px, second.class_logits, closeness, size, second.box_features)
    self.built = True


def content_mask(images: tf.Tensor, image_size_px: tf.Tensor) -> tf.Tensor:
  """Returns float32 [B, H, W, 1]: 1 on the content of each image, 0 on its padding."""
  rows = tf.range(images.shape[1], dtype=tf.float32) < image_size_px[:, :1]  # [B, H]
  columns = tf.range(images.shape[2], dtype=tf.float32) < image_size_px[:, 1:]  # [B, W]
  return tf.cast(
    rows[:, :, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis, :, tf.newaxis], images.dtype
  )


def _after(*logits: tf.Tensor | None) -> contextlib.AbstractContextManager:
  """Lets a head wait for others: in parallel they take more memory and no less time."""
  return tf.control_dependencies([values for values in logits if values is not None])
