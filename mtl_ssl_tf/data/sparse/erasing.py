"""A converted split, record by record: which objects can be ranked, and erasing some of them."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Iterator, Sequence

import tensorflow as tf
from google.protobuf import message

from mtl_ssl_tf.data import faults, label_map, schema
from mtl_ssl_tf.data.records import manifests
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.sparse import protocols as sparse_protocols
from mtl_ssl_tf.reading import quoting

# What the manifest of a sparsely annotated split has in addition to that of a converted one.
SECTION = "sparse_annotations"
_BOX = (schema.OBJECT_YMIN, schema.OBJECT_XMIN, schema.OBJECT_YMAX, schema.OBJECT_XMAX)
_CONVERT = "records of this project's converters; convert the data set again"


@dataclasses.dataclass(frozen=True)
class Split:
  """A converted split whose files are all there.

  Attributes:
    files: its records.
    num_images: in all of them.
    classes: the class names, class 1 first.
  """

  files: Sequence[pathlib.Path]
  num_images: int
  classes: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Objects:
  """The objects of an image that can be ranked.

  Attributes:
    image_id: `image/source_id`.
    rows: their places in the record's lists.
    ids: `image/object/id` of each.
    classes: class of each, from 1 on.
  """

  image_id: bytes
  rows: Sequence[int]
  ids: Sequence[int]
  classes: Sequence[int]

  def keys(self, seed: int) -> list[bytes]:
    """Their rank keys."""
    return [sparse_protocols.rank_key(seed, self.image_id, number) for number in self.ids]

  def names(self) -> list[bytes]:
    """Returns names that are unique in the split: "<image id>/<annotation id>"."""
    return [b"%s/%d" % (self.image_id, number) for number in self.ids]


def find_split(input_dir: pathlib.Path, split: str) -> Split:
  """The files of a fully annotated split, by its manifest.

  Raises:
    faults.FaultError: a file is missing, cut short or not as the manifest says.
    ValueError: there is no such split, or it is sparsely annotated itself.
  """
  path = input_dir / schema.manifest_file(split)
  if not path.exists():
    names = sorted(
      file.stem.removeprefix("manifest_") for file in input_dir.glob("manifest_*.json")
    )
    raise ValueError(
      f"--split {split}: {path} is missing; accepted: a converted split; in {input_dir}:"
      f" {faults.listing(names)}"
    )
  manifest = manifests.load(path)
  files = {input_dir / shard["file"]: shard.get("num_images") for shard in manifest["shards"]}
  if None in files.values():
    fault = faults.Fault(str(path), "shards", "num_images is missing", "what a converter wrote")
    raise faults.FaultError([fault])
  section = manifest.get(SECTION)
  if section is not None:
    source = section.get("source_split") if isinstance(section, dict) else None
    raise ValueError(
      f"--split {split}: is sparsely annotated itself; accepted: a fully annotated split"
      + (f", e.g. {quoting.one_line(str(source))}" if source else "")
    )
  for file, num_images in files.items():
    found = record_paths.count_examples(str(file)) if file.exists() else None
    if found != num_images:
      value = "missing" if found is None else f"{found} records"
      accepted = f"{num_images} records, as {path.name} says; convert the data set again"
      raise faults.FaultError([faults.Fault(str(file), "content", value, accepted)])
  classes = label_map.read_label_map(input_dir / schema.LABEL_MAP_FILE)
  return Split(list(files), sum(files.values()), classes)


def read(paths: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[tf.train.Example, str]]:
  """The records of some files in order, each with words that say where it stands.

  Raises:
    faults.FaultError: a record is damaged or no tf.Example.
  """
  for path in paths:
    number = 0
    try:
      for record in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
        yield tf.train.Example.FromString(record), f"{path}: record {number}"
        number += 1
    except (tf.errors.DataLossError, message.DecodeError) as error:
      fault = faults.Fault(os.fspath(path), f"record {number}", "damaged", _CONVERT)
      raise faults.FaultError([fault]) from error


def ranked_objects(
  example: tf.train.Example, where: str, num_classes: int, rank_difficult: bool
) -> Objects:
  """The objects that training would take for positives.

  Crowds and boxes without area are none, and difficult ones only with `rank_difficult`.

  Args:
    example: a record.
    where: of `read`, for messages.
    num_classes: number of object classes.
    rank_difficult: whether difficult objects are ranked.

  Raises:
    faults.FaultError: a field is missing or holds what it must not.
  """

  def refuse(field: str, value: str, accepted: str = _CONVERT):
    raise faults.FaultError([faults.Fault(where, field, value, accepted)])

  features = example.features.feature
  labels = features[schema.OBJECT_LABEL].int64_list.value
  for field in _object_fields(example):
    if len(_values(features[field])) != len(labels):
      refuse(field, f"{len(_values(features[field]))} values for {len(labels)} objects")
  if not features[schema.IMAGE_SOURCE_ID].bytes_list.value:
    refuse(schema.IMAGE_SOURCE_ID, "missing")
  image_id = features[schema.IMAGE_SOURCE_ID].bytes_list.value[0]
  if b"\n" in image_id:
    refuse(schema.IMAGE_SOURCE_ID, "holds a line break", "image names without one")
  ids = features[schema.OBJECT_ID].int64_list.value
  if len(ids) != len(labels):
    refuse(schema.OBJECT_ID, "missing")
  if len(set(ids)) != len(ids):
    refuse(schema.OBJECT_ID, "the same id twice", "each annotation of an image under its own id")
  for label in labels:
    if not 1 <= label <= num_classes:
      refuse(schema.OBJECT_LABEL, f"{label}", f"1 … {num_classes}, the lines of the label map")

  boxes = [features[field].float_list.value for field in _BOX]
  if labels and not all(boxes):
    refuse(_BOX[0].rpartition("/")[0], "missing")
  unranked = set(_flagged(example, schema.OBJECT_IS_CROWD))
  if not rank_difficult:
    unranked.update(_flagged(example, schema.OBJECT_DIFFICULT))
  rows = [
    row
    for row, (ymin, xmin, ymax, xmax) in enumerate(zip(*boxes, strict=True))
    if row not in unranked and ymin < ymax and xmin < xmax
  ]
  return Objects(image_id, rows, [ids[row] for row in rows], [labels[row] for row in rows])


def erase(example: tf.train.Example, rows: Collection[int]) -> tf.train.Example:
  """A copy of a record in which some objects moved to the fields of erased ones.

  Args:
    example: a record that `ranked_objects` accepted.
    rows: places in its lists.
  """
  sparse = tf.train.Example.FromString(example.SerializeToString())
  features = sparse.features.feature
  for field in _object_fields(example):
    values = list(_values(features[field]))
    kept = [value for row, value in enumerate(values) if row not in rows]
    erased = [value for row, value in enumerate(values) if row in rows]
    kind = features[field].WhichOneof("kind")
    name = schema.ERASED_PREFIX + field.removeprefix(schema.OBJECT_PREFIX)
    getattr(features[name], kind).value.extend(erased)
    del getattr(features[field], kind).value[:]
    getattr(features[field], kind).value.extend(kept)
  return sparse


def _object_fields(example: tf.train.Example) -> list[str]:
  """The lists with a value for each object; those that say nothing of any are left out."""
  features = example.features.feature
  return [
    name
    for name in sorted(features)
    if name.startswith(schema.OBJECT_PREFIX) and len(_values(features[name]))
  ]


def _values(feature: tf.train.Feature) -> Sequence[int | float | bytes]:
  kind = feature.WhichOneof("kind")
  return getattr(feature, kind).value if kind else ()


def _flagged(example: tf.train.Example, field: str) -> list[int]:
  """Rows whose flag is set; none where the record does not say."""
  flags = example.features.feature[field].int64_list.value
  return [row for row, flag in enumerate(flags) if flag]
