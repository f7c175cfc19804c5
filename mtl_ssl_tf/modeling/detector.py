"""The one file to read: images in, detections out.

    images -> stage 1 -> shared map -> RPN -> proposals
                              |                  |
                              |             regions -> main head: class logits, boxes
                              |                  |-> closeness head
                              |-> windows   -> regions -> multi-object head
                              |-> foreground head
                        main + multi-object + closeness logits -> refinement -> detections

A region is a crop of a map, for heads that run on crops (`roi_heads`, Faster R-CNN), or a box on
score maps, for heads that run on the whole map (`rfcn_heads`). Either way a head first makes its
`view` of the shared map, once an image, and then looks at regions of that.

Training calls the parts one by one (`tasks/mtl_detection.py`); inference calls the model.
"""

from typing import NamedTuple

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import detections, proposals, refinement
from mtl_ssl_tf.modeling import regions as regions_lib
from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import foreground_head, rfcn_heads, roi_heads, rpn_head
from mtl_ssl_tf.ops import box_ops

# Windows of an image that go through the second stage together, where not all need it.
WINDOWS_AT_ONCE = 176


class FirstStage(NamedTuple):
  """Shared map [B, h, w, c], RPN outputs, anchors and proposals."""

  features: tf.Tensor
  rpn: rpn_head.RpnOutputs
  anchors: proposals.Anchors
  proposals: proposals.Proposals


class BoxStage(NamedTuple):
  """Outputs of the heads that look at boxes.

  Attributes:
    class_logits: float32 [B, R, C], background first.
    box_deltas: float32 [B, R, C - 1, 4].
    closeness_logits: float32 [B, R, C], or None without that head.
    pooled: float32 [B, R, depth], the main head's pooled features, where auxiliary heads without a
      second stage see them (`roi_heads.FeatureClassifier`); otherwise None.
  """

  class_logits: tf.Tensor
  box_deltas: tf.Tensor
  closeness_logits: tf.Tensor | None
  pooled: tf.Tensor | None = None


class Detector(tf_keras.Model):
  """Faster R-CNN or R-FCN with auxiliary heads and refinement (Lee et al., CVPR 2019).

  Heads given as None are left out; heads of `roi_heads` need a `crop`. Any batch size works, and
  each image's result is its own: the canvas may be larger than the image (`image_size_px`) and what
  lies outside plays no part in anchors, crops and windows.

  In mixed precision the stages and the hidden convolutions compute in bfloat16 or float16; images,
  boxes, logits and all that follows from them stay float32.
  """

  def __init__(
    self,
    *,
    backbone: base.Backbone,
    num_classes: int,
    anchor_grid: proposals.AnchorGrid,
    rpn: rpn_head.RpnHead,
    proposal_generator: proposals.ProposalGenerator,
    box_head: roi_heads.BoxHead | rfcn_heads.MapBoxHead,
    multi_object_head: roi_heads.CropClassifier | rfcn_heads.MapClassifier | None,
    closeness_head: roi_heads.CropClassifier | rfcn_heads.MapClassifier | None,
    foreground: foreground_head.ForegroundHead | None,
    refiner: refinement.Refinement | None,
    detection_generator: detections.DetectionGenerator,
    crop: regions_lib.Crop | None,
    num_refinement_windows: int,
    closeness_mean: str,
    stop_gradient_shared: bool,
    stop_gradient_foreground: bool,
    min_object_score: float = 0.0,
    max_refined: int = 0,
    rows_are_independent: bool = False,
    **kwargs,
  ):
    """Puts the parts together.

    Args beyond the parts and what `configs/detector.py` says of them:
      min_object_score, max_refined: see `refinement.needed_proposals`.
      rows_are_independent: whether no normalisation looks at other rows of a batch or at the mode,
        so that work can be split and shared without changing its results.
    """
    # Images must not be rounded before their mean is taken off, and sizes never.
    super().__init__(autocast=False, **kwargs)
    self.backbone = backbone
    self.num_classes = num_classes
    self.stage1 = backbone.make_stage1()
    self.rpn = rpn
    self.box_head = box_head
    self.multi_object_head = multi_object_head
    self.closeness_head = closeness_head
    self.foreground_head = foreground
    self.refiner = refiner
    self._anchor_grid = anchor_grid
    self._propose = proposal_generator
    self.detect = detection_generator
    self._regions = regions_lib.Regions(backbone, crop)
    self._num_refinement_windows = num_refinement_windows
    self._closeness_mean = closeness_mean
    self._stop_gradient_shared = stop_gradient_shared
    self._stop_gradient_foreground = stop_gradient_foreground
    self._min_object_score = min_object_score
    self._max_refined = max_refined
    self._rows_are_independent = rows_are_independent

  def first_stage(
    self, images: tf.Tensor, image_size_px: tf.Tensor, training: bool = False
  ) -> FirstStage:
    """Looks at the whole image.

    Args:
      images: float32 [B, H, W, 3], RGB 0 ... 255, content in the top-left corner.
      image_size_px: float32 [B, 2], height and width of the content.
      training: bool; the anchors that cross the border are dropped, not clipped.
    """
    inputs = self.backbone.preprocess(images) * content_mask(images, image_size_px)
    features = self.stage1(inputs, training=training)  # [B, h, w, c]
    rpn = self.rpn(features)
    anchors = self._anchor_grid(features, image_size_px, training)
    return FirstStage(features, rpn, anchors, self._propose(rpn, anchors, image_size_px))

  def box_stage(
    self,
    features: tf.Tensor,
    boxes_px: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
    num_closeness_rows: int | None = None,
  ) -> BoxStage:
    """Classifies boxes [B, R, 4] and refines their position.

    Args:
      features: float32 [B, h, w, c], the shared map.
      boxes_px: float32 [B, R, 4].
      image_size_px: float32 [B, 2].
      training: bool.
      num_closeness_rows: closeness logits from this row on are not learnt from, None for none.
        Where normalisation allows it they carry no gradient, which saves two thirds of their cost.
    """
    num_boxes, pooled, closeness = boxes_px.shape[1], None, None
    view = self._regions.view(self.box_head, features, training)
    boxes_norm = box_ops.normalize(boxes_px, image_size_px)
    regions = self._regions(self.box_head, view, boxes_norm, image_size_px)
    if isinstance(self.closeness_head, roi_heads.FeatureClassifier) or isinstance(
      self.multi_object_head, roi_heads.FeatureClassifier
    ):
      pooled = self.box_head.pool(regions, training)  # [B R, depth]
      class_logits, box_deltas = self.box_head.predict(pooled)
    else:
      class_logits, box_deltas = self.box_head.look(regions, training)
    class_logits = _unflatten(class_logits, num_boxes)  # [B, R, C]
    if isinstance(self.closeness_head, roi_heads.FeatureClassifier):
      closeness = _unflatten(self.closeness_head(pooled), num_boxes)
    elif self.closeness_head is not None:
      # One after the other: side by side they take more memory and no less time.
      with tf.control_dependencies([class_logits]):
        closeness = self._closeness(
          features, boxes_norm, image_size_px, training, num_closeness_rows
        )
    return BoxStage(
      class_logits,
      _unflatten(box_deltas, num_boxes),  # [B, R, C - 1, 4]
      closeness,
      None if pooled is None else _unflatten(pooled, num_boxes),
    )

  def _closeness(
    self,
    features: tf.Tensor,
    boxes_norm: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool,
    num_learnt: int | None,
  ) -> tf.Tensor:
    """Returns closeness logits [B, R, C]; of rows that are not learnt from, without gradient."""
    if self._stop_gradient_shared:
      features = tf.stop_gradient(features)
    head = self.closeness_head
    view = self._regions.view(head, features, training)

    def look(view, boxes_norm):
      logits = head.look(self._regions(head, view, boxes_norm, image_size_px), training)
      return _unflatten(logits, boxes_norm.shape[1])

    can_split = self._rows_are_independent and isinstance(head, roi_heads.CropClassifier)
    if not (training and can_split and 0 < (num_learnt or 0) < boxes_norm.shape[1]):
      return look(view, boxes_norm)
    others = look(tf.nest.map_structure(tf.stop_gradient, view), boxes_norm[:, num_learnt:])
    parts = [look(view, boxes_norm[:, :num_learnt]), tf.stop_gradient(others)]
    return tf.concat(parts, axis=1)

  def multi_object_view(self, features: tf.Tensor, training: bool = False):
    """Returns the multi-object head's view of the shared map, for all windows of an image."""
    if self._stop_gradient_shared:
      features = tf.stop_gradient(features)
    return self._regions.view(self.multi_object_head, features, training)

  def classify_windows(
    self,
    features: tf.Tensor,
    windows_px: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
    view=None,
  ) -> tf.Tensor:
    """Returns multi-object logits [B, S, C] of windows [B, S, 4].

    Args:
      features: float32 [B, h, w, c], the shared map.
      windows_px: float32 [B, S, 4].
      image_size_px: float32 [B, 2].
      training: bool.
      view: what `multi_object_view` returned for these features in this mode, if it did.
    """
    view = self.multi_object_view(features, training) if view is None else view
    head = self.multi_object_head
    windows_norm = box_ops.normalize(windows_px, image_size_px)
    logits = head.look(self._regions(head, view, windows_norm, image_size_px), training)
    return _unflatten(logits, windows_px.shape[1])

  def predict_foreground(self, features: tf.Tensor) -> tf.Tensor:
    """Returns background and foreground logits [B, h, w, 2] of the shared map's cells."""
    if self._stop_gradient_foreground:
      features = tf.stop_gradient(features)
    return self.foreground_head(features)

  def refine(
    self,
    features: tf.Tensor,
    boxes_px: tf.Tensor,
    class_logits: tf.Tensor,
    mean_closeness: tf.Tensor | None,
    image_size_px: tf.Tensor,
    pooled: tf.Tensor | None = None,
    view=None,
  ) -> tf.Tensor:
    """Returns refined class logits [B, R, C].

    Args:
      features: float32 [B, h, w, c], the shared map.
      boxes_px: float32 [B, R, 4].
      class_logits: float32 [B, R, C] of the main head for these boxes.
      mean_closeness: float32 [B, 1, C] of `mean_closeness`, or None without that head.
      image_size_px: float32 [B, 2].
      pooled, view: as of `expanded_window_logits`.
    """
    window_logits = None
    if self.multi_object_head is not None:
      window_logits = self.expanded_window_logits(features, boxes_px, image_size_px, pooled, view)
    return self.refiner(class_logits, window_logits, mean_closeness)

  def expanded_window_logits(
    self,
    features: tf.Tensor,
    boxes_px: tf.Tensor,
    image_size_px: tf.Tensor,
    pooled: tf.Tensor | None = None,
    view=None,
    needed: tf.Tensor | None = None,
  ) -> tf.Tensor:
    """Returns multi-object logits [B, R, W, C] of the windows around boxes [B, R, 4].

    The outermost window of every box is the image, so it is looked at once. The head runs as at
    inference, and nothing is learnt through here.

    Args:
      features: float32 [B, h, w, c], the shared map.
      boxes_px: float32 [B, R, 4].
      image_size_px: float32 [B, 2].
      pooled: float32 [B, R, depth] of `box_stage` for these boxes, where it returned any: what the
        head would see of the innermost windows, which are the boxes.
      view: what `multi_object_view` returned for these features. It is passed over where it
        depends on the mode, since that was training.
      needed: bool [B, R], the boxes whose windows need be looked at; the others get anything.
    """
    head = self.multi_object_head
    on_crops = not isinstance(head, rfcn_heads.MapClassifier)
    if view is None or not (self._rows_are_independent or on_crops):
      view = self.multi_object_view(features)
    view = tf.nest.map_structure(tf.stop_gradient, view)
    boxes_norm = box_ops.normalize(boxes_px, image_size_px)  # [B, R, 4]
    windows = refinement.expanded_windows(boxes_norm, self._num_refinement_windows)
    num_boxes, whole = boxes_px.shape[1], windows[:, :1, -1]  # [B, 1, 4]
    inner = windows[:, :, 0 if pooled is None else 1 : -1]  # [B, R, W', 4]

    def look(windows_norm: tf.Tensor) -> tf.Tensor:
      logits = head.look(self._regions(head, view, windows_norm, image_size_px), training=False)
      return _unflatten(logits, windows_norm.shape[1])

    num_inner = inner.shape[2]
    flat = tf.reshape(inner, [-1, num_boxes * num_inner, 4])  # [B, R W', 4]
    flat = tf.concat([flat, whole], axis=1)  # [B, R W' + 1, 4]
    if needed is not None and on_crops:
      needed = tf.pad(
        tf.repeat(needed, num_inner, axis=1), [[0, 0], [0, 1]], constant_values=True
      )  # [B, R W' + 1]
      logits = refinement.look_where_needed(look, flat, needed, self.num_classes, WINDOWS_AT_ONCE)
    else:
      logits = look(flat)  # [B, R W' + 1, C]
    inner_logits = tf.reshape(logits[:, :-1], [-1, num_boxes, num_inner, self.num_classes])
    whole_logits = tf.repeat(logits[:, tf.newaxis, -1:], num_boxes, axis=1)  # [B, R, 1, C]
    parts = [inner_logits, whole_logits]
    if pooled is not None:
      innermost = head(tf.reshape(pooled, [-1, pooled.shape[-1]]))  # [B R, C]
      parts.insert(0, _unflatten(innermost, num_boxes)[:, :, tf.newaxis])  # [B, R, 1, C]
    return tf.stop_gradient(tf.concat(parts, axis=2))

  def mean_closeness(self, closeness_logits: tf.Tensor | None, valid: tf.Tensor):
    """Returns the image's mean closeness logits [B, 1, C], or None without that head."""
    if closeness_logits is None:
      return None
    return refinement.mean_closeness(closeness_logits, valid, self._closeness_mean)

  def call(
    self, images: tf.Tensor, image_size_px: tf.Tensor, training: bool = False
  ) -> dict[str, tf.Tensor]:
    """Detects objects.

    Args:
      images: float32 [B, H, W, 3], RGB 0 ... 255, content in the top-left corner.
      image_size_px: float32 [B, 2], height and width of the content.
      training: bool, as in `first_stage` and `box_stage`.

    Returns:
      What `DetectionGenerator` returns, and the tensors on the way: `features` [B, h, w, c],
      `proposals_px` [B, P, 4], `proposals_valid` and `proposals_scores` [B, P], `class_logits`
      [B, P, C] (unrefined), and where there are such heads `refined_logits` and
      `closeness_logits` [B, P, C], and `refined` bool [B, P]: proposals that are not refined keep
      the main head's logits. With the multi-object head also `window_logits` [B, P, W, C], which
      say nothing of the windows of those.
    """
    first = self.first_stage(images, image_size_px, training=training)
    boxes_px, valid = first.proposals.boxes_px, first.proposals.valid
    second = self.box_stage(first.features, boxes_px, image_size_px, training=training)
    outputs = {
      "features": first.features,
      "proposals_px": boxes_px,
      "proposals_valid": valid,
      "proposals_scores": first.proposals.scores,
      "class_logits": second.class_logits,
    }
    final_logits = second.class_logits
    if second.closeness_logits is not None:
      outputs["closeness_logits"] = second.closeness_logits
    if self.refiner is not None:
      needed = refinement.needed_proposals(
        second.class_logits, valid, self._min_object_score, self._max_refined
      )  # [B, P]
      if self.multi_object_head is not None:
        # Where all are refined, all at once.
        limited = self._min_object_score > 0.0 or self._max_refined > 0
        # After the other heads, as these after each other.
        others = [second.class_logits, second.closeness_logits]
        with tf.control_dependencies([logits for logits in others if logits is not None]):
          outputs["window_logits"] = self.expanded_window_logits(
            first.features,
            boxes_px,
            image_size_px,
            second.pooled,
            needed=needed if limited else None,
          )
      refined = self.refiner(
        second.class_logits,
        outputs.get("window_logits"),
        self.mean_closeness(second.closeness_logits, valid),
      )
      final_logits = tf.where(needed[..., tf.newaxis], refined, second.class_logits)
      outputs |= {"refined": needed, "refined_logits": final_logits}
    outputs.update(self.detect(final_logits, second.box_deltas, boxes_px, valid, image_size_px))
    return outputs

  def build_variables(self) -> None:
    """Creates every variable by one pass over an empty image."""
    # Enough cells for a stage 2 with a VALID stride.
    side = 4 * self.backbone.stride
    size = tf.constant([[side, side]], tf.float32)
    features = self.first_stage(tf.zeros([1, side, side, 3]), size).features
    # A view takes the head's variables for granted.
    for head in (self.box_head, self.multi_object_head, self.closeness_head):
      if isinstance(head, roi_heads.CropClassifier):
        head(features)
    boxes_px = tf.constant([[[0.0, 0.0, side, side]]])
    second = self.box_stage(features, boxes_px, size)
    if self.foreground_head is not None:
      self.predict_foreground(features)
    if self.multi_object_head is not None:
      self.classify_windows(features, boxes_px, size)
    if self.refiner is not None:
      closeness = self.mean_closeness(second.closeness_logits, tf.constant([[True]]))
      self.refine(features, boxes_px, second.class_logits, closeness, size, second.pooled)
    self.built = True

  def start_auxiliary_heads_like_main(self) -> None:
    """Copies the main head's second stage into those of the auxiliary heads."""
    source = self.box_head.stage2.get_weights()
    for head in (self.multi_object_head, self.closeness_head):
      if hasattr(head, "stage2"):
        head.stage2.set_weights(source)


def content_mask(images: tf.Tensor, image_size_px: tf.Tensor) -> tf.Tensor:
  """Returns float32 [B, H, W, 1]: 1 on the content of each image, 0 on its padding."""
  rows = tf.range(images.shape[1], dtype=tf.float32) < image_size_px[:, :1]  # [B, H]
  columns = tf.range(images.shape[2], dtype=tf.float32) < image_size_px[:, 1:]  # [B, W]
  return tf.cast(
    rows[:, :, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis, :, tf.newaxis], images.dtype
  )


def _unflatten(values: tf.Tensor, num_boxes: int) -> tf.Tensor:
  """Returns [B R, ...] as [B, R, ...]."""
  return tf.reshape(values, [-1, num_boxes, *values.shape[1:]])
