"""Manifests next to record files, and what they say of the boxes, without reading a record."""

import collections
import os
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from mtl_ssl_tf.data import faults, schema
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.reading import json_text, quoting, regular_files

_ACCEPTED = "what a converter wrote"
# Of what is read here; manifests of others may have less than ours.
_TYPES = {
  "shards": [{"file": str, "num_images?": int}],
  "split?": str,
  "classes?": [str],
  "pictures?": str,
  "num_images?": int,
  "num_images_without_boxes?": int,
  "num_boxes?": int,
  "boxes_per_class?": {str: int},
  "category_ids?": {str: int},
  "sources?": dict,
}


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
  """The content of a manifest, its types checked.

  Args:
    path: of the file, which may be remote, as the records may be.

  Raises:
    faults.FaultError: it cannot be read or is no manifest.
  """
  try:
    content = regular_files.read_bytes(path, json_text.MAX_DATA_BYTES)
  except OSError as error:
    raise _fault(path, f"cannot be read ({error.strerror})", _ACCEPTED) from error
  try:
    # Names of files need not be UTF-8.
    manifest = json_text.loads(content.decode(errors="surrogateescape"))
  except ValueError as error:
    raise _fault(path, f"no JSON ({error})", _ACCEPTED) from error
  try:
    json_text.check(manifest, _TYPES, "content")
  except ValueError as error:
    value, _, accepted = str(error).partition("; accepted: ")
    raise _fault(path, value, f"{accepted}, as in {_ACCEPTED}") from error
  for name in (*(shard["file"] for shard in manifest["shards"]), manifest.get("pictures", "")):
    if "/" in name or not name.isprintable():  # Nor text that no file system has.
      value = f"content: {quoting.shown(name)} as the name of a file"
      raise _fault(path, value, f"a name without folders, as in {_ACCEPTED}")
  return manifest


def _fault(path: str | os.PathLike[str], value: str, accepted: str) -> faults.FaultError:
  return faults.FaultError([faults.Fault(os.fspath(path), "manifest", value, accepted)])


def read(files: Sequence[str]) -> Iterator[dict[str, Any]]:
  """Yields the manifests next to the record files, those of their own splits; raises as `load`."""
  for _, manifest in by_folder(files):
    yield manifest


def by_folder(files: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields the folder of each of these manifests, and the manifest; raises as `load`."""
  for folder in sorted({os.path.dirname(file) for file in files}):
    names = {os.path.basename(file) for file in files if os.path.dirname(file) == folder}
    own = {schema.manifest_file(record_paths.split_name(name)) for name in names}
    for path in sorted(tf.io.gfile.glob(os.path.join(folder, schema.manifest_file("*")))):
      try:
        manifest = load(path)
      except faults.FaultError:
        if os.path.basename(path) in own:
          raise
        continue  # Of another split or program.
      if names & {shard["file"] for shard in manifest["shards"]}:
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
    shards = manifest["shards"]
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
