"""Record files to batches: which files, in which order, for which worker, and what is amiss.

A batch is the pair `(images, labels)` of `detection_parser.DetectionParser`, each tensor with a
leading axis: `global_batch_size`, or each replica's part of it. Batches can be reproduced: the same
seed and files give the same ones in the same order, whatever the threads do, however many workers
share them, and whichever batch a run begins with.
"""

import os
import random
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.pipeline import (
  batch_order,
  canvases,
  detection_parser,
  input_checks,
  record_streams,
)
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import sizes as record_sizes

_SHARD_SUFFIX = re.compile(r"(-\d+-of-\d+)?\.tfrecord$")


def make_dataset(
  input_path: str | Sequence[str],
  *,
  global_batch_size: int,
  is_training: bool,
  seed: int | None = 0,
  first_batch: int = 0,
  skipped_batches: Sequence[int] = (),
  cache: bool = False,
  canvas: str = "square",
  canvas_size: Sequence[int] = (1024, 1024),
  short_side: int = 600,
  long_side: int = 1024,
  max_num_boxes: int = 100,
  flip_probability: float = 0.5,
  vertical_flip_probability: float = 0.0,
  scale_min: float = 1.0,
  scale_max: float = 1.0,
  difficult: str = "keep",
  crowd: str = "ignore",
  input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
  """Batches of static shape: without end for training, each image once for evaluation.

  Training's batches have running numbers from 0. Each epoch holds every image once in an order of
  its own, drawn from all of them; order, flips and zooms follow from the seed and the numbers
  alone, see `batch_order`. The workers share the rows of each batch among them.

  Evaluation keeps the order of the files; rows whose `example_valid` is False fill up the last
  batch, the same number of batches for every worker. Its labels also hold `example_index`, int32:
  the place of the record in the files taken one after the other, from 0; -1 where there is none.

  Args:
    input_path: record files: a path, a glob pattern, a folder with one split, or a list of these.
    global_batch_size: images of all replicas together.
    is_training: as above.
    seed: of order, flips and zooms; None draws a new one.
    first_batch: number of the training batch to begin with.
    skipped_batches: numbers of training batches to leave out.
    cache: keep the records in memory, their images still compressed. Training reads them all when
      it begins, evaluation when it first needs them.
    canvas: which canvases there are, see `canvases`. With two, each batch is on one of them, the
      same for all workers; where both occur, the dataset does not know H and W, each batch does.
    canvas_size, short_side, long_side, max_num_boxes, flip_probability,
      vertical_flip_probability, scale_min, scale_max, difficult, crowd: see `DetectionParser`.
    input_context: which worker this is, as `tf.distribute` tells it; None is the only one.

  Returns:
    Dataset of `(images, labels)`: float32 [B, H, W, 3] and the dict of `DetectionParser`, with B in
    front of each shape.

  Raises:
    ValueError: no file matches, a file does not hold our records or is cut short, there are no
      records, or a setting is out of its range.
  """
  context = input_context or tf.distribute.InputContext()
  input_checks.check_batches(global_batch_size, context, first_batch, skipped_batches, is_training)
  parsers = [
    detection_parser.DetectionParser(
      canvas_size=size,
      short_side=short_side,
      long_side=long_side,
      max_num_boxes=max_num_boxes,
      flip_probability=flip_probability,
      vertical_flip_probability=vertical_flip_probability,
      scale_min=scale_min,
      scale_max=scale_max,
      difficult=difficult,
      crowd=crowd,
      is_training=is_training,
    )
    for size in canvases.sizes(canvas, canvas_size)
  ]
  files = match_files(input_path)
  input_checks.check_records(files)
  if seed is None:
    seed = random.SystemRandom().randrange(2**31)
  if not is_training and len(parsers) == 1:  # The files, one after the other, need no index.
    records = record_streams.evaluation(files, global_batch_size, cache, context)
  else:
    index = record_index.scan(files)
    buckets = _buckets(index, canvas)
    if is_training:
      order = batch_order.BatchOrder(buckets, global_batch_size, seed)
      records = record_streams.training(index, order, first_batch, skipped_batches, cache, context)
    else:
      records = record_streams.evaluation_in_buckets(
        index, buckets, global_batch_size, cache, context
      )
    # A canvas that no image needs would only hide the size of the other.
    parsers = [
      parser if len(bucket) else None for parser, bucket in zip(parsers, buckets, strict=True)
    ]

  def parse(number, bucket, content):
    return _on_canvas(parsers, bucket, number, content, seed if is_training else None)

  dataset = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  batch_size = global_batch_size // context.num_replicas_in_sync
  dataset = dataset.batch(batch_size, drop_remainder=True)
  if is_training:  # Where no end is known of, replicas agree before each step that there is none.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
  return dataset.prefetch(tf.data.AUTOTUNE)


def image_ids(
  input_path: str | Sequence[str],
  batch: int,
  *,
  global_batch_size: int,
  seed: int | None = 0,
  canvas: str = "square",
  input_context: tf.distribute.InputContext | None = None,
) -> list[str]:
  """The source ids of the images in a training batch, row by row.

  Args:
    batch: running number of the batch.
    input_path, global_batch_size, seed, canvas: as `make_dataset` was given them.
    input_context: the worker whose rows are wanted; None wants those of all workers.

  Raises:
    ValueError: as `make_dataset`, or there is no seed.
  """
  if seed is None:
    raise ValueError("seed is None; accepted: a number, as no one can tell an order that was drawn")
  context = input_context or tf.distribute.InputContext()
  input_checks.check_batches(global_batch_size, context, batch, (), is_training=True)
  index = record_index.scan(match_files(input_path))
  order = batch_order.BatchOrder(_buckets(index, canvas), global_batch_size, seed)
  ids = []
  for row in record_streams.worker_rows(global_batch_size, context):
    record = order.record(tf.constant(batch, tf.int64), tf.constant(row, tf.int64))
    feature = tf.train.Example.FromString(index.read(record).numpy()).features.feature
    ids.append(feature[schema.IMAGE_SOURCE_ID].bytes_list.value[0].decode())
  return ids


def match_files(input_path: str | Sequence[str]) -> list[str]:
  """The record files that a path, pattern, folder or list of these stands for, each once.

  A folder stands for its `*.tfrecord` files, provided that they are shards of one split: `train`
  and `test` records that lie side by side must not be mixed by accident.

  Raises:
    ValueError: nothing matches, or a folder holds several splits.
  """
  items = [input_path] if isinstance(input_path, str) else list(input_path)
  if not items or "" in items:
    raise ValueError(f"input_path must name record files, got {input_path!r}")
  files = []
  for item in items:
    if tf.io.gfile.isdir(item):
      names = sorted(name for name in tf.io.gfile.listdir(item) if _SHARD_SUFFIX.search(name))
      splits = sorted({_SHARD_SUFFIX.sub("", name) for name in names})
      if len(splits) > 1:
        raise ValueError(
          f"input_path: the folder {item!r} holds records of several splits ({', '.join(splits)});"
          f" name one, for example {os.path.join(item, splits[0])}-*.tfrecord"
        )
      matches = [os.path.join(item, name) for name in names]
    elif tf.io.gfile.exists(item):  # Before globbing: the path may contain a bracket.
      matches = [item]
    else:
      matches = sorted(tf.io.gfile.glob(item))
    if not matches:
      raise ValueError(f"input_path: no record files match {item!r}")
    files.extend(matches)
  return list(dict.fromkeys(files))


def split_name(file: str) -> str:
  """The split that a record file belongs to: its name without number of shard and extension."""
  return _SHARD_SUFFIX.sub("", os.path.basename(file))


def count_examples(input_path: str | Sequence[str]) -> int:
  """Number of records in the files, from the records' headers alone.

  Raises:
    ValueError: as `match_files`, or a file is no TFRecord file or is cut short.
  """
  return len(record_index.scan(match_files(input_path)))


def _buckets(index: record_index.RecordIndex, canvas: str) -> list[np.ndarray]:
  """Numbers of the records for each canvas."""
  if canvas == "square":
    return [np.arange(len(index))]
  standing = canvases.fit_standing(record_sizes.image_sizes(index))
  return [np.flatnonzero(~standing), np.flatnonzero(standing)]


def _on_canvas(
  parsers: Sequence[detection_parser.DetectionParser | None],
  bucket: tf.Tensor,
  number: tf.Tensor,
  content: tf.Tensor,
  seed: int | None,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """A record parsed for the canvas of its bucket; `seed` is None in evaluation."""

  def parse(parser):
    if seed is not None:
      return parser(content, tf.stack([seed, number]))
    image, labels = tf.cond(
      number >= 0, lambda: parser(content, tf.zeros([2], tf.int64)), parser.blank
    )
    return image, {**labels, "example_index": tf.cast(number, tf.int32)}

  used = [parser for parser in parsers if parser is not None]
  if len(used) == 1:
    return parse(used[0])
  return tf.cond(bucket == 0, lambda: parse(parsers[0]), lambda: parse(parsers[1]))
