"""Records, and writing those of one split, which appear together with their manifest or not at all.

The manifest is a JSON file that sums a split up; see `workspace` for when it is there.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import schema
from mtl_ssl_tf.data.records import pictures, summaries, workspace


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
  ignored_boxes_orig: Sequence[Sequence[float]] = (),
  annotated_classes: Mapping[int, str] | None = None,
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
    object_ids: [N], the data set's identifiers of the objects; None counts them from 0.
    ignored_boxes_orig: [M, 4], regions to be ignored, as `boxes_orig`.
    annotated_classes: id and name of each class whose objects are all annotated, at least one; None
      is all classes.
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
  if len(ignored_boxes_orig):
    regions = np.asarray(ignored_boxes_orig, np.float64) / [height, width, height, width]
    features |= dict(zip(schema.IGNORED_BOX, map(_floats, regions.T), strict=True))
  if annotated_classes is not None:
    ids, names = zip(*sorted(annotated_classes.items()), strict=True)
    features[schema.ANNOTATED_CLASSES] = _ints(ids)
    features[schema.ANNOTATED_CLASSES_TEXT] = _bytes([name.encode() for name in names])
  return tf.train.Example(features=tf.train.Features(feature=features))


def sources_digest(hashes: Iterable[tuple[bytes, str]]) -> str:
  """SHA-256 over names and contents of files.

  Args:
    hashes: file name inside the data set and hexadecimal SHA-256 of the content, in the order of
      the names.
  """
  digest = hashlib.sha256()
  for file, content in hashes:
    digest.update(file + b"\0" + content.encode() + b"\n")
  return digest.hexdigest()


class SplitWriter:
  """Writes the records of a split out of sight until `commit` puts them in place.

  For records that come one after the other; module `conversion` writes those of a whole
  data set in parallel. A context manager: leaving it without `commit` removes all that was
  written, folders included.
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
      split: name of the split, in the names of the files.
      classes: the class names, class 1 first.
      num_images: how many images there are, those that may be left out included.
      num_shards: number of record files; not more than images.

    Raises:
      ValueError: `output_dir` holds a label map of other classes, which other splits depend on, or
        another process is writing the split.
      OSError: the folder cannot be written to.
    """
    self._split = split
    self._classes = list(classes)
    self._num_images = num_images
    self._num_shards = min(num_shards, num_images)
    workspace.check_label_map(output_dir, self._classes)
    self._workspace = workspace.Workspace(output_dir, split)
    self._workspace.takes_up({"written_by": "SplitWriter"})
    self._shards = []
    self._writer = None
    self._list_name = schema.pictures_file(split)
    self._list = open(self._workspace.folder / self._list_name, "wb")  # noqa: SIM115
    self._summary = summaries.Summary()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception) -> None:
    self._close_shard()
    self._list.close()
    self._workspace.__exit__(*exception)

  def write(self, example: tf.train.Example, position: int) -> None:
    """Adds a record.

    Args:
      example: the record.
      position: of the image among `num_images`, from 0; must grow from call to call.
    """
    self._open_shard(position * self._num_shards // self._num_images)
    self._writer.write(serialize(example))
    self._list.write(os.fsencode(f"{pictures.line(example)}\n"))
    self._shards[-1]["num_images"] += 1
    self._summary.add_example(example)

  def commit(self, **about: Any) -> dict[str, Any]:
    """Puts shards, label map and manifest in place of those of an earlier conversion.

    Args:
      **about: further entries of the manifest.

    Returns:
      The manifest.

    Raises:
      ValueError: there are no records.
    """
    if not self._summary.num_images:
      raise ValueError(
        f"{self._split}: no image is left to write; accepted: at least one sound image"
      )
    self._open_shard(self._num_shards - 1)
    self._close_shard()
    manifest = make_manifest(self._split, self._classes, self._shards, self._summary, about)
    self._list.close()
    names = [*(shard["file"] for shard in self._shards), self._list_name]
    self._workspace.commit(names, self._classes, manifest_bytes(manifest))
    return manifest

  def _open_shard(self, index: int) -> None:
    """Makes shard `index` the one that is written to; those before it may stay empty."""
    while len(self._shards) <= index:
      self._close_shard()
      name = schema.shard_file(self._split, len(self._shards), self._num_shards)
      self._writer = tf.io.TFRecordWriter(str(self._workspace.folder / name))
      self._shards.append({"file": name, "num_images": 0})

  def _close_shard(self) -> None:
    if self._writer is not None:
      self._writer.close()
      self._writer = None


def serialize(example: tf.train.Example) -> bytes:
  """The bytes of a record, the same in every process."""
  # The order of features in the bytes would else depend on the process.
  return example.SerializeToString(deterministic=True)


def make_manifest(
  split: str,
  classes: Sequence[str],
  shards: Sequence[Mapping[str, Any]],
  summary: summaries.Summary,
  about: Mapping[str, Any],
) -> dict[str, Any]:
  """Returns the manifest of a split.

  Args:
    split: its name.
    classes: the class names, class 1 first.
    shards: `file` and `num_images` of each.
    summary: of the records, at least one.
    about: further entries.
  """
  counts = summary.about_records(classes)
  return {
    "split": split,
    **counts,
    "classes": list(classes),
    "shards": list(shards),
    "pictures": schema.pictures_file(split),
    **about,
  }


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
  """The content of the manifest file."""
  return os.fsencode(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def _bytes(values: Sequence[bytes]) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _floats(values: Sequence[float]) -> tf.train.Feature:
  return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _ints(values: Sequence[int]) -> tf.train.Feature:
  return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
