"""Random changes of images' colours, pure functions of stateless seeds.

Images are RGB 0 … 255. In a batch they lie in the top left corner of the input; what is padding
plays no part and stays as it is.
"""

import functools
import math
from collections.abc import Sequence

import tensorflow as tf

# Values that a random number from 0 to 1 can have. It is drawn as a whole number by a generator
# with a name: devices have other default ones, and compiled code makes other fractions of the bits.
_NUM_FRACTIONS = 2**24
# Standard deviations that a blur reaches in each direction; what lies beyond counts nothing.
_BLUR_REACH = 3.0


def jitter_colors(
  images: tf.Tensor,
  image_size_px: tf.Tensor,
  seeds: tf.Tensor,
  *,
  probability: float,
  brightness: float = 0.0,
  contrast: float = 0.0,
  saturation: float = 0.0,
  hue: float = 0.0,
  blur_probability: float = 0.0,
  blur_sigmas: tuple[float, float] = (0.1, 2.0),
) -> tf.Tensor:
  """A batch of images, each with its colours changed and then blurred, by chance.

  Args:
    images: float32 [B, H, W, 3], content in the top left corner.
    image_size_px: float32 [B, 2], height and width of the content.
    seeds: int32 [B, 2], one for each image.
    probability: that the colours of an image are changed at all.
    brightness, contrast, saturation, hue: strengths, see `random_color_jitter`.
    blur_probability: that an image is blurred.
    blur_sigmas: smallest and largest standard deviation of a blur, pixels.

  Returns:
    float32 [B, H, W, 3]; padding is that of `images`.

  Reference: Wang et al., "Co-mining", AAAI 2021, whose code changes colours with probability 0.8,
  strengths 0.8, 0.8, 0.8 and 0.2. What its blur was like is not published; ours is the one of
  Chen et al., "Improved Baselines with Momentum Contrastive Learning", 2020.
  """
  strengths = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
  }
  changes_colors = bool(probability) and any(strengths.values())
  if not (changes_colors or blur_probability):
    return images
  is_content = _content_mask(images, image_size_px)  # [B, H, W, 1]

  def change(inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
    image, seed, is_content = inputs
    seeds = tf.unstack(tf.random.split(seed, 3, alg="philox"))
    if changes_colors:
      image = _sometimes(
        lambda image, seed: random_color_jitter(image, seed, is_content=is_content, **strengths),
        image,
        seeds[:2],
        probability,
      )
    if blur_probability:
      low, high = blur_sigmas
      seeds = tf.unstack(tf.random.split(seeds[2], 2, alg="philox"))
      image = _sometimes(
        lambda image, seed: gaussian_blur(
          image, low + (high - low) * _fractions([], seed), is_content, high
        ),
        image,
        seeds,
        blur_probability,
      )
    return image

  changed = tf.map_fn(
    change,
    (images, seeds, is_content),
    fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32),
  )  # [B, H, W, 3]
  return tf.where(is_content, changed, images)


def random_color_jitter(
  image: tf.Tensor,
  seed: tf.Tensor,
  brightness: float = 0.0,
  contrast: float = 0.0,
  saturation: float = 0.0,
  hue: float = 0.0,
  is_content: tf.Tensor | None = None,
) -> tf.Tensor:
  """An image whose brightness, contrast, saturation and hue have changed, in random order.

  A strength s draws a factor from 1 - s to 1 + s, for hue a shift from -s to s; 0 leaves its
  operation out.

  Args:
    image: float32 [H, W, 3].
    seed: integers [2], for stateless random numbers.
    brightness, contrast, saturation: strengths, 0 to 1.
    hue: strength in turns of the colour circle, 0 to 0.5.
    is_content: bool [H, W, 1], the pixels that take part in the mean that contrast goes by; None is
      all of them. What the others become has no meaning.

  Returns:
    float32 [H, W, 3].
  """
  drawn = [
    (adjust, middle - strength, middle + strength)
    for adjust, middle, strength in (
      (adjust_brightness, 1.0, brightness),
      (functools.partial(adjust_contrast, is_content=is_content), 1.0, contrast),
      (adjust_saturation, 1.0, saturation),
      (adjust_hue, 0.0, hue),
    )
    if strength
  ]
  if not drawn:
    return image
  operations, lows, highs = zip(*drawn, strict=True)
  order, amounts = draw_changes(seed, lows, highs)
  for place in range(len(drawn)):
    branches = [
      functools.partial(adjust, image, amount)
      for adjust, amount in zip(operations, tf.unstack(amounts), strict=True)
    ]
    image = tf.switch_case(order[place], branches)
  return image


def draw_changes(
  seed: tf.Tensor, lows: Sequence[float], highs: Sequence[float]
) -> tuple[tf.Tensor, tf.Tensor]:
  """Draws the order of n operations and the amount of each between its two ends.

  Returns:
    int32 [n], the operation in each place; float32 [n], the amount of each operation.
  """
  order_seed, amount_seed = tf.unstack(tf.random.split(seed, 2, alg="philox"))
  order = tf.argsort(_fractions([len(lows)], order_seed))
  spans = [high - low for low, high in zip(lows, highs, strict=True)]
  amounts = tf.constant(lows) + _fractions([len(lows)], amount_seed) * tf.constant(spans)
  return order, amounts


def adjust_brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """The image times a factor, cut to 0 … 255; float32 [H, W, 3], as are those below."""
  return _clip(image * factor)


def adjust_contrast(
  image: tf.Tensor, factor: tf.Tensor, is_content: tf.Tensor | None = None
) -> tf.Tensor:
  """The image blended with the mean of its greyscale; factor 0 is an even grey, 1 the image.

  `tf.image.adjust_contrast` goes by the mean of each channel instead, which changes the hue.
  """
  grey = _greyscale(image)
  if is_content is None:
    mean = tf.reduce_mean(grey)
  else:
    total = tf.reduce_sum(tf.where(is_content, grey, 0.0))
    mean = tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(is_content, tf.float32)))
  return _clip(factor * image + (1.0 - factor) * mean)


def adjust_saturation(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """The image blended with its greyscale; factor 0 is the greyscale, 1 the image.

  `tf.image.adjust_saturation` scales the S of HSV instead, which changes the luminance.
  """
  return _clip(factor * image + (1.0 - factor) * _greyscale(image))


def adjust_hue(image: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
  """The image with its hue moved around the colour circle by a shift in turns, -1 to 1."""
  # The function asks for 0 … 1, but moving the hue is the same at every scale.
  return tf.image.adjust_hue(image, shift)


def gaussian_blur(
  image: tf.Tensor, sigma: tf.Tensor, is_content: tf.Tensor, largest_sigma: float
) -> tf.Tensor:
  """The image blurred by a normal distribution.

  Each pixel becomes a mean over those near it that are content, so that neither the padding nor
  what lies beyond the border darkens the image.

  Args:
    image: float32 [H, W, 3].
    sigma: float32 scalar, standard deviation in pixels, above 0.
    is_content: bool [H, W, 1].
    largest_sigma: that there can be, which decides how many pixels are added up.

  Returns:
    float32 [H, W, 3]; 0 far from the content.
  """
  reach = math.ceil(_BLUR_REACH * largest_sigma)
  distances = tf.range(-reach, reach + 1, dtype=tf.float32)  # [n]
  weights = tf.nn.softmax(-0.5 * (distances / sigma) ** 2)  # [n]
  kernel = tf.tile(weights[:, tf.newaxis, tf.newaxis, tf.newaxis], [1, 1, 4, 1])  # [n, 1, 4, 1]
  counted = tf.cast(is_content, tf.float32)  # [H, W, 1]
  sums = tf.concat([image * counted, counted], axis=-1)[tf.newaxis]  # [1, H, W, 4]
  for axes in ((0, 1, 2, 3), (1, 0, 2, 3)):  # Along columns, then along rows.
    sums = tf.nn.depthwise_conv2d(sums, tf.transpose(kernel, axes), [1, 1, 1, 1], "SAME")
  return tf.math.divide_no_nan(sums[0, ..., :3], sums[0, ..., 3:])


def _sometimes(change, image: tf.Tensor, seeds: Sequence[tf.Tensor], probability: float):
  """The image, changed with a probability; one seed is for the chance, one for the change."""
  is_changed = _fractions([], seeds[0]) < probability
  return tf.cond(is_changed, lambda: change(image, seeds[1]), lambda: image)


def _fractions(shape: list[int], seed: tf.Tensor) -> tf.Tensor:
  """Numbers from 0 to below 1, the same on every device, compiled or not."""
  whole = tf.random.stateless_uniform(
    shape, seed, minval=0, maxval=_NUM_FRACTIONS, dtype=tf.int32, alg="philox"
  )
  return tf.cast(whole, tf.float32) / _NUM_FRACTIONS


def _content_mask(images: tf.Tensor, image_size_px: tf.Tensor) -> tf.Tensor:
  """bool [B, H, W, 1], True on the content of each image."""
  rows = tf.range(images.shape[1], dtype=tf.float32) < image_size_px[:, :1]  # [B, H]
  columns = tf.range(images.shape[2], dtype=tf.float32) < image_size_px[:, 1:]  # [B, W]
  return (rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :])[..., tf.newaxis]


def _greyscale(image: tf.Tensor) -> tf.Tensor:
  return tf.image.rgb_to_grayscale(image)  # [H, W, 1]


def _clip(image: tf.Tensor) -> tf.Tensor:
  return tf.clip_by_value(image, 0.0, 255.0)
