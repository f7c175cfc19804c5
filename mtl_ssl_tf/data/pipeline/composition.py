"""Training images composed of several: mosaics and pasted objects, each with a probability."""

from collections.abc import Callable

import tensorflow as tf

from mtl_ssl_tf.data.pipeline import annotated_image, copy_paste, mosaic

# Partner images that an image may need: the rest of a mosaic, and one that objects come from.
NUM_PARTNERS = mosaic.NUM_IMAGES
_PASTE_PARTNER = NUM_PARTNERS - 1

Partner = Callable[[int], annotated_image.AnnotatedImage]


def num_parts(probabilities: tuple[float, float]) -> int:
  """The most parts that an image is composed of, by the probabilities of `compose`."""
  mosaic_probability, paste_probability = probabilities
  of_mosaic = mosaic.NUM_IMAGES if mosaic_probability else 1
  return of_mosaic + (copy_paste.MAX_PASTED if paste_probability else 0)


def compose(
  annotated: annotated_image.AnnotatedImage,
  partner: Partner,
  seed: tf.Tensor,
  scale_of: Callable[[tf.Tensor], tf.Tensor],
  mosaic_size: tf.Tensor,
  probabilities: tuple[float, float],
  max_objects: int,
) -> annotated_image.AnnotatedImage:
  """An image made part of a mosaic, and then pasted into, each with its probability.

  Args:
    annotated: the image and its objects.
    partner: makes partner 0 … `NUM_PARTNERS` - 1 of the image; called, and thus read and decoded,
      only where it is used.
    seed: integers [2], for stateless random numbers.
    scale_of: the scale that an image of a size, float32 [2], has in the network input by itself.
    mosaic_size: float32 [2], height and width of a mosaic, whole numbers.
    probabilities: of a mosaic and of pasting; 0 leaves it out.
    max_objects: what is pasted makes no more objects than this.

  Returns:
    The image and its objects, regions to be ignored last.
  """
  mosaic_seed, paste_seed = tf.unstack(tf.random.split(seed, 2))
  mosaic_probability, paste_probability = probabilities

  def make_mosaic(image, seed):
    images = [image, *map(partner, range(mosaic.NUM_IMAGES - 1))]
    scales = [scale_of(image.size) for image in images]
    return mosaic.mosaic(images, scales, mosaic_size, seed)

  def paste(image, seed):
    source = partner(_PASTE_PARTNER)
    size_ratio = scale_of(source.size) / scale_of(image.size)
    return copy_paste.copy_paste(image, source, seed, size_ratio, max_objects)

  if mosaic_probability:
    annotated = _sometimes(make_mosaic, annotated, mosaic_seed, mosaic_probability)
  if paste_probability:
    annotated = _sometimes(paste, annotated, paste_seed, paste_probability)
  return annotated


def _sometimes(
  change: Callable[[annotated_image.AnnotatedImage, tf.Tensor], annotated_image.AnnotatedImage],
  annotated: annotated_image.AnnotatedImage,
  seed: tf.Tensor,
  probability: float,
) -> annotated_image.AnnotatedImage:
  """An image to which `change` was applied with a probability."""
  draw_seed, change_seed = tf.unstack(tf.random.split(seed, 2))
  is_changed = tf.random.stateless_uniform([], draw_seed) < probability
  return tf.cond(is_changed, lambda: change(annotated, change_seed), lambda: annotated)
