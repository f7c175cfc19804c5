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
from google.protobuf import message

from mtl_ssl_tf.data import batch_order, detection_parser, record_index, schema

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
  parser = detection_parser.DetectionParser(
    canvas_size=canvas_size,
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
  context = input_context or tf.distribute.InputContext()
  _check_batches(global_batch_size, context, first_batch, skipped_batches, is_training)
  files = match_files(input_path)
  _check_records(files)

  if is_training:
    if seed is None:
      seed = random.SystemRandom().randrange(2**31)
    index = record_index.scan(files)
    order = batch_order.BatchOrder([np.arange(len(index))], global_batch_size, seed)
    contents = index.read_all() if cache else None

    def parse(batch, row):
      record = order.record(batch, row)
      content = index.read(record) if contents is None else tf.gather(contents, record)
      return parser(content, tf.stack([seed, batch * global_batch_size + row]))

    rows = _training_rows(first_batch, skipped_batches, _worker_rows(global_batch_size, context))
    dataset = rows.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  else:

    def parse(index, record):
      image, labels = tf.cond(
        index >= 0, lambda: parser(record, tf.zeros([2], tf.int64)), parser.blank
      )
      return image, {**labels, "example_index": tf.cast(index, tf.int32)}

    records = _evaluation_records(files, context, global_batch_size, cache)
    dataset = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  batch_size = global_batch_size // context.num_replicas_in_sync
  return dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def image_ids(
  input_path: str | Sequence[str],
  batch: int,
  *,
  global_batch_size: int,
  seed: int | None = 0,
  input_context: tf.distribute.InputContext | None = None,
) -> list[str]:
  """The source ids of the images in a training batch, row by row.

  Args:
    batch: running number of the batch.
    input_path, global_batch_size, seed: as `make_dataset` was given them.
    input_context: the worker whose rows are wanted; None wants those of all workers.

  Raises:
    ValueError: as `make_dataset`, or there is no seed.
  """
  if seed is None:
    raise ValueError("seed is None; accepted: a number, as no one can tell an order that was drawn")
  context = input_context or tf.distribute.InputContext()
  _check_batches(global_batch_size, context, batch, (), is_training=True)
  index = record_index.scan(match_files(input_path))
  order = batch_order.BatchOrder([np.arange(len(index))], global_batch_size, seed)
  ids = []
  for row in _worker_rows(global_batch_size, context):
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


def _check_batches(
  global_batch_size: int,
  context: tf.distribute.InputContext,
  first_batch: int,
  skipped_batches: Sequence[int],
  is_training: bool,
) -> None:
  """Raises ValueError unless each replica gets a part of each batch, and batches exist."""
  if global_batch_size < 1:
    raise ValueError(f"global_batch_size must be at least 1, got {global_batch_size}")
  replicas = context.num_replicas_in_sync
  if global_batch_size % replicas:
    raise ValueError(
      f"global_batch_size is {global_batch_size}; accepted: a multiple of the {replicas} replicas"
    )
  for name, numbers in (("first_batch", [first_batch]), ("skipped_batches", list(skipped_batches))):
    if any(number < 0 for number in numbers):
      raise ValueError(f"{name} is {numbers}; accepted: batches are numbered from 0")
  if not is_training and (first_batch or skipped_batches):
    raise ValueError(
      f"first_batch is {first_batch} and skipped_batches {skipped_batches}; accepted: 0 and none,"
      " as evaluation takes all batches"
    )


def _worker_rows(global_batch_size: int, context: tf.distribute.InputContext) -> range:
  """The rows of each global batch that are a worker's."""
  begin, end = (
    (context.input_pipeline_id + more) * global_batch_size // context.num_input_pipelines
    for more in (0, 1)
  )
  return range(begin, end)


def _training_rows(
  first_batch: int, skipped_batches: Sequence[int], rows: range
) -> tf.data.Dataset:
  """Pairs of running number and row, int64, of one batch after the other, without end."""
  batches = tf.data.Dataset.range(first_batch, tf.int64.max)
  if skipped_batches:
    skipped = tf.constant(list(skipped_batches), tf.int64)
    batches = batches.filter(lambda batch: tf.reduce_all(batch != skipped))
  of_batch = tf.data.Dataset.range(rows.start, rows.stop)
  return batches.flat_map(lambda batch: of_batch.map(lambda row: (batch, row)))


def _evaluation_records(
  files: list[str], context: tf.distribute.InputContext, global_batch_size: int, cache: bool
) -> tf.data.Dataset:
  """This worker's records in order, as pairs of place in the files and record.

  Blanks, whose place is -1, fill up the last global batch before the workers take their turns.
  """
  records = tf.data.TFRecordDataset(files).enumerate()
  blank = (tf.constant(-1, tf.int64), "")
  blanks = tf.data.Dataset.from_tensors(blank).repeat(global_batch_size - 1)
  # Blanks that would begin another batch fall away with the remainder.
  records = records.concatenate(blanks).batch(global_batch_size, drop_remainder=True).unbatch()
  records = records.shard(context.num_input_pipelines, context.input_pipeline_id)
  return records.cache() if cache else records


def _check_records(files: list[str]) -> None:
  """Finds at once what would otherwise end a run in its midst.

  Raises:
    ValueError: a file is cut short or its first record is not ours, or there are no records.
  """
  num_records = 0
  for path in files:
    spans = record_index.record_spans(path)
    first_span = next(spans, None)
    if first_span is None:
      continue
    _check_first_record(path, *first_span)
    # Going through the headers of a remote file would fetch the whole of it.
    num_records += 1 if record_index.is_remote(path) else len(record_index.scan([path]))
  if num_records == 0:
    raise ValueError(f"input_path: no records in {', '.join(files)}")


def _check_first_record(path: str, start: int, length: int) -> None:
  """Raises ValueError unless the bytes are a tf.Example of an image with labels from 1 on."""
  with record_index.open_file(path) as file:
    file.seek(start)
    content = file.read(length)
  try:
    feature = tf.train.Example.FromString(content).features.feature
  except message.DecodeError as error:
    raise ValueError(f"{path}: record 0 is no tf.Example") from error
  for name in (schema.IMAGE_ENCODED, schema.IMAGE_SOURCE_ID):
    if not feature[name].bytes_list.value:
      raise ValueError(
        f"{path}: record 0 has no {name}; write the records with python -m"
        " mtl_ssl_tf.data.pascal_voc or mtl_ssl_tf.data.coco_json"
      )
  labels = feature[schema.OBJECT_LABEL].int64_list.value
  if labels and min(labels) < 1:
    raise ValueError(
      f"{path}: record 0 has {schema.OBJECT_LABEL} {min(labels)}; classes count from 1"
    )
