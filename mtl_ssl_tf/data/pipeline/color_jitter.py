"""Random changes of an image's colours, a pure function of a stateless seed."""

import functools

import tensorflow as tf


def random_color_jitter(
  image: tf.Tensor,
  seed: tf.Tensor,
  brightness: float = 0.0,
  contrast: float = 0.0,
  saturation: float = 0.0,
  hue: float = 0.0,
) -> tf.Tensor:
  """An image whose brightness, contrast, saturation and hue have changed, in random order.

  A strength s draws a factor from 1 - s to 1 + s, for hue a shift from -s to s; 0 leaves its
  operation out. Padding would take part in the mean that contrast goes by: pad afterwards.

  Args:
    image: float32 [H, W, 3], RGB 0 … 255, without padding.
    seed: integers [2], for stateless random numbers.
    brightness, contrast, saturation: strengths, 0 to 1.
    hue: strength in turns of the colour circle, 0 to 0.5.

  Returns:
    float32 [H, W, 3], RGB 0 … 255.
  """
  drawn = [
    (adjust, middle - strength, middle + strength)
    for adjust, middle, strength in (
      (adjust_brightness, 1.0, brightness),
      (adjust_contrast, 1.0, contrast),
      (adjust_saturation, 1.0, saturation),
      (adjust_hue, 0.0, hue),
    )
    if strength
  ]
  if not drawn:
    return image
  operations, lows, highs = zip(*drawn, strict=True)
  order_seed, amount_seed = tf.unstack(tf.random.split(seed, 2))
  order = tf.argsort(tf.random.stateless_uniform([len(drawn)], order_seed))  # [n]
  # n numbers from 0 to 1, each stretched to its own range.
  amounts = tf.constant(lows) + tf.random.stateless_uniform([len(drawn)], amount_seed) * (
    tf.constant(highs) - tf.constant(lows)
  )
  for place in range(len(drawn)):
    branches = [
      functools.partial(adjust, image, amount)
      for adjust, amount in zip(operations, tf.unstack(amounts), strict=True)
    ]
    image = tf.switch_case(order[place], branches)
  return image


def adjust_brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """The image times a factor, cut to 0 … 255; float32 [H, W, 3], as are those below."""
  return _clip(image * factor)


def adjust_contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """The image blended with the mean of its greyscale; factor 0 is an even grey, 1 the image.

  `tf.image.adjust_contrast` goes by the mean of each channel instead, which changes the hue.
  """
  return _clip(factor * image + (1.0 - factor) * tf.reduce_mean(_greyscale(image)))


def adjust_saturation(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
  """The image blended with its greyscale; factor 0 is the greyscale, 1 the image.

  `tf.image.adjust_saturation` scales the S of HSV instead, which changes the luminance.
  """
  return _clip(factor * image + (1.0 - factor) * _greyscale(image))


def adjust_hue(image: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
  """The image with its hue moved around the colour circle by a shift in turns, -1 to 1."""
  # The function asks for 0 … 1, but moving the hue is the same at every scale.
  return tf.image.adjust_hue(image, shift)


def _greyscale(image: tf.Tensor) -> tf.Tensor:
  return tf.image.rgb_to_grayscale(image)  # [H, W, 1]


def _clip(image: tf.Tensor) -> tf.Tensor:
  return tf.clip_by_value(image, 0.0, 255.0)
