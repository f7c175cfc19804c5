"""Crops of an image, pasted at a random place of another one; pure functions of stateless seeds.

Sizes are [height, width]. The laws are those of the released code, down to its rounding.

Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
2021, section 3, and the code that its authors released.
"""

import math

import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config

# Crops are drawn until one fits the image, this many times at most.
NUM_TRIES = 10


def composite(
  foreground: tf.Tensor,
  background: tf.Tensor,
  seed: tf.Tensor,
  settings: insloc_config.Composite,
) -> tuple[tf.Tensor, tf.Tensor]:
  """A random crop of one image on the whole of another one, which is stretched to a square.

  Args:
    foreground: uint8 [h, w, 3].
    background: uint8 [h', w', 3].
    seed: integers [2], for stateless random numbers.
    settings: how crops are drawn and pasted; it is not mirrored here.

  Returns:
    image: float32 [size, size, 3], 0 … 255.
    box_px: float32 [4], the pixels that the crop covers, in pixels of the image.
  """
  crop_seed, size_seed, place_seed = tf.unstack(tf.random.split(seed, 3))
  side = settings.size
  crop_size, offset = random_crop(
    tf.shape(foreground)[:2],
    crop_seed,
    (settings.crop_area_min, settings.crop_area_max),
    (settings.crop_aspect_min, settings.crop_aspect_max),
  )
  patch_size = random_size(crop_size, size_seed, paste_sides(settings))
  place = random_place(patch_size, side, place_seed)
  (top, left), (height, width) = tf.unstack(offset), tf.unstack(crop_size)
  crop = foreground[top : top + height, left : left + width]
  patch = tf.image.resize(crop, patch_size)  # [*patch_size, 3]
  return paste(tf.image.resize(background, [side, side]), patch, place)


def paste_sides(settings: insloc_config.Composite) -> tuple[int, int]:
  """The smallest and the largest bound of a pasted crop's sides, pixels, both included.

  A crop that was as wide as the composite would leave no place to draw.
  """
  low, high = (
    min(max(round(share * settings.size), 1), settings.size - 1)
    for share in (settings.paste_side_min, settings.paste_side_max)
  )
  return low, high


def random_crop(
  image_size: tf.Tensor,
  seed: tf.Tensor,
  area_range: tuple[float, float],
  aspect_range: tuple[float, float],
) -> tuple[tf.Tensor, tf.Tensor]:
  """Size and place of a crop whose share of the area and whose shape are drawn.

  The area is uniform, the shape uniform in its logarithm, and the place uniform. Of the crops
  drawn, the first that fits the image is taken. If none does, it is the largest crop from the
  middle of the image whose shape is in the range.

  Args:
    image_size: int32 [2].
    seed: integers [2].
    area_range: smallest and largest share of the image's area.
    aspect_range: smallest and largest width over height.

  Returns:
    crop_size: int32 [2], at least 1.
    offset: int32 [2], its first row and column.
  """
  area_seed, aspect_seed, place_seed = tf.unstack(tf.random.split(seed, 3))
  image_size = tf.cast(image_size, tf.float32)  # [2]
  areas = tf.reduce_prod(image_size) * tf.random.stateless_uniform(
    [NUM_TRIES], area_seed, *area_range
  )  # [T]
  aspects = tf.exp(
    tf.random.stateless_uniform([NUM_TRIES], aspect_seed, *map(math.log, aspect_range))
  )  # [T]
  sizes = tf.round(tf.sqrt(tf.stack([areas / aspects, areas * aspects], axis=-1)))  # [T, 2]
  fits = tf.reduce_all((sizes > 0.0) & (sizes <= image_size), axis=-1)  # [T]
  any_fits = tf.reduce_any(fits)
  drawn_size = tf.gather(sizes, tf.argmax(tf.cast(fits, tf.int32)))  # [2]
  crop_size = tf.where(any_fits, drawn_size, _largest_size(image_size, aspect_range))
  slack = image_size - crop_size  # [2]
  # A number next to 1 may round up to it in the product, which would cut one pixel too far.
  drawn_offset = tf.minimum(
    tf.floor(tf.random.stateless_uniform([2], place_seed) * (slack + 1.0)), slack
  )
  offset = tf.where(any_fits, drawn_offset, tf.floor(slack / 2.0))
  return tf.cast(crop_size, tf.int32), tf.cast(offset, tf.int32)


def random_size(crop_size: tf.Tensor, seed: tf.Tensor, sides: tuple[int, int]) -> tf.Tensor:
  """The size that a crop is resized to, at one scale for both sides.

  Two sides are drawn. The long side of the crop becomes at most the longer one, and its short side
  at most the shorter one, of which at least one is met.

  Args:
    crop_size: int32 [2], at least 1.
    seed: integers [2].
    sides: smallest and largest side that is drawn, both included.

  Returns:
    int32 [2], 1 to the largest side.
  """
  low, high = sides
  drawn = tf.random.stateless_uniform([2], seed, low, high + 1, tf.int32)
  crop_size, drawn = tf.cast(crop_size, tf.float32), tf.cast(drawn, tf.float32)  # [2] each
  scale = tf.minimum(
    tf.reduce_max(drawn) / tf.reduce_max(crop_size), tf.reduce_min(drawn) / tf.reduce_min(crop_size)
  )
  size = tf.floor(crop_size * scale + 0.5)  # [2]
  return tf.cast(tf.clip_by_value(size, 1.0, float(high)), tf.int32)


def random_place(patch_size: tf.Tensor, side: int, seed: tf.Tensor) -> tf.Tensor:
  """The first row and column of a pasted crop, int32 [2].

  It never touches the lower or the right border, as in the released code.

  Args:
    patch_size: int32 [2], less than `side`.
    side: of the composite, pixels.
    seed: integers [2].
  """
  room = tf.cast(side - patch_size, tf.float32)  # [2]
  place = tf.floor(tf.random.stateless_uniform([2], seed) * room)  # [2]
  return tf.cast(tf.minimum(place, room - 1.0), tf.int32)


def paste(background: tf.Tensor, patch: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """The background with a patch in the place of some of its pixels, and the patch's box.

  Args:
    background: float32 [S, S, 3], S known statically.
    patch: float32 [h, w, 3], no larger than fits.
    place: int32 [2], its first row and column.

  Returns:
    The image, float32 [S, S, 3], and the box in its pixels, float32 [4].
  """
  end = place + tf.shape(patch)[:2]  # [2]
  (top, left), (bottom, right) = tf.unstack(place), tf.unstack(end)
  beside = background[top:bottom]  # [h, S, 3]
  # Pieces are copied; a choice for each pixel would take several times as long.
  middle = tf.concat([beside[:, :left], patch, beside[:, right:]], axis=1)  # [h, S, 3]
  image = tf.concat([background[:top], middle, background[bottom:]], axis=0)
  image = tf.ensure_shape(image, background.shape)  # [S, S, 3]
  return image, tf.cast(tf.concat([place, end], axis=0), tf.float32)


def random_mirror(
  image: tf.Tensor, box_px: tf.Tensor, seed: tf.Tensor, probability: float
) -> tuple[tf.Tensor, tf.Tensor]:
  """An image and a box in it, mirrored from left to right with a probability.

  Args:
    image: any type [H, W, 3], W known statically.
    box_px: float32 [4], pixels of the image.
    seed: integers [2].
    probability: of mirroring; 0 never does, 1 always.
  """
  is_mirrored = tf.random.stateless_uniform([], seed) < probability
  ymin, xmin, ymax, xmax = tf.unstack(box_px)
  width = float(image.shape[1])
  mirrored_px = tf.stack([ymin, width - xmax, ymax, width - xmin])  # [4]
  image = tf.cond(is_mirrored, lambda: tf.reverse(image, [1]), lambda: image)
  return image, tf.where(is_mirrored, mirrored_px, box_px)


def _largest_size(image_size: tf.Tensor, aspect_range: tuple[float, float]) -> tf.Tensor:
  """The size of the largest crop whose shape is in a range, float32 [2]."""
  height, width = tf.unstack(image_size)
  narrowest, widest = aspect_range
  largest = tf.stack([tf.round(width / narrowest), tf.round(height * widest)])  # [2]
  return tf.maximum(tf.minimum(image_size, largest), 1.0)
