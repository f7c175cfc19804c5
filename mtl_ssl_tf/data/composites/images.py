"""Images of records by their number, decoded whenever one is asked for, or once for all."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import index as record_index


def image_reader(index: record_index.RecordIndex, cache: bool) -> Callable[[tf.Tensor], tf.Tensor]:
  """Returns a function, of graphs too, from a record's number to its image, uint8 [h, w, 3].

  Args:
    index: of the records.
    cache: keep the pixels of all images in memory, which are read now.
  """

  def read(record: tf.Tensor) -> tf.Tensor:
    return decode_image(index.read(record))

  if not cache:
    return read
  dataset = tf.data.Dataset.range(len(index)).map(
    read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
  )
  images = list(dataset.as_numpy_iterator())
  shapes = tf.constant([image.shape for image in images])  # [n, 3]
  ends = np.cumsum([image.size for image in images])  # [n]
  starts = tf.constant(ends - [image.size for image in images])
  ends = tf.constant(ends)
  pixels = tf.constant(np.concatenate([image.ravel() for image in images]))  # Of one after another.
  del images

  def read_pixels(record: tf.Tensor) -> tf.Tensor:
    of_image = pixels[starts[record] : ends[record]]
    return tf.ensure_shape(tf.reshape(of_image, shapes[record]), [None, None, 3])

  return read_pixels


def decode_image(content: tf.Tensor) -> tf.Tensor:
  """The image of a record, uint8 [h, w, 3]; `content` is a string scalar."""
  features = tf.io.parse_single_example(
    content, {schema.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)}
  )
  image = tf.io.decode_image(features[schema.IMAGE_ENCODED], channels=3, expand_animations=False)
  return tf.ensure_shape(image, [None, None, 3])
