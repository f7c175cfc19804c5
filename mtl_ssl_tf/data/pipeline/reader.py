"""Record files to batches: files, order, shares of the workers, and checks.

A batch is the pair `(images, labels)` of `detection_parser.DetectionParser`, each tensor with a
leading axis: `global_batch_size`, or each replica's part of it. Batches can be reproduced: the same
seed and files give the same ones in the same order, whatever the threads do, however many workers
share them, and whichever batch a run begins with.
"""

import functools
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.configs import data as data_config
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import (
  batch_order,
  composition,
  detection_parser,
  input_checks,
  input_sizes,
  record_streams,
)
from mtl_ssl_tf.data.records import features as record_features
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.records import sizes as record_sizes


def make_dataset(
  data: data_config.Data,
  *,
  first_batch: int = 0,
  skipped_batches: Sequence[int] = (),
  input_context: tf.distribute.InputContext | None = None,
  with_erased: bool = False,
  num_classes: int | None = None,
) -> tf.data.Dataset:
  """Batches of static shape: without end for training, each image once for evaluation.

  Training's batches have running numbers from 0. Each epoch holds every image once in an order of
  its own, drawn from all of them; order, flips and zooms follow from the seed and the numbers
  alone, see `batch_order`. The workers share the rows of each batch among them.

  Evaluation keeps the order of the files; rows whose `example_valid` is False fill up the last
  batch, the same number of batches for every worker. Its labels also hold `example_index`, int32:
  the place of the record in the files taken one after the other, from 0; -1 where there is none.

  Args:
    data: which records and how they become batches; `input_path` is a path, a glob pattern, a
      folder with one split, or a list of these. Without a `seed`, one is drawn. `cache` keeps the
      records in memory, their images still compressed: training reads them all when it begins,
      evaluation when it first needs them. With two input sizes, see `input_sizes`, each batch has
      one of them, the same for all workers; where both occur, the dataset does not know H and W,
      each batch does.
    first_batch: number of the training batch to begin with.
    skipped_batches: numbers of training batches to leave out.
    input_context: which worker this is, from `tf.distribute`; None is the only one.
    with_erased: add to training's labels the objects whose annotations were erased on purpose, see
      `DetectionParser`; no loss may see them.
    num_classes: C, background included, to add the annotated classes to the labels, see there, if
      any record states them; None never adds them.

  Returns:
    Dataset of `(images, labels)`: float32 [B, H, W, 3] and the dict of `DetectionParser`, with B in
    front of each shape.

  Raises:
    ValueError: no file matches, a file does not hold our records or is cut short, there are no
      records, or a setting is out of its range.
  """
  data = data_config.frozen(data)
  batch_size, is_training = data.global_batch_size, data.is_training
  context = input_context or tf.distribute.InputContext()
  input_checks.check_batches(batch_size, context, first_batch, skipped_batches, is_training)
  files = record_paths.match_files(data.input_path)
  input_checks.check_records(files)
  if num_classes is not None and not record_features.state_annotated_classes(files):
    num_classes = None
  parsers = {
    bucket: detection_parser.DetectionParser(data, size, is_training, with_erased, num_classes)
    for bucket, size in enumerate(input_sizes.sizes(data.input_layout, data.input_size))
  }
  seed = data.seed
  if seed is None:
    seed = random.SystemRandom().randrange(2**31)
  read_partner = None
  if not is_training and len(parsers) == 1:  # The files, one after the other, need no index.
    records = record_streams.evaluation(files, batch_size, data.cache, context)
  else:
    index = record_index.scan(files)
    buckets = _buckets(index, data.input_layout)
    if is_training:
      order = batch_order.BatchOrder(buckets, batch_size, seed)
      read_record = record_streams.record_reader(index, data.cache)
      records = record_streams.training(read_record, order, first_batch, skipped_batches, context)
      read_partner = _partner_reader(order, read_record)
    else:
      records = record_streams.evaluation_in_buckets(
        index, buckets, batch_size, data.cache, context
      )
    # An input size that no image needs would only hide the size of the other.
    parsers = {bucket: parser for bucket, parser in parsers.items() if len(buckets[bucket])}
  parse = functools.partial(_parse, parsers, seed if is_training else None, read_partner)
  dataset = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  dataset = dataset.batch(batch_size // context.num_replicas_in_sync, drop_remainder=True)
  if is_training:  # Where no end is known of, replicas agree before each step that there is none.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
  return dataset.prefetch(tf.data.AUTOTUNE)


def image_ids(data: data_config.Data, batch: int) -> list[str]:
  """The source ids of the images in a training batch, those of all workers, row by row.

  Args:
    data: as `make_dataset` was given it.
    batch: running number of the batch.

  Raises:
    ValueError: as `make_dataset`, or there is no seed.
  """
  batch_size = data.global_batch_size
  if data.seed is None:
    raise ValueError("seed is None; accepted: a number, as an order that was drawn is not known")
  context = tf.distribute.InputContext()
  input_checks.check_batches(batch_size, context, batch, (), is_training=True)
  index = record_index.scan(record_paths.match_files(data.input_path))
  order = batch_order.BatchOrder(_buckets(index, data.input_layout), batch_size, data.seed)
  ids = []
  for row in range(batch_size):
    record = order.record(tf.constant(batch, tf.int64), tf.constant(row, tf.int64))
    feature = tf.train.Example.FromString(index.read(record).numpy()).features.feature
    ids.append(feature[schema.IMAGE_SOURCE_ID].bytes_list.value[0].decode())
  return ids


def carries_erased(input_path: str | Sequence[str]) -> bool:
  """Returns whether the records hold objects whose annotations were erased, by the first of them.

  Raises:
    ValueError: no file matches.
  """
  first_file = record_paths.match_files(input_path)[0]
  for record in tf.data.TFRecordDataset(first_file).take(1):
    features = tf.train.Example.FromString(record.numpy()).features.feature
    return any(name.startswith(schema.ERASED_PREFIX) for name in features)
  return False


def _buckets(index: record_index.RecordIndex, input_layout: str) -> list[np.ndarray]:
  """Numbers of the records for each input size."""
  if input_layout == "single":
    return [np.arange(len(index))]
  is_portrait = input_sizes.is_portrait(record_sizes.image_sizes(index))
  return [np.flatnonzero(~is_portrait), np.flatnonzero(is_portrait)]


def _partner_reader(
  order: batch_order.BatchOrder, read_record: Callable[[tf.Tensor], tf.Tensor]
) -> Callable[[tf.Tensor, int], tf.Tensor]:
  """Returns a function from a row's number, in the endless sequence, and a partner to a record."""
  orders = [order.partner(number) for number in range(composition.NUM_PARTNERS)]

  def read(number, partner):
    batch, row = number // order.global_batch_size, number % order.global_batch_size
    return read_record(orders[partner].record(batch, row))

  return read


def _parse(
  parsers: Mapping[int, detection_parser.DetectionParser],
  seed: int | None,
  read_partner: Callable[[tf.Tensor, int], tf.Tensor] | None,
  number: tf.Tensor,
  bucket: tf.Tensor,
  content: tf.Tensor,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """A record parsed with the input size of its bucket.

  Args:
    parsers: those of the buckets that hold records, by the number of the bucket.
    seed, read_partner: None in evaluation.
    number, bucket, content: an element of a stream, see `record_streams`.
  """

  def parse_by(parser):
    if seed is not None:
      seeds = tf.stack([seed, number])
      return parser(content, seeds, lambda partner: read_partner(number, partner))
    image, labels = tf.cond(
      number >= 0, lambda: parser(content, tf.zeros([2], tf.int64)), parser.blank
    )
    return image, {**labels, "example_index": tf.cast(number, tf.int32)}

  if len(parsers) == 1:
    (parser,) = parsers.values()
    return parse_by(parser)
  return tf.cond(bucket == 0, lambda: parse_by(parsers[0]), lambda: parse_by(parsers[1]))
