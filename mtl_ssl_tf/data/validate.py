"""Reports faults and statistics of a data set before anything is trained on it.

  python -m mtl_ssl_tf.data.validate --records 'records/train-*' \\
      --config_file configs/experiments/bccd_frcnn_mobilenet_mtl.yaml \\
      --report validation.json --contact_sheet validation.html

In the place of records, a PASCAL VOC folder (`--data_dir`, `--split`) or a COCO file
(`--annotations`, `--image_dir`) can be validated before it is converted; nothing is written but the
report. `docs/validation.md` lists what is found.

Exit status: 0 sound, 1 faults (with `--strict`, warnings too), 2 nothing could be read.
"""

import argparse
import logging
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterable, Sequence

import tensorflow as tf

from mtl_ssl_tf import terminal
from mtl_ssl_tf.command_line import validate as validate_flags
from mtl_ssl_tf.configs import loading, validation
from mtl_ssl_tf.data import faults, label_map, pascal_voc, progress_lines, schema
from mtl_ssl_tf.data.inspection import checks, image_inspection, shard_checks, validation_report
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.sources import annotated, coco_source, split_source, voc_source

_LOGGER = logging.getLogger("mtl_ssl_tf.data.validate")  # `__name__` is `__main__` in `python -m`.
_MIB = 2**20
# Flag that names the data -> the flags that it needs.
_SOURCES = {"records": (), "data_dir": ("split",), "annotations": ("image_dir",)}


def validate_records(
  input_path: str | Sequence[str],
  limits: checks.Limits,
  *,
  label_map_file: str | os.PathLike[str] | None = None,
  num_sampled: int = 0,
  num_threads: int = 1,
  max_listed: int = 1000,
) -> validation_report.ValidationReport:
  """Validates record files.

  Args:
    input_path: as `record_paths.match_files` takes it.
    limits: what images are compared with.
    label_map_file: see module `label_map`; None takes the one next to the records, if any.
    num_sampled: inspect so many records only, see `image_inspection.inspect_records`; 0
      inspects all.
    num_threads: how many records are checked at a time.
    max_listed: findings of each kind that are listed one by one.

  Raises:
    ValueError: there are no such files, or the label map is faulty.
  """
  files = record_paths.match_files(input_path)
  found = os.path.join(os.path.dirname(files[0]), schema.LABEL_MAP_FILE)
  if label_map_file is None and os.path.exists(found):
    label_map_file = found
  classes = None if label_map_file is None else label_map.read_label_map(label_map_file)
  report = validation_report.ValidationReport(limits, classes, max_listed=max_listed)
  report.add_general(shard_checks.check_shards(files))

  num_bytes = sum(tf.io.gfile.stat(path).length for path in files)
  progress = progress_lines.Progress("records: checking MiB", num_bytes // _MIB, _LOGGER.info)
  passed = 0

  def step(count: int) -> None:
    nonlocal passed
    progress.step((passed + count) // _MIB - passed // _MIB)
    passed += count

  num_records = {}
  for inspected in image_inspection.inspect_records(
    files,
    classes,
    limits,
    num_sampled=num_sampled,
    num_threads=num_threads,
    num_records=num_records,
    step=step,
  ):
    report.add_image(inspected)
  report.add_general(shard_checks.check_manifests(num_records, classes))
  if not num_sampled:
    report.add_general(report.statistics.findings(faults.listing([str(input_path)])))
  return report


def validate_split(
  source: split_source.SplitSource,
  limits: checks.Limits,
  *,
  num_sampled: int = 0,
  num_threads: int = 1,
  max_listed: int = 1000,
  rules: annotated.BoxRules = annotated.DEFAULT_RULES,
) -> validation_report.ValidationReport:
  """Validates a split that is not converted yet.

  Args:
    source: the split; can be pickled. Classes that it lacks are collected from all its images.
    limits, num_sampled, num_threads, max_listed: see `validate_records`.
    rules: for boxes that are not as they should be.
  """
  if source.classes is None:
    names = set()
    progress = progress_lines.Progress(
      f"{source.split}: reading annotations", len(source), _LOGGER.info
    )
    for position in range(len(source)):
      names.update(source.class_names(position))
      progress.step()
    source = split_source.collect_classes(names, source)
  report = validation_report.ValidationReport(limits, source.classes, max_listed=max_listed)
  report.add_general(image_inspection.finding_of_fault(fault, None) for fault in source.faults)
  report.add_general(map(image_inspection.finding_of_remark, split_source.remarks(source)))
  number = min(num_sampled or len(source), len(source))
  progress = progress_lines.Progress(f"{source.split}: checking images", number, _LOGGER.info)
  for inspected in image_inspection.inspect_split(
    source, limits, num_sampled=num_sampled, num_threads=num_threads, rules=rules
  ):
    report.add_image(inspected)
    progress.step()
  if not num_sampled:
    report.add_general(report.statistics.findings(source.split))
  return report


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = validate_flags.parser()
  flags = parser.parse_args(argv)
  terminal.set_up()
  given = [name for name in _SOURCES if getattr(flags, name) is not None]
  if len(given) != 1:
    parser.error(f"one of {', '.join(f'--{name}' for name in _SOURCES)} is needed")
  for other in _SOURCES[given[0]]:
    if getattr(flags, other) is None:
      parser.error(f"--{given[0]} needs --{other}")

  try:
    limits = _limits(flags)
    _check_outputs([flags.report, flags.contact_sheet])
    report = _validate(flags, limits)
    source = {name: getattr(flags, name) for name in (*given, *_SOURCES[given[0]])}
    what = ", ".join(source.values())
    if flags.report:
      about = {"source": source}
      pathlib.Path(flags.report).write_text(report.as_json(**about), encoding="ascii")
    if flags.contact_sheet:
      pathlib.Path(flags.contact_sheet).write_bytes(report.html(what))
  except (ValueError, OSError, tf.errors.OpError) as error:
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 2
  for line in report.lines():
    _LOGGER.info(line)
  num_faults, num_warnings = report.num_of(checks.FAULT), report.num_of(checks.WARNING)
  _LOGGER.info(f"{what}: faults {num_faults}, warnings {num_warnings}")
  return 1 if num_faults or (flags.strict and num_warnings) else 0


def _validate(
  flags: argparse.Namespace, limits: checks.Limits
) -> validation_report.ValidationReport:
  options = {
    "num_sampled": flags.sample,
    "num_threads": flags.threads,
    "max_listed": flags.max_listed,
  }
  if flags.records is not None:
    return validate_records(flags.records, limits, label_map_file=flags.label_map, **options)
  with tempfile.TemporaryDirectory() as folder:
    options_of_source = {
      "label_map_file": flags.label_map,
      "index_file": os.path.join(folder, "index"),
    }
    if flags.data_dir is not None:
      options_of_source.update(pascal_voc.source_options(flags))
      source = voc_source.open_split(flags.data_dir, flags.split, **options_of_source)
    else:
      split = flags.split or pathlib.Path(flags.annotations).stem
      source = coco_source.open_split(
        flags.annotations, flags.image_dir, split, **options_of_source
      )
    return validate_split(
      source, limits, rules=annotated.BoxRules(flags.clip_px, flags.ignore_faulty_boxes), **options
    )


def _limits(flags: argparse.Namespace) -> checks.Limits:
  """The limits of the configuration with those that flags set."""
  task = loading.load_experiment(flags.experiment, flags.config_file).task
  # --label_map names the classes here.
  validation.check_task(task.replace(label_map=task.label_map or schema.LABEL_MAP_FILE))
  others = {"min_boxes_per_class": flags.min_boxes_per_class, "duplicate_iou": flags.duplicate_iou}
  try:
    return checks.Limits.of_config(task, getattr(task, flags.data), **others)
  except ValueError as error:
    raise ValueError(f"task.{flags.data}.{error}") from error


def _check_outputs(paths: Iterable[str | None]) -> None:
  """Raises ValueError where a file could not be written after all the work."""
  for path in filter(None, paths):
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
      raise ValueError(
        f"{path}: cannot be written; accepted: a file in a folder that exists and can be written to"
      )


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Decoding needs none, and would reserve its memory.
  sys.exit(main())
