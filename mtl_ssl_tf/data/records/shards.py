"""One shard of a split: its records and its summary, in whichever process the work falls to.

A shard is a contiguous range of a split's positions. Its records come first, under another name
until they are on the disk, then a summary next to them. A shard with a summary is whole; it is kept
if the summary's signature is that of the images' files, and both are as they were written.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mtl_ssl_tf import files
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import examples, pictures, shard_summaries, summaries
from mtl_ssl_tf.data.records import writer as record_writer
from mtl_ssl_tf.data.sources import annotated, split_source


def positions(shard: int, num_shards: int, num_images: int) -> range:
  """The images of a shard; their numbers differ by one at most among shards."""
  start, stop = (-(-index * num_images // num_shards) for index in (shard, shard + 1))
  return range(start, stop)


@dataclasses.dataclass(frozen=True)
class CollectClasses:
  """Work on a shard that gives the names of the classes in its annotations.

  Attributes:
    source: the split.
    num_shards: how many shards the split is cut into.
    folder: see `worker_pool.ShardTask`.
  """

  source: split_source.SplitSource
  num_shards: int
  folder: pathlib.Path

  def __call__(self, shard: int, step: Callable[[], None]) -> list[str]:
    """The names; `step` is called after each image."""
    names = set()
    for position in positions(shard, self.num_shards, len(self.source)):
      names.update(self.source.class_names(position))
      step()
    return sorted(names)


@dataclasses.dataclass(frozen=True)
class WriteShard:
  """Work on a shard that writes its records and summary, unless they are there.

  Attributes:
    source: the split.
    num_shards: how many shards the split is cut into.
    folder: where the files go.
    rules: for boxes that are not as they should be.
  """

  source: split_source.SplitSource
  num_shards: int
  folder: pathlib.Path
  rules: annotated.BoxRules = annotated.DEFAULT_RULES

  def __call__(self, shard: int, step: Callable[[], None]) -> bool | str:
    """Whether there was anything to do; if so, `step` is called after each image.

    Returns:
      Also a yes: the name of a shard that was there, but not as it had been written.
    """
    span = positions(shard, self.num_shards, len(self.source))
    path = self.folder / schema.shard_file(self.source.split, shard, self.num_shards)
    # Before the files are read: a change in the meantime must show.
    digest = hashlib.sha256()
    for position in span:
      digest.update(self.source.signature(position).encode() + b"\n")
    signature = digest.hexdigest()
    summary_file = shard_summaries.path_of(path)
    was_there = path.exists() and summary_file.exists()
    before = shard_summaries.read(path) if was_there else None
    is_current = before is not None and before["signature"] == signature
    if is_current and shard_summaries.is_of(before, path):
      return False
    is_damaged = was_there and (before is None or is_current)
    summary_file.unlink(missing_ok=True)
    path.unlink(missing_ok=True)  # A link is not written through.

    summary, hashes, lines = summaries.Summary(), {}, []
    with files.replacing(path) as part:
      with tf.io.TFRecordWriter(str(part)) as writer:
        for position in span:
          converted = examples.convert(self.source, position, self.rules)
          if converted.example is not None:
            writer.write(record_writer.serialize(converted.example))
            lines.append(pictures.line(converted.example))
          summary.add_converted(converted, self.source.name(position))
          hashes |= converted.hashes
          step()
      sha256 = files.sha256(part)
    content = {"signature": signature, "sha256": sha256, "hashes": hashes, "pictures": lines}
    content["summary"] = summary.to_json()
    shard_summaries.write(path, content)
    return path.name if is_damaged else True


def read_summary(path: pathlib.Path) -> tuple[summaries.Summary, dict[str, Any], list[str]]:
  """The summary of a shard that is whole, the SHA-256 of its source files, by name, and the lines
  of its pictures.

  Raises:
    ValueError: it has changed since it was written.
  """
  content = shard_summaries.read(path)
  if content is not None:
    with contextlib.suppress(ValueError):
      summary = summaries.Summary.from_json(content["summary"])
      return summary, content["hashes"], content["pictures"]
  raise ValueError(
    f"{shard_summaries.path_of(path)}: damaged since it was written; accepted: what a conversion"
    " left; delete its folder to convert all again"
  )
