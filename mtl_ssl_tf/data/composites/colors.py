"""Random changes of a composite's colours: jitter, greyscale, blur; pure functions of seeds.

Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
2021; the changes are those of MoCo v2, made after pasting on the whole composite.
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.ops import color_ops

# The side of composites for which the settings state the standard deviations of blurs.
_SIGMA_SIDE = 256.0
# Standard deviations that a blur reaches in each direction; what lies beyond counts nothing.
_BLUR_REACH = 3.0
# Less leaves an image as it is, and 0 would divide by itself.
_LEAST_SIGMA = 1e-3


def random_colors(image: tf.Tensor, seed: tf.Tensor, settings: insloc_config.Colors) -> tf.Tensor:
  """An image that is jittered, made grey and blurred, each with a probability.

  Args:
    image: float32 [S, S, 3], RGB 0 … 255, S known statically.
    seed: integers [2], for stateless random numbers.
    settings: probabilities and strengths.

  Returns:
    float32 [S, S, 3], RGB 0 … 255.
  """
  jitter_seed, grey_seed, blur_seed = tf.unstack(tf.random.split(seed, 3))
  scale = image.shape[0] / _SIGMA_SIDE
  sigmas = [
    max(sigma * scale, _LEAST_SIGMA) for sigma in (settings.blur_sigma_min, settings.blur_sigma_max)
  ]
  jitter = functools.partial(color_ops.random_color_jitter, **settings.jitter.as_dict())
  image = _sometimes(jitter, image, jitter_seed, settings.jitter_probability)
  image = _sometimes(lambda image, _: greyscale(image), image, grey_seed, settings.grey_probability)
  return _sometimes(
    lambda image, seed: blur(image, tf.random.stateless_uniform([], seed, *sigmas), sigmas[1]),
    image,
    blur_seed,
    settings.blur_probability,
  )


def greyscale(image: tf.Tensor) -> tf.Tensor:
  """The image in three equal channels, its luminance; float32 [H, W, 3]."""
  return tf.repeat(tf.image.rgb_to_grayscale(image), 3, axis=-1)


def blur(image: tf.Tensor, sigma: tf.Tensor, largest_sigma: float) -> tf.Tensor:
  """The image under a Gaussian, mirrored at its border.

  Without padding to leave out, as `color_ops.gaussian_blur` does, and with the first of the two
  passes over whole rows at once, it takes a third of the time of that one.

  Args:
    image: float32 [S, S, 3], S known statically.
    sigma: float32 scalar, standard deviation in pixels, above 0.
    largest_sigma: that there can be, which decides how many pixels are added up.

  Returns:
    float32 [S, S, 3].
  """
  reach = min(math.ceil(_BLUR_REACH * largest_sigma), image.shape[0])
  distances = tf.range(-reach, reach + 1, dtype=tf.float32)  # [n]
  weights = tf.nn.softmax(-0.5 * tf.square(distances / sigma))  # [n]
  side, padded_side = image.shape[0], image.shape[0] + 2 * reach
  padded = tf.pad(image, [[reach, reach], [reach, reach], [0, 0]], "SYMMETRIC")
  rows = tf.reshape(padded, [1, padded_side, 1, 3 * padded_side])
  down = tf.tile(weights[:, tf.newaxis, tf.newaxis, tf.newaxis], [1, 1, 3 * padded_side, 1])
  rows = tf.nn.depthwise_conv2d(rows, down, [1, 1, 1, 1], "VALID")
  rows = tf.reshape(rows, [1, side, padded_side, 3])
  across = tf.tile(weights[tf.newaxis, :, tf.newaxis, tf.newaxis], [1, 1, 3, 1])
  return tf.nn.depthwise_conv2d(rows, across, [1, 1, 1, 1], "VALID")[0]


def _sometimes(
  change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
  image: tf.Tensor,
  seed: tf.Tensor,
  probability: float,
) -> tf.Tensor:
  """An image to which `change` was applied with a probability."""
  if not probability:
    return image
  draw_seed, change_seed = tf.unstack(tf.random.split(seed, 2))
  is_changed = tf.random.stateless_uniform([], draw_seed) < probability
  return tf.cond(is_changed, lambda: change(image, change_seed), lambda: image)
