"""Images and boxes in, a unit vector for each box out, by the parts of a detector.

    images -> stage 1 -> shared map -> crops at boxes -> stage 2 -> mean -> projection -> length 1

Everything up to the mean is the detector's own: the backbone's stages, cut in the same place, and
the crop of its main head. With `pools_boxes` False the second stage runs on the whole map instead,
and boxes play no part: the control for what pooling of boxes is worth.

Here the network has one map, at stride 16. A feature pyramid would have a map, a queue and a loss
for each level; that form belongs to a detector with a pyramid and does not exist.

Letters: `B` images, `R` boxes of an image, `D` the length of a vector.
"""

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import pooling
from mtl_ssl_tf.ops import box_ops


class BoxFeatures(tf_keras.layers.Layer):
  """Crop, second stage and mean, as the main head of a detector has them.

  Attributes:
    stage2: the second stage, under the name that it has in a detector's head.
  """

  def __init__(self, crop_features: pooling.CropFeatures, **kwargs):
    super().__init__(autocast=False, **kwargs)
    self._crop_features = crop_features
    self.stage2 = crop_features.stage

  def call(
    self, features: tf.Tensor, boxes_norm: tf.Tensor, image_size_px: tf.Tensor, training: bool
  ) -> tf.Tensor:
    """Returns float32 [B R, depth] of boxes [B, R, 4] on the shared map [B, h, w, c]."""
    return self._crop_features(features, boxes_norm, image_size_px, training)

  def of_images(self, features: tf.Tensor, training: bool) -> tf.Tensor:
    """Returns float32 [B, depth], the mean of the second stage's output on the whole map."""
    net = self.stage2(features, training=training)  # [B, h', w', depth]
    return tf.reduce_mean(tf.cast(net, tf.float32), axis=[1, 2])


class Projection(tf_keras.layers.Layer):
  """Dense layers on features, float32 in mixed precision too; what they put out has length 1."""

  def __init__(self, hidden_depth: int, depth: int, **kwargs):
    """Makes the layers; with `hidden_depth` 0 there is one, without an activation."""
    super().__init__(dtype="float32", **kwargs)
    self.hidden = None
    if hidden_depth:
      self.hidden = tf_keras.layers.Dense(hidden_depth, "relu", dtype="float32", name="hidden")
    self.last = tf_keras.layers.Dense(depth, dtype="float32", name="last")

  def call(self, features: tf.Tensor) -> tf.Tensor:
    """Returns float32 [B, D] of features [B, depth]."""
    net = features if self.hidden is None else self.hidden(features)
    return tf.math.l2_normalize(self.last(net), axis=-1)


class Encoder(tf_keras.layers.Layer):
  """A backbone, the features of boxes and a projection; see above.

  Attributes:
    backbone: what the stages are made by.
    stage1, box_head: as in `Detector`.
    projection: from features to unit vectors.
  """

  def __init__(
    self,
    backbone: base.Backbone,
    crop_features: pooling.CropFeatures,
    projection: Projection,
    pools_boxes: bool = True,
    **kwargs,
  ):
    # Images must not be rounded before their mean is taken off.
    super().__init__(autocast=False, **kwargs)
    self.backbone = backbone
    self.stage1 = backbone.make_stage1()
    self.box_head = BoxFeatures(crop_features, name="box_head")
    self.projection = projection
    self._pools_boxes = pools_boxes

  def call(self, images: tf.Tensor, boxes_px: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Returns the unit vector of one box in each image.

    Args:
      images: [B, H, W, 3], RGB 0 ... 255, of any type; without padding.
      boxes_px: float32 [B, 4]. What lies outside the image is zero.
      training: bool.

    Returns:
      float32 [B, D].
    """
    sizes = tf.tile([[float(side) for side in images.shape[1:3]]], [images.shape[0], 1])  # [B, 2]
    features = self._map(images, training)  # [B, h, w, c]
    if self._pools_boxes:
      boxes_norm = boxes_px / tf.tile(sizes, [1, 2])  # [B, 4]
      pooled = self.box_head(features, boxes_norm[:, tf.newaxis], sizes, training)  # [B, depth]
    else:
      pooled = self.box_head.of_images(features, training)  # [B, depth]
    return self.projection(pooled)

  def box_features(
    self, images: tf.Tensor, boxes_px: tf.Tensor, image_size_px: tf.Tensor
  ) -> tf.Tensor:
    """Returns the features of boxes without the projection, by the statistics of inference.

    Args:
      images: float32 [B, H, W, 3], RGB 0 ... 255, content in the top-left corner.
      boxes_px: float32 [B, R, 4], pixels of the content; padding is -1.
      image_size_px: float32 [B, 2], height and width of the content.

    Returns:
      float32 [B, R, depth].
    """
    features = self._map(images, training=False, image_size_px=image_size_px)
    boxes_norm = box_ops.normalize(boxes_px, image_size_px)  # [B, R, 4]
    pooled = self.box_head(features, boxes_norm, image_size_px, training=False)  # [B R, depth]
    return tf.reshape(pooled, [-1, boxes_px.shape[1], pooled.shape[-1]])

  def _map(
    self, images: tf.Tensor, training: bool, image_size_px: tf.Tensor | None = None
  ) -> tf.Tensor:
    """Returns the shared map of images, whose content is all of them unless a size [B, 2] is given.

    Beyond the content it sees zeros, as a detector's does.
    """
    inputs = self.backbone.preprocess(tf.cast(images, tf.float32))
    if image_size_px is not None:
      inputs *= detector.content_mask(inputs, image_size_px)
    return self.stage1(inputs, training=training)

  def build_variables(self) -> None:
    """Creates every variable by one pass over an empty image."""
    side = 4 * self.backbone.stride
    images, boxes_px = tf.zeros([1, side, side, 3]), tf.constant([[0.0, 0.0, side, side]])
    self(images, boxes_px)
