"""Seeds for the random choices of a step: same step, same image, same choice."""

import tensorflow as tf

# One stream for each purpose, so that no two choices of a step share their random numbers.
RPN_SAMPLING, ROI_SAMPLING, WINDOWS, COLORS, KEY_SHUFFLE, BOX_AUGMENTATION = range(6)


def step_seed(seed: int, stream: int, step: tf.Tensor) -> tf.Tensor:
  """Returns int32 [2], a stateless seed for one choice of a step; arguments as of `image_seeds`."""
  return tf.random.experimental.stateless_fold_in(
    tf.constant([seed, stream], tf.int32), tf.cast(step, tf.int32), alg="philox"
  )


def image_seeds(seed: int, stream: int, step: tf.Tensor, image_keys: tf.Tensor) -> tf.Tensor:
  """Returns int32 [B, 2], a stateless seed for each image.

  An image's seed does not depend on its place in the batch, so a batch gives what its images
  give one by one.

  Args:
    seed: int, of the run.
    stream: int, the purpose.
    step: integer scalar; a constant makes the choice the same in every step.
    image_keys: int32 [B], a number that stays with an image.
  """
  base = step_seed(seed, stream, step)  # [2], a random number and the step itself
  # Added to the step, a key would give an image what its neighbour had the step before.
  offsets = tf.stack([image_keys, tf.zeros_like(image_keys)], axis=-1)  # [B, 2]
  return base[tf.newaxis] + offsets
