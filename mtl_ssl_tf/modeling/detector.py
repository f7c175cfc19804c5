"""The one file to read: images in, detections out.

    images -> stage 1 -> shared map -> RPN -> proposals
                              |                  |
                              |             regions -> main head: class logits, boxes
                              |                  |-> closeness head
                              |-> windows   -> regions -> multi-object head
                              |-> foreground head
                        main + multi-object + closeness logits -> refinement -> detections

A region is a crop of the shared map (Faster R-CNN), or the map and a box on it (R-FCN).

Training calls the parts one by one (`tasks/mtl_detection.py`); inference calls the model.
"""

from typing import NamedTuple

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import detections, proposals, refinement
from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import foreground_head, rfcn_heads, roi_heads, rpn_head
from mtl_ssl_tf.ops import box_ops, crop_ops


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
  """

  class_logits: tf.Tensor
  box_deltas: tf.Tensor
  closeness_logits: tf.Tensor | None


class Crop(NamedTuple):
  """Size of a crop of the shared map and of the max-pooling after it; the rest is `crop_ops`'."""

  size: int
  max_pool: int
  method: str = "native"
  keep_border: bool = True


class Detector(tf_keras.Model):
  """Faster R-CNN or R-FCN with auxiliary heads and refinement (Lee et al., CVPR 2019).

  Without a `crop` the heads are those of `rfcn_heads`, with one those of `roi_heads`. Heads given
  as None are left out. Any batch size works, and each image's result is its own: the canvas may be
  larger than the image (`image_size_px`) and what lies outside plays no part in anchors, crops and
  windows.

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
    crop: Crop | None,
    num_refinement_windows: int,
    closeness_mean: str,
    stop_gradient_shared: bool,
    stop_gradient_foreground: bool,
    **kwargs,
  ):
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
    self._detect = detection_generator
    self._crop = crop
    self._num_refinement_windows = num_refinement_windows
    self._closeness_mean = closeness_mean
    self._stop_gradient_shared = stop_gradient_shared
    self._stop_gradient_foreground = stop_gradient_foreground

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
  ) -> BoxStage:
    """Classifies boxes [B, R, 4] and refines their position."""
    regions = self._regions(features, box_ops.normalize(boxes_px, image_size_px), image_size_px)
    class_logits, box_deltas = self.box_head(regions, training=training)
    num_boxes = boxes_px.shape[1]
    class_logits = _unflatten(class_logits, num_boxes)  # [B, R, C]
    box_deltas = _unflatten(box_deltas, num_boxes)  # [B, R, C - 1, 4]
    if self.closeness_head is None:
      return BoxStage(class_logits, box_deltas, None)
    if self._stop_gradient_shared:
      regions = tf.nest.map_structure(tf.stop_gradient, regions)
    closeness = self.closeness_head(regions, training=training)
    return BoxStage(class_logits, box_deltas, _unflatten(closeness, num_boxes))

  def classify_windows(
    self,
    features: tf.Tensor,
    windows_px: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool = False,
  ) -> tf.Tensor:
    """Returns multi-object logits [B, S, C] of windows [B, S, 4]."""
    if self._stop_gradient_shared:
      features = tf.stop_gradient(features)
    regions = self._regions(features, box_ops.normalize(windows_px, image_size_px), image_size_px)
    logits = self.multi_object_head(regions, training=training)
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
  ) -> tf.Tensor:
    """Returns refined class logits [B, R, C].

    Args:
      features: float32 [B, h, w, c], the shared map.
      boxes_px: float32 [B, R, 4].
      class_logits: float32 [B, R, C] of the main head for these boxes.
      mean_closeness: float32 [B, 1, C] of `mean_closeness`, or None without that head.
      image_size_px: float32 [B, 2].
    """
    window_logits = None
    if self.multi_object_head is not None:
      window_logits = self.expanded_window_logits(features, boxes_px, image_size_px)
    return self.refiner(class_logits, window_logits, mean_closeness)

  def expanded_window_logits(
    self, features: tf.Tensor, boxes_px: tf.Tensor, image_size_px: tf.Tensor
  ) -> tf.Tensor:
    """Returns multi-object logits [B, R, W, C] of the windows around boxes [B, R, 4].

    The outermost window of every box is the image, so it is looked at once. The head runs as at
    inference, and nothing is learnt through here.
    """
    num_boxes, inner = boxes_px.shape[1], self._num_refinement_windows - 1
    boxes_norm = box_ops.normalize(boxes_px, image_size_px)  # [B, R, 4]
    windows = refinement.expanded_windows(boxes_norm, self._num_refinement_windows)
    flat = tf.reshape(windows[:, :, :inner], [-1, num_boxes * inner, 4])  # [B, R (W - 1), 4]
    whole = windows[:, :1, -1]  # [B, 1, 4]
    regions = self._regions(features, tf.concat([flat, whole], axis=1), image_size_px)
    logits = tf.stop_gradient(self.multi_object_head(regions, training=False))
    logits = _unflatten(logits, num_boxes * inner + 1)  # [B, R (W - 1) + 1, C]
    inner_logits = tf.reshape(
      logits[:, :-1], [-1, num_boxes, inner, self.num_classes]
    )  # [B, R, W - 1, C]
    whole_logits = tf.repeat(logits[:, -1:, tf.newaxis], num_boxes, axis=1)  # [B, R, 1, C]
    return tf.concat([inner_logits, whole_logits], axis=2)

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
      `closeness_logits` [B, P, C], and `window_logits` [B, P, W, C] that refinement looks at.
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
      closeness = self.mean_closeness(second.closeness_logits, valid)
      window_logits = None
      if self.multi_object_head is not None:
        window_logits = self.expanded_window_logits(first.features, boxes_px, image_size_px)
        outputs["window_logits"] = window_logits
      final_logits = self.refiner(second.class_logits, window_logits, closeness)
      outputs["refined_logits"] = final_logits
    outputs.update(self._detect(final_logits, second.box_deltas, boxes_px, valid, image_size_px))
    return outputs

  def build_variables(self) -> None:
    """Creates every variable by one pass over an empty image."""
    # Enough cells for a stage 2 with a VALID stride.
    side = 4 * self.backbone.stride
    size = tf.constant([[side, side]], tf.float32)
    features = self.first_stage(tf.zeros([1, side, side, 3]), size).features
    boxes_px = tf.constant([[[0.0, 0.0, side, side]]])
    second = self.box_stage(features, boxes_px, size)
    if self.foreground_head is not None:
      self.predict_foreground(features)
    if self.multi_object_head is not None:
      self.classify_windows(features, boxes_px, size)
    if self.refiner is not None:
      closeness = self.mean_closeness(second.closeness_logits, tf.constant([[True]]))
      self.refine(features, boxes_px, second.class_logits, closeness, size)
    self.built = True

  def start_auxiliary_heads_like_main(self) -> None:
    """Copies the main head's second stage into those of the auxiliary heads."""
    source = self.box_head.stage2.get_weights()
    for head in (self.multi_object_head, self.closeness_head):
      if head is not None:
        head.stage2.set_weights(source)

  def _regions(
    self, features: tf.Tensor, boxes_norm: tf.Tensor, image_size_px: tf.Tensor
  ) -> tf.Tensor | rfcn_heads.MapRegions:
    """Returns what the heads take for boxes [B, R, 4]: crops [B R, s, s, c], or map and boxes."""
    stride = self.backbone.stride
    if self._crop is None:
      content_cells = tf.math.ceil(image_size_px / stride)  # [B, 2]
      return rfcn_heads.MapRegions(features, boxes_norm, self.backbone.stage2_cells(content_cells))
    size = self._crop.size
    crops = crop_ops.crop_and_resize(
      features,
      boxes_norm,
      image_size_px,
      stride,
      (size, size),
      self._crop.method,
      self._crop.keep_border,
    )  # [B, R, s, s, c]
    crops = tf.reshape(crops, [-1, size, size, features.shape[-1]])  # [B R, s, s, c]
    pool = self._crop.max_pool
    return crops if pool == 1 else tf.nn.max_pool2d(crops, pool, pool, "VALID")


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
