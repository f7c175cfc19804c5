"""Four images in one, a pure function of a stateless seed."""

from collections.abc import Sequence

import tensorflow as tf

from mtl_ssl_tf.data.pipeline import annotated_image

NUM_IMAGES = 4
# The cross where the four images meet lies in this middle part of either side.
_SPLIT_MIN, _SPLIT_MAX = 0.25, 0.75


def mosaic(
  images: Sequence[annotated_image.AnnotatedImage],
  scales: Sequence[tf.Tensor],
  size: tf.Tensor,
  seed: tf.Tensor,
) -> annotated_image.AnnotatedImage:
  """Four images side by side, two above two, each filling a tile of random size.

  Tiles meet in a point of the middle half of each side. Each shows a random part of its image, at a
  random scale between that at which the image just covers the tile and its own, `scales`. Objects
  are cut to their tile; those left with less than half their box are dropped, as by a zoom.

  Args:
    images: four of them, of any sizes, none of them composed.
    scales: float32 scalars, the scale that each image would have by itself.
    size: float32 [2], height and width of the mosaic, whole numbers, at least 2.
    seed: integers [2], for stateless random numbers.

  Returns:
    The mosaic, uint8 [*size, 3], with the objects of all four, regions to be ignored last.

  Reference: Bochkovskiy et al., "YOLOv4", 2020. There tiles are resized and cut in another way.
  """
  split_seed, *tile_seeds = tf.unstack(tf.random.split(seed, 1 + NUM_IMAGES))
  split = size * tf.random.stateless_uniform([2], split_seed, _SPLIT_MIN, _SPLIT_MAX)
  top, left = tf.unstack(tf.clip_by_value(tf.round(split), 1.0, size - 1.0))
  bottom, right = tf.unstack(size - tf.stack([top, left]))
  tile_sizes = [(top, left), (top, right), (bottom, left), (bottom, right)]
  origins = [(0.0, 0.0), (0.0, left), (top, 0.0), (top, left)]
  tiles, parts = [], []
  for image, scale, tile_size, origin, tile_seed in zip(
    images, scales, tile_sizes, origins, tile_seeds, strict=True
  ):
    part = random_part(image, scale, tf.stack(tile_size), tile_seed)
    tiles.append(part.image)
    # Areas have changed with the scale already, and moving a box does not change its area.
    part = part._replace(boxes_px=part.boxes_px + tf.stack(2 * origin))
    if part.parts:  # One, as no mosaic is made of mosaics: it fills the tile.
      tile_px = tf.concat([tf.stack(origin), tf.stack(origin) + tf.stack(tile_size)], axis=0)
      part = part._replace(parts=part.parts._replace(boxes_px=tile_px[tf.newaxis]))
    parts.append(part)
  rows = [tf.concat(tiles[:2], axis=1), tf.concat(tiles[2:], axis=1)]
  return annotated_image.join(tf.concat(rows, axis=0), parts)


def random_part(
  annotated: annotated_image.AnnotatedImage, scale: tf.Tensor, size: tf.Tensor, seed: tf.Tensor
) -> annotated_image.AnnotatedImage:
  """A random part of an image, resized to a size that it fills.

  Args:
    annotated: the image and its objects.
    scale: float32 scalar, the largest scale, unless the image is too small for it.
    size: float32 [2], height and width of the result, whole numbers.
    seed: integers [2], for stateless random numbers.

  Returns:
    uint8 [*size, 3] and the objects in it, cut to it.
  """
  scale_seed, offset_seed = tf.unstack(tf.random.split(seed, 2))
  smallest = tf.reduce_max(size / annotated.size)
  drawn = tf.random.stateless_uniform([], scale_seed)
  scale = smallest + drawn * (tf.maximum(scale, smallest) - smallest)
  # Cutting whole pixels before resizing them leaves alone what is not shown.
  window = tf.clip_by_value(tf.round(size / scale), 1.0, annotated.size)  # [2]
  slack = annotated.size - window  # [2]
  offset = tf.floor(tf.random.stateless_uniform([2], offset_seed) * (slack + 1.0))
  # A number next to 1 may round up to it in the product, which would cut one pixel too far.
  offset = tf.minimum(offset, slack)  # [2]
  top, left = tf.unstack(tf.cast(offset, tf.int32))
  height, width = tf.unstack(tf.cast(window, tf.int32))
  image = tf.image.resize(
    annotated.image[top : top + height, left : left + width], tf.cast(size, tf.int32)
  )
  boxes_px = (annotated.boxes_px - tf.tile(offset, [2])) * tf.tile(size / window, [2])
  part = annotated.with_boxes(boxes_px)._replace(image=tf.cast(tf.round(image), tf.uint8))
  return annotated_image.crop_objects(part, size)
