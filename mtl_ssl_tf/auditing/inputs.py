"""The images and annotations of an audit: records as they are, a VOC folder or COCO file converted.

Everything else works on records: boxes and pictures are upright there, and a detector is asked as
it was trained.
"""

import dataclasses
import glob
import hashlib
import json
import os
import pathlib
from collections.abc import Collection, Iterator

import numpy as np
import tensorflow as tf

from mtl_ssl_tf import files
from mtl_ssl_tf.data import coco_json, faults, pascal_voc, schema
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.ground_truth import truth_readers
from mtl_ssl_tf.data.records import contents
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.sources import coco_source, split_source, voc_layout, voc_source
from mtl_ssl_tf.reading import json_text

VOC, COCO, RECORDS = "voc", "coco", "records"
SPLIT = "audited"  # Of converted records.
_SOURCE_FILE = "source.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Input:
  """Images and annotations that are audited.

  Attributes:
    kind: `VOC`, `COCO` or `RECORDS`, what was given.
    records: pattern of the record files.
    truth: the annotations, in the order of the records.
    regions: place of an image -> float64 [M, 4], its regions to be ignored, ymin, xmin, ymax, xmax
      in pixels.
  """

  kind: str
  records: str
  truth: ground_truth.GroundTruth
  regions: dict[int, np.ndarray]

  @property
  def fingerprint(self) -> str:
    """16 hexadecimal digits of images, classes and boxes."""
    total = hashlib.sha256(json.dumps(self.truth.class_names).encode())
    for image in self.truth.images:
      about = [image.image_id, image.classes.tolist(), image.boxes.xywh.tolist()]
      total.update(json.dumps(about).encode())
    return total.hexdigest()[:16]


def obtain(
  data: str,
  folder: pathlib.Path,
  *,
  split: str | None = None,
  image_dir: str | None = None,
  label_map_file: str | None = None,
  on_error: str = "fail",
) -> Input:
  """Reads records, or converts a VOC folder or COCO file unless that was done.

  Args:
    data: record files, a folder or a pattern of them, a VOC folder, or a COCO file.
    folder: takes converted records.
    split: of a VOC folder.
    image_dir: folder of a COCO file's images.
    label_map_file: None takes the classes that there are, or the file next to records.
    on_error: `skip` leaves out what is at fault in a VOC folder or COCO file.

  Raises:
    faults.FaultError: annotations or images are at fault.
    ValueError: there is nothing of the kind, or an argument is missing or has no use.
    OSError: a file cannot be read or written.
  """
  kind = _kind(data, split)
  for flag, value, own in (("split", split, VOC), ("image_dir", image_dir, COCO)):
    if value is None and kind == own:
      raise ValueError(f"--data {data} is {_WORDS[kind]}; accepted: together with --{flag}")
    if value is not None and kind != own:
      raise ValueError(f"--{flag} {value}: has no use here; accepted: with {_WORDS[own]}")
  records = data
  if kind != RECORDS:
    try:
      records = _converted(
        kind, data, split or "", image_dir or "", label_map_file, on_error, folder
      )
    except ValueError as error:
      if isinstance(error, faults.FaultError):
        raise
      message = str(error).replace("--data_dir", "--data").replace("--annotations", "--data")
      raise ValueError(message) from error
    label_map_file = None
  try:
    truth = truth_readers.read_records(records, label_map_file)
  except ValueError as error:
    if isinstance(error, faults.FaultError):
      raise
    message = str(error).removeprefix("input_path: ")
    raise ValueError(f"--data {data}: {message}; accepted: {_KINDS}") from error
  return Input(kind, records, truth, _regions(records, truth))


_WORDS = {VOC: "a VOC folder", COCO: "a COCO file", RECORDS: "records"}
_KINDS = (
  "record files (*.tfrecord, a folder or a pattern of them), a VOC folder together with --split, or"
  " a COCO file (*.json) together with --image_dir"
)


def _kind(data: str, split: str | None) -> str:
  if data.lower().endswith(".json"):
    return COCO
  if not os.path.isdir(data):
    return RECORDS
  try:
    voc_layout.find(data, split)
  except ValueError:
    return RECORDS
  return VOC


def _converted(
  kind: str,
  data: str,
  split: str,
  image_dir: str,
  label_map_file: str | None,
  on_error: str,
  folder: pathlib.Path,
) -> str:
  """Returns the pattern of the records of a VOC folder or COCO file."""
  options = {"label_map_file": label_map_file, "on_error": on_error}
  if kind == VOC:
    source = voc_source.open_split(data, split)
  else:
    source = coco_source.open_split(data, image_dir, SPLIT)
  signature = _signature(source, repr(sorted(options.items())))
  path = folder / _SOURCE_FILE
  name = split if kind == VOC else SPLIT
  pattern = f"{glob.escape(str(folder / name))}-*.tfrecord"
  if _signature_of(path) == signature and (folder / schema.manifest_file(name)).exists():
    return pattern
  # A converter replaces records of its split, which must not be those of somebody else.
  if folder.is_dir() and any(folder.iterdir()) and not path.exists():
    raise ValueError(
      f"--output_dir: {str(folder)!r} holds files of others; accepted: a folder of its own"
    )
  folder.mkdir(parents=True, exist_ok=True)
  files.write_text(path, json.dumps({"source": None}) + "\n")
  if kind == VOC:
    pascal_voc.convert_split(data, split, folder, **options)
  else:
    coco_json.convert_split(data, image_dir, SPLIT, folder, **options)
  files.write_text(path, json.dumps({"source": signature}) + "\n")
  return pattern


def _signature(source: split_source.SplitSource, about: str) -> str:
  """Digest of the files of a data set, by their names, sizes and times."""
  total = hashlib.sha256(repr((source.location, source.split, about)).encode())
  total.update(repr(sorted(source.hashes.items())).encode())
  for position in range(len(source)):
    total.update(os.fsencode(source.signature(position)))
  return total.hexdigest()


def _signature_of(path: pathlib.Path) -> str | None:
  try:
    content = json_text.read(path)
  except (OSError, ValueError):
    return None
  return content.get("source") if isinstance(content, dict) else None


def examples(records: str | list[str]) -> Iterator[bytes]:
  """Yields the records in the order of `Input.truth`."""
  return tf.data.TFRecordDataset(record_paths.match_files(records)).as_numpy_iterator()


def encoded_images(
  records: str | list[str], wanted: Collection[int] | None = None
) -> Iterator[tuple[int, bytes]]:
  """Yields place and image file of records.

  Args:
    records: the files.
    wanted: places of the images; None has all.
  """
  for place, record in enumerate(examples(records)):
    if wanted is None or place in wanted:
      features = tf.train.Example.FromString(record).features.feature
      yield place, features[schema.IMAGE_ENCODED].bytes_list.value[0]


def _regions(records: str, truth: ground_truth.GroundTruth) -> dict[int, np.ndarray]:
  found = {}
  for place, (record, image) in enumerate(zip(examples(records), truth.images, strict=True)):
    values, _ = contents.read(record)
    sides = [values[key] for key in schema.IGNORED_BOX]
    if len(set(map(len, sides))) == 1 and len(sides[0]):
      found[place] = np.array(sides, np.float64).T * np.array(image.size * 2)
  return found
