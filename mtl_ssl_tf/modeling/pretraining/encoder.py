"""Images and boxes in, a unit vector for each box out, by the parts of a detector.

    images -> stage 1 -> shared map -> crops at boxes -> stage 2 -> mean -> projection -> length 1
    images -> network -> pyramid -> a crop from each level -> stage 2 -> projection -> length 1

Everything up to the features is the detector's own: the backbone's stages, cut in the same place,
and the crop of its main head. With `pools_boxes` False boxes play no part: the second stage runs on
the whole map, or a pyramid is cropped at whole images. It is the control for what pooling of boxes
is worth.

A network with one map has one vector of an image. On a feature pyramid there is one of each level
that boxes are cropped from, whatever the size of a box: all levels learn from all images.

Letters: `B` images, `R` boxes of an image, `L` levels, 1 without a pyramid, `D` the length of a
vector.
"""

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling import detector
from mtl_ssl_tf.modeling import pyramid as pyramid_lib
from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import pooling, pyramid_pooling
from mtl_ssl_tf.ops import box_ops, pyramid_ops


class BoxFeatures(tf_keras.layers.Layer):
  """Crop, second stage and, without a pyramid, mean, as the main head of a detector has them.

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
    """Returns float32 [B R, depth] of boxes [B, R, 4], as a detector crops them.

    `features` is the shared map [B, h, w, c], or the packed maps of a pyramid.
    """
    return self._crop_features(features, boxes_norm, image_size_px, training)

  def of_levels(
    self,
    packed: pyramid_ops.PackedMaps,
    boxes_px: tf.Tensor,
    image_size_px: tf.Tensor,
    training: bool,
  ) -> tf.Tensor:
    """Returns float32 [B L, depth] of boxes [B, L, 4], each cropped from its level of a pyramid."""
    cropper = self.pyramid_cropper
    levels = tf.range(cropper.min_level, cropper.max_level + 1)
    levels = tf.tile(levels[tf.newaxis], [boxes_px.shape[0], 1])  # [B, L]
    crops = cropper.at_levels(packed, boxes_px, levels, image_size_px)  # [B L, s, s, c]
    return tf.cast(self.stage2(crops, training=training), tf.float32)

  @property
  def pyramid_cropper(self) -> pyramid_pooling.PyramidCropper:
    """The cropper of a pyramid."""
    return self._crop_features.cropper

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
    stage1, pyramid, box_head: as in `Detector`.
    projection: from features to unit vectors.
  """

  def __init__(
    self,
    backbone: base.Backbone,
    crop_features: pooling.CropFeatures,
    projection: Projection,
    pools_boxes: bool = True,
    pyramid: pyramid_lib.FeaturePyramid | None = None,
    **kwargs,
  ):
    """Takes the parts; with a pyramid `crop_features` is a `pyramid_pooling.PyramidFeatures`."""
    # Images must not be rounded before their mean is taken off.
    super().__init__(autocast=False, **kwargs)
    self.backbone = backbone
    self.stage1 = backbone.make_stage1() if pyramid is None else backbone.make_network()
    self.pyramid = pyramid
    self.box_head = BoxFeatures(crop_features, name="box_head")
    self.projection = projection
    self._pools_boxes = pools_boxes

  @property
  def num_levels(self) -> int:
    """L, vectors of an image."""
    if self.pyramid is None:
      return 1
    cropper = self.box_head.pyramid_cropper
    return cropper.max_level - cropper.min_level + 1

  def call(self, images: tf.Tensor, boxes_px: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Returns the unit vectors of one object in each image.

    Args:
      images: [B, H, W, 3], RGB 0 ... 255, of any type; without padding.
      boxes_px: float32 [B, L, 4], the object's box on each level. What lies outside the image is
        zero on one map, and cut off on a pyramid.
      training: bool.

    Returns:
      float32 [B, L, D].
    """
    sizes = _sizes_px(images)
    features = self._features(images, training)
    if self.pyramid is not None:
      whole = tf.concat([tf.zeros_like(sizes), sizes], axis=1)[:, tf.newaxis]  # [B, 1, 4]
      boxes_px = boxes_px if self._pools_boxes else tf.tile(whole, [1, self.num_levels, 1])
      boxes_px = box_ops.clip_to_size(boxes_px, sizes)
      pooled = self.box_head.of_levels(features, boxes_px, sizes, training)  # [B L, depth]
    elif self._pools_boxes:
      boxes_norm = boxes_px / tf.tile(sizes, [1, 2])[:, tf.newaxis]  # [B, 1, 4]
      pooled = self.box_head(features, boxes_norm, sizes, training)  # [B, depth]
    else:
      pooled = self.box_head.of_images(features, training)  # [B, depth]
    vectors = self.projection(pooled)  # [B L, D]
    return tf.reshape(vectors, [images.shape[0], self.num_levels, vectors.shape[-1]])

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
    features = self._features(images, training=False, image_size_px=image_size_px)
    boxes_norm = box_ops.normalize(boxes_px, image_size_px)  # [B, R, 4]
    pooled = self.box_head(features, boxes_norm, image_size_px, training=False)  # [B R, depth]
    return tf.reshape(pooled, [-1, boxes_px.shape[1], pooled.shape[-1]])

  def _features(
    self, images: tf.Tensor, training: bool, image_size_px: tf.Tensor | None = None
  ) -> tf.Tensor | pyramid_ops.PackedMaps:
    """Returns the shared map [B, h, w, c] of images, or their packed pyramid.

    The content is all of an image unless a size [B, 2] is given. Beyond it the network sees zeros,
    as a detector's does.
    """
    inputs = self.backbone.preprocess(tf.cast(images, tf.float32))
    if image_size_px is not None:
      inputs *= detector.content_mask(inputs, image_size_px)
    features = self.stage1(inputs, training=training)
    if self.pyramid is None:
      return features
    if image_size_px is None:
      image_size_px = _sizes_px(images)
    maps = self.pyramid(features, training=training)
    return self.box_head.pyramid_cropper.pack(maps, image_size_px)

  def build_variables(self) -> None:
    """Creates every variable by one pass over an empty image."""
    side = 4 * self.backbone.stride
    boxes_px = tf.constant([[[0.0, 0.0, side, side]] * self.num_levels])
    self(tf.zeros([1, side, side, 3]), boxes_px)


def _sizes_px(images: tf.Tensor) -> tf.Tensor:
  """Returns float32 [B, 2], height and width of images [B, H, W, 3]."""
  return tf.tile([[float(side) for side in images.shape[1:3]]], [images.shape[0], 1])
