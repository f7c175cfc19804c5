"""What heads look at: crops of maps, or boxes on score maps."""

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from mtl_ssl_tf.modeling.backbones import base
from mtl_ssl_tf.modeling.heads import rfcn_heads
from mtl_ssl_tf.ops import crop_ops


class Crop(NamedTuple):
  """Size of a crop of the shared map and of the max-pooling after it; the rest is `crop_ops`'."""

  size: int
  max_pool: int
  method: str = "native"
  keep_border: bool = True


@dataclasses.dataclass(frozen=True)
class Regions:
  """Makes a head's view of the shared map, once an image, and its regions, for any boxes.

  Attributes:
    backbone: that the maps and the second stages are of.
    crop: for heads that run on crops; None if there are none.
  """

  backbone: base.Backbone
  crop: Crop | None

  def view(self, head: tf_keras.layers.Layer, features: tf.Tensor, training: bool) -> Any:
    """Returns what `head` takes regions of the shared map [B, h, w, c] from."""
    if isinstance(head, rfcn_heads.MapClassifier):
      return head.view(features, training)
    # What is pooled first is no crop of anything that is made of single cells.
    return head.view(features, project=self.crop.max_pool == 1)

  def __call__(
    self, head: tf_keras.layers.Layer, view: Any, boxes_norm: tf.Tensor, image_size_px: tf.Tensor
  ) -> Any:
    """Returns what `head.look` takes.

    Args:
      head: one of `roi_heads` or `rfcn_heads`.
      view: what `view` returned for it.
      boxes_norm: float32 [B, R, 4], fractions of the image content.
      image_size_px: float32 [B, 2].
    """
    stride = self.backbone.stride
    if isinstance(head, rfcn_heads.MapClassifier):
      content_cells = tf.math.ceil(image_size_px / (stride * head.stride))  # [B, 2]
      if not head.dense:
        content_cells = self.backbone.stage2_cells(content_cells)
      return rfcn_heads.MapRegions(view, boxes_norm, content_cells)
    size, pool = self.crop.size, self.crop.max_pool

    def crop(maps: tf.Tensor) -> tf.Tensor:
      crops = crop_ops.crop_and_resize(
        maps,
        boxes_norm,
        image_size_px,
        stride,
        (size, size),
        self.crop.method,
        self.crop.keep_border,
      )  # [B, R, s, s, c]
      crops = tf.reshape(crops, [-1, size, size, maps.shape[-1]])  # [B R, s, s, c]
      return crops if pool == 1 else tf.nn.max_pool2d(crops, pool, pool, "VALID")

    return view._replace(maps=tf.nest.map_structure(crop, view.maps))
