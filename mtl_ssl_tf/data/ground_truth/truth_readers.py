"""Ground truth for metrics from records, a VOC folder or a COCO file, without decoding an image.

  records    TFRecord files, a folder or a pattern; the label map and, for category ids, a manifest
             lie next to them, as the converters leave them
  VOC        a folder with Annotations, JPEGImages and ImageSets/Main, and a split
  COCO       a JSON file with images, annotations and categories

Boxes are taken as they stand: those of records in the float32 numbers that evaluation during
training sees, those of files unclipped.
"""

import collections
import logging
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import faults, label_map, schema
from mtl_ssl_tf.data.ground_truth import coco_truth
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.records import contents, manifests
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.sources import voc_annotation, voc_folder, voc_layout, voc_listing

_LOGGER = logging.getLogger(__name__)
_KINDS = (
  "a COCO annotation file (*.json), a VOC folder together with --split, or record files"
  " (*.tfrecord, a folder or a pattern of them)"
)


def read(
  path: str,
  *,
  split: str | None = None,
  label_map_file: str | None = None,
  on_error: str = "fail",
) -> ground_truth.GroundTruth:
  """The ground truth at a path, whatever of the three kinds it is.

  Args:
    path: see the module.
    split: of a VOC folder.
    label_map_file: classes of a VOC folder, or of records without one next to them; None takes the
      classes found in the folder's annotations, sorted.
    on_error: of a VOC folder or COCO file: `skip` leaves faulty objects and images out and logs
      them.

  Raises:
    faults.FaultError: a file is at fault.
    ValueError: there is nothing of the kind, or an argument is missing or has no use.
    OSError: a file cannot be read.
  """
  if path.lower().endswith(".json"):
    _refuse("--split", split, "a VOC folder")
    _refuse("--label_map", label_map_file, "a VOC folder or records")
    return coco_truth.read_coco(path, on_error)
  if os.path.isdir(os.path.join(path, voc_layout.ANNOTATIONS)):
    if split is None:
      raise ValueError(f"--ground_truth {path} is a VOC folder; accepted: together with --split")
    try:
      return read_voc(path, split, label_map_file, on_error)
    except ValueError as error:
      if isinstance(error, faults.FaultError):
        raise
      raise ValueError(str(error).replace("--data_dir", "--ground_truth")) from error
  _refuse("--split", split, "a VOC folder")
  try:
    return read_records(path, label_map_file)
  except ValueError as error:
    if isinstance(error, faults.FaultError):
      raise
    message = str(error).removeprefix("input_path: ")
    raise ValueError(f"--ground_truth {path}: {message}; accepted: {_KINDS}") from error


def read_records(
  input_path: str | Sequence[str], label_map_file: str | None = None
) -> ground_truth.GroundTruth:
  """The ground truth of record files, each image's boxes as evaluation in training has them.

  Args:
    input_path: see `record_paths.match_files`.
    label_map_file: None is the one next to the records.

  Raises:
    faults.FaultError: a record is at fault.
    ValueError: there are no records, or there is no label map.
  """
  files = record_paths.match_files(input_path)
  folder = os.path.dirname(files[0])
  label_map_file = label_map_file or os.path.join(folder, schema.LABEL_MAP_FILE)
  if not os.path.exists(label_map_file):
    raise ValueError(f"no label map {label_map_file}; accepted: --label_map FILE")
  class_names = label_map.read_label_map(label_map_file)
  images = []
  for file in files:
    first = len(images)
    # TensorFlow takes up to 11 bytes behind the last record for nothing.
    collections.deque(record_index.record_spans(file), maxlen=0)
    try:
      for number, record in enumerate(tf.data.TFRecordDataset(file).as_numpy_iterator()):
        where = f"record {number}"
        images.append(_truth_of_record(record, len(class_names), file, where))
    except tf.errors.DataLossError as error:
      where = f"record {len(images) - first}"
      fault = faults.Fault(file, where, "damaged", "a whole TFRecord file")
      raise faults.FaultError([fault]) from error
  if not images:
    raise ValueError(f"no records in {', '.join(files)}")
  _check_unique(images, ", ".join(files))
  return ground_truth.GroundTruth(
    str(input_path), tuple(class_names), _category_ids(files, class_names), tuple(images)
  )


def read_voc(
  data_dir: str | os.PathLike[str],
  split: str,
  label_map_file: str | None = None,
  on_error: str = "fail",
) -> ground_truth.GroundTruth:
  """The ground truth of one split of a VOC folder, its boxes as they stand in the annotations.

  Raises:
    faults.FaultError: an annotation is at fault, or has a class that the label map lacks.
    ValueError: there is no such split, or no object to take classes from.
  """
  folder = voc_folder.VocFolder(data_dir, split=split)
  listed = voc_listing.list_split(folder, split)
  found, annotations = list(listed.faults), []
  for stem in map(folder.stem, range(listed.num_images)):
    try:
      file = folder.annotation_file(stem)
      annotation = voc_annotation.parse_annotation(folder.read(file), file)
      annotations.append((stem, file, annotation))
      found.extend(annotation.faults)
    except faults.FaultError as error:
      found.extend(error.faults)
  if label_map_file is not None:
    class_names = label_map.read_label_map(label_map_file)
  else:
    class_names = sorted({entry.name for _, _, note in annotations for entry in note.objects})
    if not class_names and not found:
      raise ValueError(f"{split}: no object to collect classes from; accepted: --label_map FILE")
  class_ids = {name: number for number, name in enumerate(class_names, start=1)}
  for _, file, annotation in annotations:
    for entry in annotation.objects:
      if entry.name not in class_ids:
        accepted = f"the classes of {label_map_file}: {faults.listing(class_names)}"
        found.append(entry.fault(file, "name", f"{faults.quote(entry.name)} is unknown", accepted))
  if found and on_error == "fail":
    raise faults.FaultError(found)
  for line in faults.digest(found):
    _LOGGER.info(f"left out: {line}")
  images = []
  for stem, file, annotation in annotations:
    if any(fault.file == file and fault.object_number is None for fault in found):
      continue
    entries = [entry for entry in annotation.objects if entry.name in class_ids]
    boxes = ground_truth.Boxes.from_corners(np.array([entry.box for entry in entries], np.float64))
    flags = np.zeros(len(entries), bool)
    images.append(
      ground_truth.ImageTruth(
        stem,
        annotation.filename or "",
        annotation.size,
        boxes,
        np.array([class_ids[entry.name] for entry in entries], np.int64),
        flags | np.array([entry.difficult for entry in entries], bool),
        flags,
        boxes.xywh[:, 2] * boxes.xywh[:, 3],
      )
    )
  numbers = tuple(range(1, len(class_names) + 1))
  return ground_truth.GroundTruth(f"{data_dir} {split}", tuple(class_names), numbers, tuple(images))


def _truth_of_record(
  record: bytes, num_classes: int, file: str, where: str
) -> ground_truth.ImageTruth:
  """The objects of one record, chosen and computed as `DetectionParser` does."""
  values, found = contents.read(record)
  found = list(contents.problems(values, found, num_classes))
  size = contents.image_size(values[schema.IMAGE_ENCODED][0]) if not found else None
  if size is not None:
    found = list(contents.size_problems(values, size))
  elif not found:
    accepted = "a whole JPEG or PNG image"
    found = [contents.Problem("image", schema.IMAGE_ENCODED, "damaged, or no image", accepted)]
  if found:
    raise faults.FaultError(
      faults.Fault(file, f"{where}: {problem.where}", problem.value, problem.accepted)
      for problem in found
    )
  classes = np.array(values[schema.OBJECT_LABEL], np.int64)
  columns = [np.array(values[side], np.float32) for side in contents.BOX]
  boxes_norm = np.clip(np.stack(columns, axis=1), np.float32(0.0), np.float32(1.0))  # [n, 4]
  keep = (boxes_norm[:, 2:] > boxes_norm[:, :2]).all(axis=1)
  # In float32, as in the input pipeline.
  boxes = ground_truth.Boxes.from_corners((boxes_norm * np.float32(size * 2))[keep])
  areas = np.array(values[schema.OBJECT_AREA], np.float64)
  annotated = values[schema.ANNOTATED_CLASSES]
  return ground_truth.ImageTruth(
    os.fsdecode(values[schema.IMAGE_SOURCE_ID][0]),
    os.fsdecode(b"".join(values[schema.IMAGE_FILENAME][:1])),
    size,
    boxes,
    classes[keep],
    _flags(values[schema.OBJECT_DIFFICULT], len(classes))[keep],
    _flags(values[schema.OBJECT_IS_CROWD], len(classes))[keep],
    areas[keep] if len(areas) else boxes.xywh[:, 2] * boxes.xywh[:, 3],
    np.unique(annotated) if annotated else None,
  )


def _flags(values: Sequence[int], count: int) -> np.ndarray:
  """bool [count]; all False where the record does not say."""
  return np.array(values, bool) if values else np.zeros(count, bool)


def _category_ids(files: Sequence[str], class_names: Sequence[str]) -> tuple[int, ...]:
  """The category ids in the manifests next to the records; else 1, 2, 3 …"""
  for manifest in manifests.read(files):
    ids = manifest.get("category_ids")
    if isinstance(ids, dict) and set(class_names) <= set(ids):
      return tuple(int(ids[name]) for name in class_names)
  return tuple(range(1, len(class_names) + 1))


def _check_unique(images: Sequence[ground_truth.ImageTruth], file: str) -> None:
  first = {}
  for image in images:
    other = first.setdefault(image.image_id, image)
    if other is not image:
      value = f"{faults.quote(image.image_id)} comes twice"
      names = " and for ".join(faults.quote(name.file_name) for name in (other, image))
      accepted = f"each image once, not for {names}"
      fault = faults.Fault(file, schema.IMAGE_SOURCE_ID, value, accepted)
      raise faults.FaultError([fault])


def _refuse(flag: str, value: str | None, use: str) -> None:
  if value is not None:
    raise ValueError(f"{flag} {value}: has no use here; accepted: with {use}")
