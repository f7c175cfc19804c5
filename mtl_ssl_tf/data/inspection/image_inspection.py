"""Inspects every image of a data set, in records or before it was converted, one by one.

Threads do the work, as decoding holds no lock of Python's; images come out in their order.
"""

import array
import collections
import concurrent.futures
import itertools
import os
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import TypeVar

import numpy as np
import tensorflow as tf

from mtl_ssl_tf.data import faults, schema
from mtl_ssl_tf.data.inspection import (
  checks,
  damaged_files,
  record_checks,
  repetitions,
  validation_report,
)
from mtl_ssl_tf.data.records import examples
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.sources import annotated, split_source

_Item, _Result = TypeVar("_Item"), TypeVar("_Result")


def inspect_records(
  files: Sequence[str],
  classes: Sequence[str] | None,
  limits: checks.Limits,
  *,
  num_sampled: int = 0,
  num_threads: int = 1,
  num_records: MutableMapping[str, int] | None = None,
  step: Callable[[int], object] = lambda num_bytes: None,
  seen: repetitions.Repetitions | None = None,
) -> Iterator[validation_report.Inspected]:
  """The records of some files, damaged ones included.

  Args:
    files: paths of TFRecord files.
    classes: class 1 first; None where no label map says what the labels mean.
    limits: what images are compared with.
    num_sampled: inspect so many records only, evenly spread, and at the last one of each file,
      which shows whether the file was cut short; of files on other machines, at the first ones;
      0 inspects all.
    num_threads: how many records are checked at a time.
    num_records: takes the number of records by file.
    step: called with the number of bytes that were passed.
    seen: the images that were inspected before; None where there are none.
  """

  def inspect(record: damaged_files.Record) -> validation_report.Inspected:
    name = f"{record.file}, record {record.number}"
    if record.content is None:
      return validation_report.Inspected(name, None, (record.fault,))
    checked = record_checks.check_record(record.content, record.file, record.number, classes)
    found = checked.findings
    if checked.facts is not None:
      found += tuple(checks.check_image(checked.facts, limits))
    if checked.source_id is not None:
      name = f"{checked.source_id} ({name})"
    split = os.path.join(record.folder, record_paths.split_name(record.file))
    return validation_report.Inspected(
      name, checked.facts, found, checked.encoded, checked.boxes_orig, split
    )

  records = _all_records(files, num_records, step)
  if num_sampled:
    records = _sampled_records(files, num_sampled, num_records)
  seen = seen or repetitions.Repetitions()
  return seen.add_findings(_map_in_order(inspect, records, num_threads))


def inspect_split(
  source: split_source.SplitSource,
  limits: checks.Limits,
  *,
  num_sampled: int = 0,
  num_threads: int = 1,
  rules: annotated.BoxRules = annotated.DEFAULT_RULES,
  seen: repetitions.Repetitions | None = None,
) -> Iterator[validation_report.Inspected]:
  """The images of a split as the converter would make records of them, without writing any.

  Args:
    source: with classes; can be pickled.
    limits: what images are compared with.
    num_sampled: inspect so many images only, evenly spread; 0 inspects all.
    num_threads: how many images are checked at a time.
    rules: for boxes that are not as they should be.
    seen: the images that were inspected before; None where there are none.
  """
  local = threading.local()
  pickled = pickle.dumps(source)

  def inspect(position: int) -> validation_report.Inspected:
    if not hasattr(local, "source"):  # Its index belongs to the thread that opened it.
      local.source = pickle.loads(pickled)
    return _inspect_converted(local.source, position, limits, rules)

  positions = range(len(source))
  if num_sampled:
    positions = evenly_spread(len(source), num_sampled)
  seen = seen or repetitions.Repetitions()
  return seen.add_findings(_map_in_order(inspect, positions, num_threads))


def evenly_spread(number: int, num_sampled: int) -> list[int]:
  """At most `num_sampled` of the numbers below `number`, at equal distances, in order."""
  count = min(number, num_sampled)
  return [(2 * i + 1) * number // (2 * count) for i in range(count)]


def finding_of_fault(fault: faults.Fault, source_id: str | None) -> checks.Finding:
  """A converter's fault as a finding; its kind is its field without numbers and subfields."""
  return checks.Finding(
    faults.kind(fault),
    checks.FAULT,
    fault.file,
    fault.field,
    fault.value,
    fault.accepted,
    None,
    source_id,
    fault.object_number,
    fault.object_name,
  )


def finding_of_remark(remark: split_source.Remark) -> checks.Finding:
  """A remark about a whole split as a finding."""
  fault = remark.fault
  level = checks.WARNING if remark.is_warning else checks.NOTE
  return checks.Finding(remark.kind, level, fault.file, fault.field, fault.value, fault.accepted)


def _all_records(
  files: Sequence[str],
  num_records: MutableMapping[str, int] | None,
  step: Callable[[int], object],
) -> Iterator[damaged_files.Record]:
  for path in files:
    number = offset = 0
    try:
      for record in damaged_files.RecordFile(path):
        yield record
        step(record.end - offset)
        number, offset = number + 1, record.end
    except tf.errors.OpError as error:
      yield _unreadable(path, number, error)
    if num_records is not None:
      num_records[path] = number


def _sampled_records(
  files: Sequence[str], num_sampled: int, num_records: MutableMapping[str, int] | None
) -> Iterator[damaged_files.Record]:
  offsets = {}
  for path in files:
    # Going from length to length in a remote file would fetch the whole of it.
    most = -(-num_sampled // len(files)) if record_index.is_remote(path) else None
    try:
      of_file = itertools.islice(damaged_files.RecordFile(path).offsets(), most)
      offsets[path] = array.array("q", of_file)
    except tf.errors.OpError as error:
      yield _unreadable(path, 0, error)
      continue
    if num_records is not None and most is None:
      num_records[path] = len(offsets[path])
  chosen = set(evenly_spread(sum(map(len, offsets.values())), num_sampled))
  first = 0
  for path, of_file in offsets.items():
    file = damaged_files.RecordFile(path)
    for number, offset in enumerate(of_file):
      if first + number in chosen or number == len(of_file) - 1:
        yield file.read(offset, number)
    first += len(of_file)


def _unreadable(path: str, number: int, error: tf.errors.OpError) -> damaged_files.Record:
  name = os.path.basename(path)
  fault = checks.Finding(
    "unreadable_file",
    checks.FAULT,
    name,
    "file",
    f"cannot be read ({type(error).__name__})",
    "a readable file",
  )
  return damaged_files.Record(name, number, 0, None, fault)


def _inspect_converted(
  source: split_source.SplitSource,
  position: int,
  limits: checks.Limits,
  rules: annotated.BoxRules,
) -> validation_report.Inspected:
  """Converts one image without writing it; returns its findings."""
  name = source.name(position)
  read, converted = source.read_image(position), examples.convert(source, position, rules)
  found = [finding_of_fault(fault, name) for fault in converted.faults]
  file = read.annotation_file or name
  if file in source.hashes:  # One file for all images.
    file = f"{file}, image {name}"
  for note in converted.notes:
    found.append(
      checks.Finding(
        note, checks.NOTE, file, note, split_source.NOTES[note], "as it is", None, name
      )
    )
  facts, encoded, boxes_orig = None, None, {}
  if converted.faults:
    encoded = _read_image(source, read.image_file)
    boxes_orig = source.stated_boxes(position)
  if converted.example is not None:
    faulty = {fault.object_number for fault in converted.faults}
    annotations = [annotation for annotation in read.objects if annotation.number not in faulty]
    facts = _facts(converted.example, file, name, annotations)
    found += checks.check_image(facts, limits)
    kept = zip(facts.object_numbers, facts.boxes_orig.tolist(), strict=True)
    boxes_orig = {**boxes_orig, **dict(kept)}
    encoded = converted.example.features.feature[schema.IMAGE_ENCODED].bytes_list.value[0]
  return validation_report.Inspected(name, facts, tuple(found), encoded, boxes_orig, source.split)


def _facts(
  example: tf.train.Example,
  file: str,
  source_id: str,
  annotations: Sequence[annotated.AnnotatedObject],
) -> checks.ImageFacts:
  """The facts of a converter's record.

  Args:
    example: the record.
    file: that the objects are written down in.
    source_id: the image's name.
    annotations: the objects, those of the record.
  """
  feature = example.features.feature
  height, width = (
    feature[key].int64_list.value[0] for key in (schema.IMAGE_HEIGHT, schema.IMAGE_WIDTH)
  )
  keys = (schema.OBJECT_YMIN, schema.OBJECT_XMIN, schema.OBJECT_YMAX, schema.OBJECT_XMAX)
  boxes_norm = np.array([feature[key].float_list.value for key in keys], np.float64).T  # [N, 4]
  return checks.ImageFacts(
    file=file,
    source_id=source_id,
    height=height,
    width=width,
    boxes_orig=boxes_norm * [height, width, height, width],
    class_names=[annotation.name for annotation in annotations],
    object_numbers=[annotation.number for annotation in annotations],
    difficult=[bool(annotation.difficult) for annotation in annotations],
    is_crowd=[bool(annotation.is_crowd) for annotation in annotations],
    object_labels=[annotation.label for annotation in annotations],
    annotated_classes=[
      os.fsdecode(name) for name in feature[schema.ANNOTATED_CLASSES_TEXT].bytes_list.value
    ]
    or None,
  )


def _read_image(source: split_source.SplitSource, file: str | None) -> bytes | None:
  """The image of a faulty annotation, to be shown."""
  try:
    return None if file is None else source.read(file)
  except faults.FaultError:
    return None


def _map_in_order(
  function: Callable[[_Item], _Result], items: Iterable[_Item], num_threads: int
) -> Iterator[_Result]:
  """Yields the function's result of each item, in order; the number in progress is bounded."""
  if num_threads == 1:
    yield from map(function, items)
    return
  with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
    under_way = collections.deque()
    for item in items:
      under_way.append(pool.submit(function, item))
      if len(under_way) > 4 * num_threads:
        yield under_way.popleft().result()
    while under_way:
      yield under_way.popleft().result()
