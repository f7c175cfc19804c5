"""Random changes to a training image and its boxes, each a pure function of a stateless seed."""

import tensorflow as tf


def random_horizontal_flip(
  image: tf.Tensor, boxes_norm: tf.Tensor, seed: tf.Tensor, probability: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """The image and its boxes, mirrored left to right with the given probability.

  An image without boxes is never mirrored, as in the released code.

  Args:
    image: any type [H, W, 3].
    boxes_norm: float32 [N, 4], fractions of the image, without padding.
    seed: integers [2], for stateless random numbers.
    probability: of mirroring; 0 never does, 1 always.

  Returns:
    The image, the boxes and a bool scalar, True where they were mirrored.
  """
  return _random_mirror(image, boxes_norm, seed, probability, axis=1)


def random_vertical_flip(
  image: tf.Tensor, boxes_norm: tf.Tensor, seed: tf.Tensor, probability: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """The same from top to bottom, for pictures without an upright: cells, aerial images."""
  return _random_mirror(image, boxes_norm, seed, probability, axis=0)


def _random_mirror(
  image: tf.Tensor, boxes_norm: tf.Tensor, seed: tf.Tensor, probability: float, axis: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  mirrored = (tf.random.stateless_uniform([], seed) < probability) & (tf.shape(boxes_norm)[0] > 0)
  image = tf.cond(mirrored, lambda: tf.reverse(image, [axis]), lambda: image)
  return image, mirror_boxes(boxes_norm, mirrored, axis), mirrored


def mirror_boxes(boxes_norm: tf.Tensor, mirrored: tf.Tensor, axis: int) -> tf.Tensor:
  """Boxes with the ends of an axis exchanged, where the image was mirrored.

  Args:
    boxes_norm: float32 [N, 4], fractions of the image, without padding.
    mirrored: bool scalar.
    axis: 0 from top to bottom, 1 from left to right.
  """
  sides = tf.unstack(boxes_norm, axis=-1)  # 4 x [N]
  sides[axis], sides[axis + 2] = 1.0 - sides[axis + 2], 1.0 - sides[axis]
  return tf.where(mirrored, tf.stack(sides, axis=-1), boxes_norm)


def random_quarter_turns(
  image: tf.Tensor, boxes_norm: tf.Tensor, seed: tf.Tensor, probability: float
) -> tuple[tf.Tensor, tf.Tensor]:
  """The image and its boxes after one, two or three quarter turns, with the given probability.

  Each of the three is as likely as the others. After one or three, height and width have changed
  places. Boxes stay exact.

  Args:
    image: any type [H, W, 3].
    boxes_norm: float32 [N, 4], fractions of the image, without padding.
    seed: integers [2], for stateless random numbers.
    probability: of turning at all; 0 never does, 1 always.

  Returns:
    The image and the boxes.
  """
  draw_seed, turns_seed = tf.unstack(tf.random.split(seed, 2))
  turns = tf.random.stateless_uniform([], turns_seed, 1, 4, tf.int32)
  turns = tf.where(tf.random.stateless_uniform([], draw_seed) < probability, turns, 0)
  ymin, xmin, ymax, xmax = tf.unstack(boxes_norm, axis=-1)  # 4 x [N]
  turned = tf.stack(  # Counterclockwise, as `rot90` turns; [4, N, 4]
    [
      boxes_norm,
      tf.stack([1.0 - xmax, ymin, 1.0 - xmin, ymax], axis=-1),
      tf.stack([1.0 - ymax, 1.0 - xmax, 1.0 - ymin, 1.0 - xmin], axis=-1),
      tf.stack([xmin, 1.0 - ymax, xmax, 1.0 - ymin], axis=-1),
    ]
  )
  return tf.image.rot90(image, turns), turned[turns]


def random_zoom_window(
  fitted_size: tf.Tensor,
  window_size: tf.Tensor,
  seed: tf.Tensor,
  scale_min: float,
  scale_max: float,
) -> tuple[tf.Tensor, tf.Tensor]:
  """A random size for the resized image, and where to cut the window out of it.

  Where the image is larger than the window, the cut lies anywhere in it; where it is smaller, the
  cut starts at zero, so that the whole image is kept.

  Args:
    fitted_size: float32 [2], height and width of the image at scale 1.
    window_size: float32 [2], the most that may be kept.
    seed: integers [2], for stateless random numbers.
    scale_min, scale_max: range of the zoom, uniform; above 1 zooms in.

  Returns:
    scaled_size: float32 [2], whole numbers, at least 1: resize the image to it.
    offset: float32 [2], whole numbers, y and x of the cut in the resized image.
  """
  scale_seed, offset_seed = tf.unstack(tf.random.split(seed, 2))
  scale = tf.random.stateless_uniform([], scale_seed, scale_min, scale_max)
  scaled_size = tf.maximum(tf.round(fitted_size * scale), 1.0)  # [2]
  slack = tf.maximum(scaled_size - window_size, 0.0)  # [2]
  offset = tf.floor(tf.random.stateless_uniform([2], offset_seed) * (slack + 1.0))  # [2]
  # A number next to 1 may round up to it in the product, which would cut one pixel too far.
  return scaled_size, tf.minimum(offset, slack)


def crop_boxes(
  boxes_px: tf.Tensor, window_size: tf.Tensor, min_visible_fraction: float = 0.5
) -> tuple[tf.Tensor, tf.Tensor]:
  """Boxes cut to a window that starts at the origin, and which of them are still worth keeping.

  Args:
    boxes_px: float32 [N, 4], of positive area, pixels from the window's top left corner.
    window_size: float32 [2], height and width of the window.
    min_visible_fraction: a box that keeps less of its area is not worth keeping.

  Returns:
    The boxes inside the window, float32 [N, 4], and a bool [N], False for those to be dropped.
  """
  visible_px = tf.clip_by_value(boxes_px, 0.0, tf.tile(window_size, [2]))  # [N, 4]
  area = tf.reduce_prod(boxes_px[:, 2:] - boxes_px[:, :2], axis=-1)  # [N]
  visible_area = tf.reduce_prod(visible_px[:, 2:] - visible_px[:, :2], axis=-1)  # [N]
  return visible_px, visible_area >= min_visible_fraction * area
