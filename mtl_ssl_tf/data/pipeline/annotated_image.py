"""An image with its objects, before it is resized, for augmentations that compose images."""

from typing import NamedTuple, Self

import tensorflow as tf

from mtl_ssl_tf.data.pipeline import augmentations
from mtl_ssl_tf.ops import box_ops


class Parts(NamedTuple):
  """The p parts that an image was composed of, and what each of them is annotated for.

  Attributes:
    boxes_px: float32 [p, 4], pixels of the image; later parts may lie on earlier ones.
    annotated: float32 [p, C], see `decoder.annotated_mask`.
  """

  boxes_px: tf.Tensor
  annotated: tf.Tensor


class AnnotatedImage(NamedTuple):
  """An image and its n objects, without padding.

  Attributes:
    image: uint8 [h, w, 3].
    boxes_px: float32 [n, 4], pixels of the image, of positive area.
    classes: int32 [n], from 1, or 0 for a region to be ignored.
    difficult: bool [n], PASCAL VOC's flag.
    is_crowd: bool [n], COCO's flag of a box around many objects.
    area_px: float32 [n], square pixels; of a mask less than of its box.
    parts: of which the image was composed, one where it was not; empty where nobody asks.
  """

  image: tf.Tensor
  boxes_px: tf.Tensor
  classes: tf.Tensor
  difficult: tf.Tensor
  is_crowd: tf.Tensor
  area_px: tf.Tensor
  parts: Parts | tuple[()] = ()

  @property
  def size(self) -> tf.Tensor:
    """Height and width of the image, float32 [2]."""
    return tf.cast(tf.shape(self.image)[:2], tf.float32)

  def take(self, rows: tf.Tensor) -> Self:
    """The same image with the objects of some rows, integers [m], in that order."""
    taken = {name: tf.gather(getattr(self, name), rows) for name in _OF_OBJECTS}
    return self._replace(**taken)

  def with_boxes(self, boxes_px: tf.Tensor) -> Self:
    """The same objects with boxes of another place or size; areas change as those of the boxes."""
    areas = box_ops.area(boxes_px) / box_ops.area(self.boxes_px)  # [n]
    return self._replace(boxes_px=boxes_px, area_px=self.area_px * areas)


# Fields with a row for each object.
_OF_OBJECTS = ("boxes_px", "classes", "difficult", "is_crowd", "area_px")


def join(image: tf.Tensor, parts: list[AnnotatedImage]) -> AnnotatedImage:
  """An image that shows the objects of all parts: objects first, regions to be ignored last.

  Args:
    image: uint8 [h, w, 3].
    parts: their boxes, and those of their own parts, are in pixels of `image`, and their own images
      are not used.
  """
  of_objects = [tf.concat([getattr(part, name) for part in parts], axis=0) for name in _OF_OBJECTS]
  joined = ()
  if parts[0].parts:
    joined = Parts(*(tf.concat(of, axis=0) for of in zip(*(p.parts for p in parts), strict=True)))
  return ignored_last(AnnotatedImage(image, *of_objects, joined))


def whole(annotated: AnnotatedImage, mask: tf.Tensor) -> AnnotatedImage:
  """The same image, all of it one part that is annotated for the classes of a mask, float32 [C]."""
  box_px = tf.concat([tf.zeros([2]), annotated.size], axis=0)  # [4]
  return annotated._replace(parts=Parts(box_px[tf.newaxis], mask[tf.newaxis]))


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
