"""Whether the record files of a split belong together: all shards there, as the manifest says."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from mtl_ssl_tf.data import faults, schema
from mtl_ssl_tf.data.inspection import checks
from mtl_ssl_tf.data.records import manifests
from mtl_ssl_tf.reading import quoting

_SHARD = re.compile(r"(?P<split>.*)-(?P<index>\d{5})-of-(?P<number>\d{5})\.tfrecord")


def check_shards(files: Sequence[str]) -> list[checks.Finding]:
  """Shards that are missing, or that belong to another conversion.

  Args:
    files: paths of record files; names of another form than ours are ignored.
  """
  found = []
  for split_path, shards in _by_split(files).items():
    folder, split = os.path.split(split_path)
    numbers = sorted({number for number, _ in shards})
    if len(numbers) > 1:
      names = ", ".join(f"-of-{number:05d}" for number in numbers)
      value, accepted = f"there are shards {names}", "the shards of one conversion"
      found.append(_fault("shards_mixed", f"{split}-*.tfrecord", "shards", value, accepted))
    for number in numbers:
      absent, unread = [], []
      for index in sorted(set(range(number)) - {index for n, index in shards if n == number}):
        name = schema.shard_file(split, index, number)
        there = tf.io.gfile.exists(os.path.join(folder, name))
        (unread if there else absent).append(name)
      for kind, level, what, names in (
        ("shard_missing", checks.FAULT, "not there", absent),
        ("shard_not_read", checks.WARNING, "there, but not asked for", unread),
      ):
        if names:
          found.append(
            checks.Finding(
              kind,
              level,
              f"{split}-*-of-{number:05d}.tfrecord",
              "shards",
              f"{what}: {faults.listing(names)}",
              f"all of the {number} shards",
            )
          )
  return found


def check_manifests(
  num_records: Mapping[str, int], classes: Sequence[str] | None
) -> list[checks.Finding]:
  """Returns the contradictions between records and manifest.

  Args:
    num_records: path of each record file to the number of its records, damaged ones included.
    classes: class 1 first; None without a label map.
  """
  found = []
  for split_path in _by_split(num_records):
    folder, split = os.path.split(split_path)
    name = schema.manifest_file(split)
    found.extend(_check_manifest(folder, name, num_records, classes))
  for path, number in num_records.items():
    if number == 0 and not _is_listed_empty(path):
      value = "holds no record"
      found.append(
        checks.Finding(
          "empty_shard", checks.WARNING, os.path.basename(path), "file", value, "records"
        )
      )
  return found


def _check_manifest(
  folder: str, name: str, num_records: Mapping[str, int], classes: Sequence[str] | None
) -> list[checks.Finding]:
  manifest = _read_manifest(folder, name)
  if manifest is None:
    value, accepted = "missing", "the manifest of a finished conversion, if it was one of ours"
    return [checks.Finding("manifest_missing", checks.WARNING, name, "file", value, accepted)]
  if isinstance(manifest, faults.Fault):
    return [_fault("manifest", name, "json", manifest.value, manifest.accepted)]
  found = []
  for shard, stated in manifest["shards"].items():
    actual = num_records.get(os.path.join(folder, shard))
    if actual is None and not tf.io.gfile.exists(os.path.join(folder, shard)):
      value = f"lists {quoting.one_line(shard)}, which is not there"
      found.append(_fault("manifest_differs", name, "shards", value, "the shards that there are"))
    elif actual is not None and actual != stated:
      value = f"{stated} images in {shard}"
      found.append(
        _fault("manifest_differs", name, "shards", value, f"{actual}, as there are records")
      )
  for path in num_records:
    shard = os.path.basename(path)
    is_its_own = os.path.dirname(path) == folder and _manifest_of(shard) == name
    if is_its_own and shard not in manifest["shards"]:
      value = f"does not list {shard}"
      found.append(_fault("manifest_differs", name, "shards", value, "the shards that there are"))
  if classes is not None and manifest["classes"] != list(classes):
    value = faults.quote(", ".join(manifest["classes"]))
    accepted = f"the classes of the label map: {faults.listing(classes)}"
    found.append(_fault("manifest_differs", name, "classes", value, accepted))
  return found


def _is_listed_empty(path: str) -> bool:
  """Whether the manifest says that a shard is empty, because all its images were left out."""
  folder, shard = os.path.split(path)
  name = _manifest_of(shard)
  manifest = _read_manifest(folder, name) if name else None
  return isinstance(manifest, dict) and manifest["shards"].get(shard) == 0


def _read_manifest(folder: str, name: str) -> dict[str, Any] | faults.Fault | None:
  """Classes, and shards with their numbers of images; a fault; None if there is none."""
  path = os.path.join(folder, name)
  if not tf.io.gfile.exists(path):
    return None
  try:
    content = manifests.load(path)
  except faults.FaultError as error:
    return error.faults[0]
  shards = {shard["file"]: shard.get("num_images") for shard in content["shards"]}
  if "classes" not in content or None in shards.values():
    value = "lacks classes, or num_images of a shard"
    return faults.Fault(name, "json", value, "the manifest as it was written")
  return {"classes": content["classes"], "shards": shards}


def _by_split(files: Sequence[str] | Mapping[str, int]) -> dict[str, set[tuple[int, int]]]:
  """Folder and split, as one path, to the number and index of its shards."""
  splits = {}
  for path in files:
    match = _SHARD.fullmatch(os.path.basename(path))
    if match:
      split_path = os.path.join(os.path.dirname(path), match["split"])
      splits.setdefault(split_path, set()).add((int(match["number"]), int(match["index"])))
  return splits


def _manifest_of(shard: str) -> str | None:
  match = _SHARD.fullmatch(shard)
  return schema.manifest_file(match["split"]) if match else None


def _fault(kind: str, file: str, field: str, value: str, accepted: str) -> checks.Finding:
  return checks.Finding(kind, checks.FAULT, file, field, value, accepted)
