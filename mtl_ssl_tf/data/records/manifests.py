"""Manifests next to record files, and what they say of the boxes, without reading a record."""

import collections
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from mtl_ssl_tf.data import faults, schema


def read(files: Sequence[str]) -> Iterator[dict[str, Any]]:
  """Yields the manifests next to the record files, those of their own splits."""
  for _, manifest in by_folder(files):
    yield manifest


def by_folder(files: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields the folder of each of these manifests, and the manifest."""
  for folder in sorted({os.path.dirname(file) for file in files}):
    names = {os.path.basename(file) for file in files if os.path.dirname(file) == folder}
    for path in sorted(tf.io.gfile.glob(os.path.join(folder, schema.manifest_file("*")))):
      with tf.io.gfile.GFile(path, "rb") as file:  # The records may lie on a remote file system.
        manifest = json.loads(file.read().decode(errors="surrogateescape"))
      if names & {shard["file"] for shard in manifest.get("shards", ())}:
        yield folder, manifest


def boxes_missing(files: Sequence[str], class_names: Sequence[str]) -> tuple[bool, list[str]]:
  """Whether the records hold no box at all, and lines by count on images and classes without one.

  Args:
    files: of the records; where a shard has no manifest, or a manifest other shards too, nothing is
      known.
    class_names: class 1 first.
  """
  num_images = num_without = num_shards = 0
  boxes: collections.Counter[str] = collections.Counter()
  for manifest in read(files):
    shards = manifest.get("shards", ())
    num_shards += len(shards)
    num_images += manifest.get("num_images", 0)
    num_without += manifest.get("num_images_without_boxes", 0)
    boxes.update(manifest.get("boxes_per_class", {}))
  if num_shards != len(files) or not num_images:
    return False, []
  if not boxes.total():
    return True, [f"no box in {num_images} images"]
  lines = []
  if num_without:
    lines.append(f"images without a box: {num_without} of {num_images}")
  unused = [name for name in class_names if not boxes[name]]
  if unused:
    lines.append(
      f"classes without a box: {len(unused)} of {len(class_names)}: {faults.listing(unused)}"
    )
  return False, lines
