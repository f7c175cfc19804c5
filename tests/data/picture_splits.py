"""Records of pictures of some content, for tests of what splits share."""

import pathlib

import tensorflow as tf

from mtl_ssl_tf.data.records import writer as record_writer


def example(source_id: str, encoded: bytes, file_name: str) -> tf.train.Example:
  """The record of an image of this content, which need not be one."""
  return record_writer.make_example(
    encoded=encoded,
    image_format="png",
    height=9,
    width=9,
    filename=file_name,
    source_id=source_id,
    boxes_orig=[(1, 1, 5, 5)],
    class_ids=[1],
    class_names=["cat"],
    difficult=[0],
    truncated=[0],
  )


def write(
  folder: pathlib.Path, split: str, contents: dict[str, bytes], num_shards: int = 2
) -> list[str]:
  """Writes records of images of these contents, by name; returns their files."""
  with record_writer.SplitWriter(
    folder, split, ["cat"], num_images=len(contents), num_shards=num_shards
  ) as writer:
    for position, (name, encoded) in enumerate(contents.items()):
      writer.write(example(name, encoded, name), position)
    manifest = writer.commit()
  return [str(folder / shard["file"]) for shard in manifest["shards"]]
