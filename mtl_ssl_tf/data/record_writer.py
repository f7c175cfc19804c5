"""Records of one split, their shards and their manifest, which appear all together or not at all.

The manifest is a JSON file that sums a split up. It is written last and removed first, so that
where there is a manifest, the shards that it lists are whole and of one conversion.
"""

import collections
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import label_map, schema


def make_example(
  *,
  encoded: bytes,
  image_format: str,
  height: int,
  width: int,
  filename: str,
  source_id: str,
  boxes_orig: Sequence[Sequence[float]],
  class_ids: Sequence[int],
  class_names: Sequence[str],
  difficult: Sequence[int],
  truncated: Sequence[int],
  is_crowd: Sequence[int] | None = None,
  areas: Sequence[float | None] | None = None,
  object_ids: Sequence[int] | None = None,
) -> tf.train.Example:
  """The record of one image; `schema` says what it holds.

  Args:
    encoded: upright 8-bit RGB image, JPEG or PNG.
    image_format: "jpeg" or "png".
    height: of the image, pixels.
    width: of the image, pixels.
    filename: of the source image, without folders.
    source_id: the image's name in its data set.
    boxes_orig: [N, 4], ymin, xmin, ymax, xmax in pixels of the image.
    class_ids: [N], from 1 on.
    class_names: [N].
    difficult: [N], 0 or 1.
    truncated: [N], 0 or 1.
    is_crowd: [N], 0 or 1; None is all 0.
    areas: [N], square pixels of the image; None is that of the box, for one object or for all.
    object_ids: [N], what the data set knows the objects by; None counts them from 0.
  """
  boxes = np.asarray(boxes_orig, np.float64).reshape([-1, 4])
  boxes_norm = boxes / [height, width, height, width]
  ymin, xmin, ymax, xmax = boxes_norm.T
  box_areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
  areas = [None] * len(boxes) if areas is None else areas
  features = {
    schema.IMAGE_ENCODED: _bytes([encoded]),
    schema.IMAGE_FORMAT: _bytes([image_format.encode()]),
    schema.IMAGE_HEIGHT: _ints([height]),
    schema.IMAGE_WIDTH: _ints([width]),
    # File names on Linux are bytes, which need not be UTF-8.
    schema.IMAGE_FILENAME: _bytes([os.fsencode(filename)]),
    schema.IMAGE_SOURCE_ID: _bytes([os.fsencode(source_id)]),
    schema.IMAGE_SHA256: _bytes([hashlib.sha256(encoded).hexdigest().encode()]),
    schema.OBJECT_YMIN: _floats(ymin),
    schema.OBJECT_XMIN: _floats(xmin),
    schema.OBJECT_YMAX: _floats(ymax),
    schema.OBJECT_XMAX: _floats(xmax),
    schema.OBJECT_LABEL: _ints(class_ids),
    schema.OBJECT_TEXT: _bytes([name.encode() for name in class_names]),
    schema.OBJECT_DIFFICULT: _ints(difficult),
    schema.OBJECT_TRUNCATED: _ints(truncated),
    schema.OBJECT_IS_CROWD: _ints([0] * len(boxes) if is_crowd is None else is_crowd),
    schema.OBJECT_AREA: _floats(
      [box_area if area is None else area for area, box_area in zip(areas, box_areas, strict=True)]
    ),
    schema.OBJECT_ID: _ints(range(len(boxes)) if object_ids is None else object_ids),
  }
  return tf.train.Example(features=tf.train.Features(feature=features))


def sources_digest(hashes: Mapping[str, str]) -> str:
  """SHA-256 over names and contents of files, whatever the order they are given in.

  Args:
    hashes: file name inside the data set to the hexadecimal SHA-256 of the content.
  """
  digest = hashlib.sha256()
  for file, content in sorted(hashes.items()):
    digest.update(os.fsencode(file) + b"\0" + content.encode() + b"\n")
  return digest.hexdigest()


class SplitWriter:
  """Writes the records of a split out of sight until `commit` puts them in place.

  A context manager: leaving it without `commit` removes all that was written, folders included.
  """

  def __init__(
    self,
    output_dir: str | os.PathLike[str],
    split: str,
    classes: Sequence[str],
    *,
    num_images: int,
    num_shards: int,
  ):
    """Makes the folders.

    Args:
      output_dir: where records, label map and manifest go.
      split: what the files are called after.
      classes: the class names, class 1 first.
      num_images: how many images there are, those that may be left out included.
      num_shards: number of record files; not more than images.

    Raises:
      ValueError: `output_dir` holds a label map of other classes, which other splits depend on.
      OSError: the folder cannot be written to.
    """
    self._output_dir = pathlib.Path(output_dir)
    self._split = split
    self._classes = list(classes)
    self._num_images = num_images
    self._num_shards = min(num_shards, num_images)
    check_label_map(self._output_dir, self._classes)
    parents = [self._output_dir, *self._output_dir.parents]
    self._new_folders = [path for path in parents if not path.exists()]
    self._output_dir.mkdir(parents=True, exist_ok=True)
    self._hidden_dir = self._output_dir / f".incomplete_{split}"
    shutil.rmtree(self._hidden_dir, ignore_errors=True)  # Left by a run that was killed.
    self._hidden_dir.mkdir()
    self._shards = []
    self._writer = None
    self._sizes = collections.Counter()
    self._boxes_per_image = []
    self._boxes_per_class = collections.Counter()
    self._num_difficult = 0

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused_exception) -> None:
    self._close_shard()
    shutil.rmtree(self._hidden_dir, ignore_errors=True)
    for folder in self._new_folders:
      if not any(folder.iterdir()):
        folder.rmdir()

  def write(self, example: tf.train.Example, position: int) -> None:
    """Adds a record.

    Args:
      example: the record.
      position: of the image among `num_images`, from 0; must grow from call to call.
    """
    self._open_shard(position * self._num_shards // self._num_images)
    # The order of features in the bytes would else depend on the process.
    self._writer.write(example.SerializeToString(deterministic=True))
    self._shards[-1]["num_images"] += 1
    feature = example.features.feature
    height, width = (
      feature[key].int64_list.value[0] for key in (schema.IMAGE_HEIGHT, schema.IMAGE_WIDTH)
    )
    names = [name.decode() for name in feature[schema.OBJECT_TEXT].bytes_list.value]
    self._sizes[height, width] += 1
    self._boxes_per_image.append(len(names))
    self._boxes_per_class.update(names)
    self._num_difficult += sum(feature[schema.OBJECT_DIFFICULT].int64_list.value)

  def commit(self, **about: Any) -> dict[str, Any]:
    """Puts shards, label map and manifest in place of those of an earlier conversion.

    Args:
      **about: what else the manifest says.

    Returns:
      The manifest.

    Raises:
      ValueError: there are no records.
    """
    if not self._boxes_per_image:
      raise ValueError(f"{self._split}: no image is left to write")
    self._open_shard(self._num_shards - 1)
    self._close_shard()
    manifest = self._summary() | about
    manifest_name = schema.manifest_file(self._split)
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    self._hidden_path(manifest_name).write_bytes(os.fsencode(text + "\n"))
    new = [shard["file"] for shard in manifest["shards"]]
    if not (self._output_dir / schema.LABEL_MAP_FILE).exists():
      label_map_text = label_map.label_map_text(self._classes)
      self._hidden_path(schema.LABEL_MAP_FILE).write_text(label_map_text, encoding="utf-8")
      new.append(schema.LABEL_MAP_FILE)

    (self._output_dir / manifest_name).unlink(missing_ok=True)
    for path in list(self._output_dir.iterdir()):
      if schema.is_shard_file(path.name, self._split) and path.name not in new:
        path.unlink()  # Of another number of shards; a pattern would read both.
    for name in [*new, manifest_name]:
      os.replace(self._hidden_path(name), self._output_dir / name)
    return manifest

  def _summary(self) -> dict[str, Any]:
    """What the records alone tell."""
    heights, widths = zip(*self._sizes, strict=True)
    return {
      "split": self._split,
      "num_images": len(self._boxes_per_image),
      "num_images_without_boxes": self._boxes_per_image.count(0),
      "num_boxes": sum(self._boxes_per_image),
      "num_difficult_boxes": self._num_difficult,
      "max_boxes_per_image": max(self._boxes_per_image),
      "boxes_per_class": {name: self._boxes_per_class[name] for name in self._classes},
      "image_sizes": {
        "num_distinct": len(self._sizes),
        "min_height": min(heights),
        "max_height": max(heights),
        "min_width": min(widths),
        "max_width": max(widths),
      },
      "classes": self._classes,
      "shards": self._shards,
    }

  def _open_shard(self, index: int) -> None:
    """Makes shard `index` the one that is written to; those before it may stay empty."""
    while len(self._shards) <= index:
      self._close_shard()
      name = schema.shard_file(self._split, len(self._shards), self._num_shards)
      self._writer = tf.io.TFRecordWriter(str(self._hidden_path(name)))
      self._shards.append({"file": name, "num_images": 0})

  def _close_shard(self) -> None:
    if self._writer is not None:
      self._writer.close()
      self._writer = None

  def _hidden_path(self, name: str) -> pathlib.Path:
    return self._hidden_dir / name


def check_label_map(output_dir: str | os.PathLike[str], classes: Sequence[str]) -> None:
  """Raises ValueError if a folder of records has a label map that says other than `classes`."""
  path = pathlib.Path(output_dir) / schema.LABEL_MAP_FILE
  if path.exists() and label_map.read_label_map(path) != list(classes):
    raise ValueError(
      f"{path}: holds other classes than {', '.join(classes)}; accepted: the same classes in the"
      " same order, as other splits there depend on it, or another --output_dir"
    )


def _bytes(values: Sequence[bytes]) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _floats(values: Sequence[float]) -> tf.train.Feature:
  return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _ints(values: Sequence[int]) -> tf.train.Feature:
  return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
