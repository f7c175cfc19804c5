"""Finds the record files that a setting names."""

import os
import re
from collections.abc import Sequence

import tensorflow as tf

from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.reading import quoting, regular_files

_SHARD_SUFFIX = re.compile(r"(-\d+-of-\d+)?\.tfrecord$")


def match_files(input_path: str | Sequence[str]) -> list[str]:
  """The record files that a path, pattern, folder or list of these names, each once.

  A folder names its `*.tfrecord` files, provided that they are shards of one split: `train`
  and `test` records that lie side by side must not be mixed by accident.

  Raises:
    ValueError: nothing matches, a folder holds several splits, or a match is no regular file.
  """
  items = [input_path] if isinstance(input_path, str) else list(input_path)
  if not items or "" in items:
    raise ValueError(f"input_path is {quoting.shown(input_path)}; accepted: names of record files")
  files = []
  for item in items:
    if tf.io.gfile.isdir(item):
      names = sorted(name for name in tf.io.gfile.listdir(item) if _SHARD_SUFFIX.search(name))
      splits = sorted({_SHARD_SUFFIX.sub("", name) for name in names})
      if len(splits) > 1:
        raise ValueError(
          f"input_path: the folder {quoting.shown(item)} holds records of several splits"
          f" ({', '.join(splits)});"
          f" accepted: one of them, for example {os.path.join(item, splits[0])}-*.tfrecord"
        )
      matches = [os.path.join(item, name) for name in names]
    elif tf.io.gfile.exists(item):  # Before globbing: the path may contain a bracket.
      matches = [item]
    else:
      matches = sorted(tf.io.gfile.glob(item))
    if not matches:
      raise ValueError(f"input_path: no record files match {quoting.shown(item)}")
    for file in matches:
      _check_regular(file)
    files.extend(matches)
  return list(dict.fromkeys(files))


def _check_regular(file: str) -> None:
  try:
    regular_files.check_if_present(file)
  except OSError as error:
    raise ValueError(
      f"input_path: {quoting.shown(file)} is {error.strerror}; accepted: TFRecord files"
    ) from error


def split_name(file: str) -> str:
  """The split that a record file belongs to: its name without number of shard and extension."""
  return _SHARD_SUFFIX.sub("", os.path.basename(file))


def count_examples(input_path: str | Sequence[str]) -> int:
  """Number of records in the files, from the records' headers alone.

  Raises:
    ValueError: as `match_files`, or a file is no TFRecord file or is cut short.
  """
  return len(record_index.scan(match_files(input_path)))
