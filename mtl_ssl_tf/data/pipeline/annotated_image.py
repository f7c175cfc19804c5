"""An image with its objects, before it is resized, for augmentations that compose images."""

from typing import NamedTuple, Self

import tensorflow as tf

from mtl_ssl_tf.data.pipeline import augmentations
from mtl_ssl_tf.ops import box_ops


class AnnotatedImage(NamedTuple):
  """An image and its n objects, without padding.

  Attributes:
    image: uint8 [h, w, 3].
    boxes_px: float32 [n, 4], pixels of the image, of positive area.
    classes: int32 [n], from 1, or 0 for a region to be ignored.
    difficult: bool [n], PASCAL VOC's flag.
    is_crowd: bool [n], COCO's flag of a box around many objects.
    area_px: float32 [n], square pixels; of a mask less than of its box.
  """

  image: tf.Tensor
  boxes_px: tf.Tensor
  classes: tf.Tensor
  difficult: tf.Tensor
  is_crowd: tf.Tensor
  area_px: tf.Tensor

  @property
  def size(self) -> tf.Tensor:
    """Height and width of the image, float32 [2]."""
    return tf.cast(tf.shape(self.image)[:2], tf.float32)

  def take(self, rows: tf.Tensor) -> Self:
    """The same image with the objects of some rows, integers [m], in that order."""
    return type(self)(self.image, *(tf.gather(values, rows) for values in self[1:]))

  def with_boxes(self, boxes_px: tf.Tensor) -> Self:
    """The same objects with boxes of another place or size; areas change as those of the boxes."""
    areas = box_ops.area(boxes_px) / box_ops.area(self.boxes_px)  # [n]
    return self._replace(boxes_px=boxes_px, area_px=self.area_px * areas)


def join(image: tf.Tensor, parts: list[AnnotatedImage]) -> AnnotatedImage:
  """An image that shows the objects of all parts: objects first, regions to be ignored last.

  Args:
    image: uint8 [h, w, 3].
    parts: their boxes are in pixels of `image`, and their own images are not used.
  """
  rows = [tf.concat(values, axis=0) for values in zip(*(part[1:] for part in parts), strict=True)]
  return ignored_last(AnnotatedImage(image, *rows))


def ignored_last(annotated: AnnotatedImage) -> AnnotatedImage:
  """The same with the regions to be ignored after the objects, so that these get rows first."""
  return annotated.take(tf.argsort(tf.cast(annotated.classes == 0, tf.int32), stable=True))


def crop_objects(annotated: AnnotatedImage, window_size: tf.Tensor) -> AnnotatedImage:
  """The same image with the objects cut to a window at the origin, float32 [2].

  Those left with less than half of their box are dropped, and regions to be ignored of which
  nothing is left.
  """
  boxes_px, keep = augmentations.crop_boxes(annotated.boxes_px, window_size)
  keep |= (annotated.classes == 0) & (box_ops.area(boxes_px) > 0.0)
  return annotated.with_boxes(boxes_px).take(tf.where(keep)[:, 0])
