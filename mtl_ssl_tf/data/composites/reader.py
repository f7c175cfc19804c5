"""Images to batches of pairs of composites, in an order that any batch can be entered at.

Batches can be reproduced as those of detection can (`data/pipeline/reader.py`): the same images and
seed give the same ones in the same order, whatever the threads do, however many workers share them,
and whichever batch a run begins with.
"""

import random
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import insloc_data as insloc_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.composites import image_store, images, pairs
from mtl_ssl_tf.data.pipeline import batch_order, input_checks, record_streams
from mtl_ssl_tf.data.records import index as record_index


def make_dataset(
  data: insloc_config.InsLocData,
  *,
  first_batch: int = 0,
  skipped_batches: Sequence[int] = (),
  input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
  """Batches of static shape: without end for training, otherwise for about one epoch.

  Each epoch holds every image once as a foreground, and once as the background of each of the two
  composites; all three orders are drawn from all images. An image may be its own background.

  Args:
    data: the images and the settings. The images are made ready first, see `image_store`; where
      that was done before, it takes no time.
    first_batch: number of the training batch to begin with.
    skipped_batches: numbers of training batches to leave out.
    input_context: which worker this is, from `tf.distribute`; None is the only one.

  Returns:
    Dataset of dicts: the tensors of `pairs.make_pair` with B in front of each shape, and
    `source_index`, int64 [B], the number of each foreground among the images. B is
    `global_batch_size`, or each replica's part of it.

  Raises:
    ValueError: a setting is not acceptable, or there is no sound image.
    OSError: the folder of the images that are kept ready cannot be written to.
  """
  data = data.replace()
  data.lock()
  insloc_config.check(data, "data")
  batch_size, context = data.global_batch_size, input_context or tf.distribute.InputContext()
  input_checks.check_batches(
    batch_size, context, first_batch, skipped_batches, bool(data.is_training)
  )
  index = record_index.scan(record_files(data))
  order = batch_order.BatchOrder(
    [np.arange(len(index))],
    batch_size,
    random.SystemRandom().randrange(2**31) if data.seed is None else data.seed,
  )
  dataset = _pairs(index, order, data, first_batch, skipped_batches, context)
  dataset = dataset.batch(batch_size // context.num_replicas_in_sync, drop_remainder=True)
  if data.is_training:
    # Where no end is known of, replicas agree before each step that there is none.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
  else:
    # A small collection fills one batch, with images that come more than once.
    num_batches = max(len(index) // batch_size, 1)
    parts = context.num_replicas_in_sync // context.num_input_pipelines
    dataset = dataset.take(num_batches * parts)
  return dataset.prefetch(tf.data.AUTOTUNE)


def image_ids(data: insloc_config.InsLocData, batch: int) -> list[str]:
  """The names of the foregrounds in a training batch, row by row.

  Raises:
    ValueError: as `make_dataset`, or there is no seed.
  """
  if data.seed is None:
    raise ValueError("seed is None; accepted: a number, as an order that was drawn is not known")
  index = record_index.scan(record_files(data))
  order = batch_order.BatchOrder([np.arange(len(index))], data.global_batch_size, data.seed)
  ids = []
  for row in range(data.global_batch_size):
    record = order.record(tf.constant(batch, tf.int64), tf.constant(row, tf.int64))
    feature = tf.train.Example.FromString(index.read(record).numpy()).features.feature
    ids.append(feature[schema.IMAGE_SOURCE_ID].bytes_list.value[0].decode(errors="replace"))
  return ids


def num_images(data: insloc_config.InsLocData) -> int:
  """The number of images of an epoch, those that are left out not counted.

  Raises:
    ValueError: as `make_dataset`.
  """
  return len(record_index.scan(record_files(data)))


def record_files(data: insloc_config.InsLocData) -> list[str]:
  """The record files that hold the images, once these are ready.

  Raises:
    ValueError: as `make_dataset`.
  """
  files = image_store.ready_files(
    image_dir=data.image_dir,
    input_path=data.input_path,
    store_dir=data.store_dir,
    short_side=round(data.store_side * data.composite.size),
  )
  input_checks.check_records(files)
  return files


def _pairs(
  index: record_index.RecordIndex,
  order: batch_order.BatchOrder,
  data: insloc_config.InsLocData,
  first_batch: int,
  skipped_batches: Sequence[int],
  context: tf.distribute.InputContext,
) -> tf.data.Dataset:
  """The worker's rows, one pair of composites each."""
  read_image = images.image_reader(index, data.cache)
  # The numbers of the records are passed on in the place of their contents.
  rows = record_streams.training(tf.identity, order, first_batch, skipped_batches, context)
  backgrounds = [order.partner(number) for number in range(len(pairs.ROLES))]

  @tf.autograph.experimental.do_not_convert
  def make_pair(number, bucket, record):
    del bucket  # There is one.
    batch, row = number // order.global_batch_size, number % order.global_batch_size
    made = pairs.make_pair(
      read_image(record),
      lambda role: read_image(backgrounds[role].record(batch, row)),
      tf.stack([tf.constant(order.seed, tf.int64), number]),
      data,
    )
    return {**made, "source_index": record}

  return rows.map(make_pair, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
