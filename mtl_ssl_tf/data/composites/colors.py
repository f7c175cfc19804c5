"""Random changes of a composite's colours: jitter, greyscale, blur; pure functions of seeds.

Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
2021; the changes are those of MoCo v2, made after pasting on the whole composite.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.ops import color_ops

# The side of composites for which the settings state the standard deviations of blurs.
_SIGMA_SIDE = 256.0
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
  """The whole image blurred, see `color_ops.gaussian_blur`; float32 [H, W, 3]."""
  everywhere = tf.ones([*image.shape[:2], 1], tf.bool)
  return color_ops.gaussian_blur(image, sigma, everywhere, largest_sigma)


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
