"""Tiny images and records for tests, each made from what the test states."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import reader


def solid_image(height: int, width: int, value: int = 0) -> np.ndarray:
  """uint8 [height, width, 3] of one grey value."""
  return np.full([height, width, 3], value, np.uint8)


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
  """uint8 [height, width, 3] of uniform noise."""
  return np.random.default_rng(seed).integers(0, 256, [height, width, 3], np.uint8)


def image_with_squares(
  height: int, width: int, boxes_orig: Sequence[Sequence[int]], value: int = 255
) -> np.ndarray:
  """uint8 [height, width, 3], black, with each box filled."""
  image = solid_image(height, width)
  for ymin, xmin, ymax, xmax in boxes_orig:
    image[ymin:ymax, xmin:xmax] = value
  return image


def serialized_example(
  image: np.ndarray,
  boxes_orig: Sequence[Sequence[float]] = (),
  classes: Sequence[int] = (),
  difficult: Sequence[int] | None = None,
  is_crowd: Sequence[int] | None = None,
  source_id: str = "a",
) -> bytes:
  """A record as the converters write it, its image a PNG, so that no pixel changes.

  Args:
    image: uint8 [height, width, 3].
    boxes_orig: [N, 4], pixels of the image.
    classes: [N], from 1.
    difficult: [N] of 0 and 1; None leaves the feature out.
    is_crowd: as `difficult`.
    source_id: name of the image.
  """
  height, width = image.shape[:2]
  boxes = np.reshape(np.asarray(boxes_orig, np.float64), [-1, 4])
  ymin, xmin, ymax, xmax = (boxes / [height, width, height, width]).T
  features = {
    schema.IMAGE_ENCODED: _bytes(tf.io.encode_png(image).numpy()),
    schema.IMAGE_FORMAT: _bytes(b"png"),
    schema.IMAGE_HEIGHT: _ints([height]),
    schema.IMAGE_WIDTH: _ints([width]),
    schema.IMAGE_FILENAME: _bytes(f"{source_id}.png".encode()),
    schema.IMAGE_SOURCE_ID: _bytes(source_id.encode()),
    schema.OBJECT_YMIN: _floats(ymin),
    schema.OBJECT_XMIN: _floats(xmin),
    schema.OBJECT_YMAX: _floats(ymax),
    schema.OBJECT_XMAX: _floats(xmax),
    schema.OBJECT_LABEL: _ints(classes),
  }
  if difficult is not None:
    features[schema.OBJECT_DIFFICULT] = _ints(difficult)
  if is_crowd is not None:
    features[schema.OBJECT_IS_CROWD] = _ints(is_crowd)
  return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_records(path: str | os.PathLike, examples: Sequence[bytes]) -> str:
  """Writes serialized examples to a TFRecord file and returns its path."""
  with tf.io.TFRecordWriter(os.fspath(path)) as writer:
    for example in examples:
      writer.write(example)
  return os.fspath(path)


def write_noise_records(
  path: str | os.PathLike,
  num_images: int,
  boxes_orig: Sequence[Sequence[float]],
  classes: Sequence[int],
  size: tuple[int, int] = (48, 64),
) -> str:
  """Writes images of noise that all have the same objects, and returns the file's path."""
  return write_records(
    path,
    [
      serialized_example(noise_image(*size, seed=i), boxes_orig, classes, source_id=str(i))
      for i in range(num_images)
    ],
  )


def _bytes(value: bytes) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _ints(values: Sequence[int]) -> tf.train.Feature:
  return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values: Sequence[float]) -> tf.train.Feature:
  return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def make_dataset(path, *, first_batch=0, skipped_batches=(), input_context=None, **settings):
  """The batches of `reader.make_dataset` for these files and fields of `configs.data.Data`."""
  return reader.make_dataset(
    data_config.Data(input_path=path, **settings),
    first_batch=first_batch,
    skipped_batches=skipped_batches,
    input_context=input_context,
  )
