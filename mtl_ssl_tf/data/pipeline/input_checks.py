"""Checks batch settings and record files before a run starts."""

from collections.abc import Sequence

import tensorflow as tf

from mtl_ssl_tf.data.records import contents
from mtl_ssl_tf.data.records import index as record_index


def check_batches(
  global_batch_size: int,
  context: tf.distribute.InputContext,
  first_batch: int,
  skipped_batches: Sequence[int],
  is_training: bool,
) -> None:
  """Raises ValueError unless each replica gets a part of each batch, and batches exist."""
  if global_batch_size < 1:
    raise ValueError(f"global_batch_size is {global_batch_size}; accepted: at least 1")
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


def check_records(files: list[str]) -> None:
  """Checks the records of a run, so that no fault ends it later.

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
    raise ValueError(f"input_path: no records in {', '.join(files)}; accepted: at least one")


def _check_first_record(path: str, start: int, length: int) -> None:
  """Raises ValueError unless the bytes are a tf.Example that batches can be made of."""
  with record_index.open_file(path) as file:
    file.seek(start)
    values, found = contents.read(file.read(length))
  for problem in contents.problems(values, found, num_classes=None):
    raise ValueError(
      f"{path}: record 0: {problem.where}: {problem.value}; accepted: {problem.accepted}, as python"
      " -m mtl_ssl_tf.data.pascal_voc or mtl_ssl_tf.data.coco_json write it"
    )
