"""Random changes of a composite's colours: jitter, greyscale, blur; pure functions of seeds.

Reference: Yang et al., "Instance Localization for Self-supervised Detection Pretraining", CVPR
2021; the changes are those of MoCo v2, made after pasting on the whole composite.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.data.pipeline import color_jitter

# The side of composites for which the settings state the standard deviations of blurs.
_SIGMA_SIDE = 256.0


def random_colors(
  image: tf.Tensor, seed: tf.Tensor, settings: insloc_config.Colors
) -> tf.Tensor:
  """An image that is jittered, made grey and blurred, each with a probability.

  Args:
    image: float32 [S, S, 3], RGB 0 … 255, S known statically.
    seed: integers [2], for stateless random numbers.
    settings: probabilities and strengths.

  Returns:
    float32 [S, S, 3], RGB 0 … 255.
  """
  jitter_seed, grey_seed, blur_seed = tf.unstack(tf.random.split(seed, 3))
  jitter = functools.partial(color_jitter.random_color_jitter, **settings.jitter.as_dict())
  scale = image.shape[0] / _SIGMA_SIDE
  sigmas = settings.blur_sigma_min * scale, settings.blur_sigma_max * scale
  image = _sometimes(jitter, image, jitter_seed, settings.jitter_probability)
  image = _sometimes(lambda image, _: greyscale(image), image, grey_seed, settings.grey_probability)
  return _sometimes(
    lambda image, seed: blur(image, tf.random.stateless_uniform([], seed, *sigmas)),
    image,
    blur_seed,
    settings.blur_probability,
  )


def greyscale(image: tf.Tensor) -> tf.Tensor:
  """The image in three equal channels, its luminance; float32 [H, W, 3]."""
  return tf.repeat(tf.image.rgb_to_grayscale(image), 3, axis=-1)


def blur(image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
  """The image under a Gaussian, as products with a matrix of weights for rows and for columns.

  Weights of pixels outside the image fall to those inside, so that the border does not darken.

  Args:
    image: float32 [H, W, 3], H and W known statically.
    sigma: float32 scalar, standard deviation in pixels; 0 leaves the image as it is.

  Returns:
    float32 [H, W, 3].
  """
  rows, columns = (_gaussian(length, sigma) for length in image.shape[:2])  # [H, H], [W, W]
  image = tf.tensordot(rows, image, [[1], [0]])  # [H, W, 3]
  return tf.einsum("xw,hwc->hxc", columns, image)  # [H, W, 3]


def _gaussian(length: int, sigma: tf.Tensor) -> tf.Tensor:
  """Shares of the pixels of a line in each blurred pixel, float32 [length, length]."""
  places = tf.range(length, dtype=tf.float32)
  distances = places[:, tf.newaxis] - places  # [length, length]
  # A sigma next to 0 would make 0 / 0 in the middle.
  weights = tf.exp(-0.5 * tf.square(distances / tf.maximum(sigma, 1e-3)))
  return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def _sometimes(
  change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
  image: tf.Tensor,
  seed: tf.Tensor,
  probability: float,
) -> tf.Tensor:
  """An image to which `change` was applied with a probability."""
  draw_seed, change_seed = tf.unstack(tf.random.split(seed, 2))
  is_changed = tf.random.stateless_uniform([], draw_seed) < probability
  return tf.cond(is_changed, lambda: change(image, change_seed), lambda: image)
