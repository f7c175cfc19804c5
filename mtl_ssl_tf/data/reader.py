"""Record files to batches: which files, in which order, for which worker, and what is amiss.

A batch is the pair `(images, labels)` of `detection_parser.DetectionParser`, each tensor with a
leading axis: `global_batch_size`, or each replica's part of it. Batches can be reproduced: the same
seed, files and number of workers give the same ones in the same order, whatever the threads do.
"""

import itertools
import os
import random
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import tensorflow as tf
from google.protobuf import message

from mtl_ssl_tf.data import detection_parser, schema

_SHARD_SUFFIX = re.compile(r"(-\d+-of-\d+)?\.tfrecord$")
# A TFRecord is its length (8 bytes), a checksum (4), the content, and another checksum (4).
_HEADER_BYTES, _FOOTER_BYTES = 12, 4
_OPEN_FILES = 8


def make_dataset(
  input_path: str | Sequence[str],
  *,
  global_batch_size: int,
  is_training: bool,
  seed: int | None = 0,
  shuffle_buffer_size: int = 1000,
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

  Training shuffles files and records anew in every epoch; an image's flips and zoom follow from the
  seed and its place in the endless sequence. Evaluation keeps the order of the files; rows whose
  `example_valid` is False fill up the last batch, the same number of batches for every worker.
  Evaluation's labels also hold `example_index`, int32: the place of the record in the files taken
  one after the other, from 0; -1 where there is none.

  Args:
    input_path: record files: a path, a glob pattern, a folder with one split, or a list of these.
    global_batch_size: images of all replicas together.
    is_training: as above.
    seed: of order, flips and zooms; None draws a new one.
    shuffle_buffer_size: records among which the next is drawn in training. Fewer than there are
      mixes less well and takes less memory.
    cache: keep the records in memory, their images still compressed, once they have been read.
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
  for name, size in (
    ("global_batch_size", global_batch_size),
    ("shuffle_buffer_size", shuffle_buffer_size),
  ):
    if size < 1:
      raise ValueError(f"{name} must be at least 1, got {size}")
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
  files = match_files(input_path)
  _check_records(files)
  if seed is None:
    seed = random.SystemRandom().randrange(2**31)
  context = input_context or tf.distribute.InputContext()
  worker, num_workers = context.input_pipeline_id, context.num_input_pipelines

  if is_training:
    records = _training_records(files, worker, num_workers, seed, shuffle_buffer_size, cache)

    def parse(index, record):
      return parser(record, tf.stack([seed, index * num_workers + worker]))

  else:
    records = _evaluation_records(files, worker, num_workers, global_batch_size, cache)

    def parse(index, record):
      image, labels = tf.cond(
        index >= 0, lambda: parser(record, tf.zeros([2], tf.int64)), parser.blank
      )
      return image, {**labels, "example_index": tf.cast(index, tf.int32)}

  dataset = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  batch_size = context.get_per_replica_batch_size(global_batch_size)
  return dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


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
  return sum(1 for path in match_files(input_path) for _ in _record_spans(path))


def _training_records(
  files: list[str],
  worker: int,
  num_workers: int,
  seed: int,
  shuffle_buffer_size: int,
  cache: bool,
) -> tf.data.Dataset:
  """This worker's records, shuffled without end, as pairs of running number and record."""
  shard_by_file = len(files) >= num_workers
  if shard_by_file:
    files = files[worker::num_workers]
  paths = tf.data.Dataset.from_tensor_slices(files)
  if shard_by_file:  # Otherwise all workers must see the records in one and the same order.
    paths = paths.shuffle(len(files), seed)
  # TensorFlow's own choice of a cycle length, and with it the order, depends on the machine.
  records = paths.interleave(
    tf.data.TFRecordDataset,
    cycle_length=_OPEN_FILES,
    num_parallel_calls=tf.data.AUTOTUNE,
    deterministic=True,
  )
  if not shard_by_file:
    records = records.shard(num_workers, worker)
  if cache:
    records = records.cache()
  return records.shuffle(shuffle_buffer_size, seed).repeat().enumerate()


def _evaluation_records(
  files: list[str], worker: int, num_workers: int, global_batch_size: int, cache: bool
) -> tf.data.Dataset:
  """This worker's records in order, as pairs of place in the files and record.

  Blanks, whose place is -1, fill up the last global batch before the workers take their turns.
  """
  records = tf.data.TFRecordDataset(files).enumerate()
  blank = (tf.constant(-1, tf.int64), "")
  blanks = tf.data.Dataset.from_tensors(blank).repeat(global_batch_size - 1)
  # Blanks that would begin another batch fall away with the remainder.
  records = records.concatenate(blanks).batch(global_batch_size, drop_remainder=True).unbatch()
  records = records.shard(num_workers, worker)
  return records.cache() if cache else records


def _check_records(files: list[str]) -> None:
  """Finds at once what would otherwise end a run in its midst.

  Raises:
    ValueError: a file is cut short or its first record is not ours, or there are no records.
  """
  num_records = 0
  for path in files:
    spans = _record_spans(path)
    first_span = next(spans, None)
    if first_span is None:
      continue
    _check_first_record(path, *first_span)
    # Going through the headers of a remote file would fetch the whole of it.
    num_records += 1 if is_remote(path) else 1 + sum(1 for _ in spans)
  if num_records == 0:
    raise ValueError(f"input_path: no records in {', '.join(files)}")


def _check_first_record(path: str, start: int, length: int) -> None:
  """Raises ValueError unless the bytes are a tf.Example of an image with labels from 1 on."""
  with open_file(path) as file:
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


def _record_spans(path: str) -> Iterator[tuple[int, int]]:
  """Where each record's content starts and how long it is, from the headers alone.

  Raises:
    ValueError: the file is no TFRecord file or is cut short.
  """
  file_length = tf.io.gfile.stat(path).length
  header_start = 0
  with open_file(path) as file:
    for number in itertools.count():
      if header_start == file_length:
        return
      file.seek(header_start)
      header = file.read(_HEADER_BYTES)
      start = header_start + _HEADER_BYTES
      length = int.from_bytes(header[:8], "little")
      header_start = start + length + _FOOTER_BYTES
      if header_start > file_length:
        what = f"is cut short in record {number}" if number else "is no TFRecord file or cut short"
        raise ValueError(f"{path}: {what}; its length is {file_length} bytes")
      yield start, length


def is_remote(path: str) -> bool:
  """Whether a file lies on another machine, where reading here and there is slow."""
  return "://" in path


def open_file(path: str) -> BinaryIO | tf.io.gfile.GFile:
  """The file for reading here and there; a plain local one, as GFile reads far ahead."""
  return tf.io.gfile.GFile(path, "rb") if is_remote(path) else open(path, "rb", buffering=0)
