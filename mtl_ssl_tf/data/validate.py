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
from collections.abc import Mapping, Sequence

import tensorflow as tf

from mtl_ssl_tf import files, terminal
from mtl_ssl_tf.command_line import validate as validate_flags
from mtl_ssl_tf.configs import loading, validation
from mtl_ssl_tf.data import faults, label_map, pascal_voc, progress_lines, schema
from mtl_ssl_tf.data.inspection import (
  checks,
  image_inspection,
  repetitions,
  shard_checks,
  validation_report,
)
from mtl_ssl_tf.data.records import converter_command
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.sources import annotated, coco_source, split_source, voc_source

_LOGGER = logging.getLogger("mtl_ssl_tf.data.validate")  # `__name__` is `__main__` in `python -m`.
_MIB = 2**20
# By which an earlier report, or sheet, is known.
_OF_REPORT, _OF_SHEET = b'"num_unusable_images":', b"<h2>Worst images</h2>"
_NUM_SHOWN = 12
_ANCHOR_CURE = "mtl-ssl suggest writes a configuration with anchors that fit"
# Flag that names the data -> the flags that it needs.
_SOURCES = {"records": (), "data_dir": ("split",), "annotations": ("image_dir",)}
# Flag -> the sources that it is about.
_USED_WITH = {
  "split": ("data_dir", "annotations"),
  "image_dir": ("annotations",),
  "split_share": ("data_dir",),
  "seed": ("data_dir",),
  "missing_annotation": ("data_dir",),
  "clip_px": ("data_dir", "annotations"),
  "ignore_faulty_boxes": ("data_dir", "annotations"),
  "annotated_classes": ("data_dir", "annotations"),
}


def validate_records(
  input_path: str | Sequence[str],
  limits: checks.Limits,
  *,
  label_map_file: str | os.PathLike[str] | None = None,
  num_sampled: int = 0,
  num_threads: int = 1,
  max_listed: int = 1000,
  num_shown: int = 0,
  more: Sequence[str] = (),
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
    num_shown: images at random that the contact sheet shows.
    more: further record files of the kind of `input_path`, whose images may have the same names.
      Pictures that two splits share are found in any case.

  Raises:
    ValueError: there are no such files, or the label map is faulty.
  """
  sets = [record_paths.match_files(path) for path in (input_path, *more)]
  record_files = [file for of_set in sets for file in of_set]
  found = os.path.join(os.path.dirname(record_files[0]), schema.LABEL_MAP_FILE)
  if label_map_file is None and os.path.exists(found):
    label_map_file = found
  classes = None if label_map_file is None else label_map.read_label_map(label_map_file)
  report = validation_report.ValidationReport(
    limits, classes, max_listed=max_listed, num_sampled=num_shown
  )
  report.add_general(shard_checks.check_shards(record_files))

  num_bytes = sum(tf.io.gfile.stat(path).length for path in record_files)
  progress = progress_lines.Progress("records: checking MiB", num_bytes // _MIB, _LOGGER.info)
  passed = 0

  def step(count: int) -> None:
    nonlocal passed
    progress.step((passed + count) // _MIB - passed // _MIB)
    passed += count

  num_records, seen = {}, repetitions.Repetitions()
  for of_set in sets:
    for inspected in image_inspection.inspect_records(
      of_set,
      classes,
      limits,
      num_sampled=num_sampled,
      num_threads=num_threads,
      num_records=num_records,
      step=step,
      seen=seen,
    ):
      report.add_image(inspected)
  report.add_general(seen.shared_pictures())
  report.add_general(shard_checks.check_manifests(num_records, classes))
  if not num_sampled:
    names = faults.listing([*map(str, (input_path, *more))])
    report.add_general(report.statistics.findings(names))
  return report


def validate_splits(
  sources: Sequence[split_source.SplitSource],
  limits: checks.Limits,
  *,
  num_sampled: int = 0,
  num_threads: int = 1,
  max_listed: int = 1000,
  num_shown: int = 0,
  rules: annotated.BoxRules = annotated.DEFAULT_RULES,
) -> validation_report.ValidationReport:
  """Validates splits of a data set that are not converted yet.

  Args:
    sources: the splits; can be pickled. Classes that they lack are collected from all images.
    limits, num_sampled, num_threads, max_listed, num_shown: see `validate_records`.
    rules: for boxes that are not as they should be.

  Raises:
    ValueError: an annotated class is none of the splits'.
  """
  sources = _with_classes(sources)
  rules.check_classes(sources[0].classes, sources[0].origin)
  report = validation_report.ValidationReport(
    limits, sources[0].classes, max_listed=max_listed, num_sampled=num_shown
  )
  seen = repetitions.Repetitions()
  for source in sources:
    report.add_general(image_inspection.finding_of_fault(fault, None) for fault in source.faults)
    report.add_general(map(image_inspection.finding_of_remark, split_source.remarks(source)))
    number = min(num_sampled or len(source), len(source))
    progress = progress_lines.Progress(f"{source.split}: checking images", number, _LOGGER.info)
    for inspected in image_inspection.inspect_split(
      source, limits, num_sampled=num_sampled, num_threads=num_threads, rules=rules, seen=seen
    ):
      report.add_image(inspected)
      progress.step()
  report.add_general(seen.shared_pictures())
  if not num_sampled:
    report.add_general(report.statistics.findings(", ".join(source.split for source in sources)))
  return report


def _with_classes(
  sources: Sequence[split_source.SplitSource],
) -> Sequence[split_source.SplitSource]:
  """The splits with the classes of all their annotations, where they have none of their own."""
  if all(source.classes is not None for source in sources):
    return sources
  names = set()
  for source in sources:
    progress = progress_lines.Progress(
      f"{source.split}: reading annotations", len(source), _LOGGER.info
    )
    for position in range(len(source)):
      names.update(source.class_names(position))
      progress.step()
  return [split_source.collect_classes(names, source) for source in sources]


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = validate_flags.parser()
  flags = parser.parse_args(argv)
  terminal.set_up()
  given = _given(parser, flags)
  try:
    limits = _limits(flags)
    judged_by = _judged_by(flags, limits)
    _check_outputs({flags.report: _OF_REPORT, flags.contact_sheet: _OF_SHEET})
    report = _validate(flags, limits)
    report.add_general(report.statistics.anchor_findings("anchors", _ANCHOR_CURE))
    source = {name: getattr(flags, name) for name in (given, *_SOURCES[given])}
    what = ", ".join(faults.listing(_as_list(value)) for value in source.values())
    if flags.report:
      one = {name: _as_list(value) for name, value in source.items()}
      about = {
        "source": {name: v[0] if len(v) == 1 else v for name, v in one.items()},
        "judged_by": judged_by,
      }
      files.write_text(flags.report, report.as_json(**about))
    if flags.contact_sheet:
      files.write_bytes(flags.contact_sheet, report.html(what, judged_by))
  except (ValueError, OSError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 2
  for line in (*report.lines(), judged_by):
    _LOGGER.info(line)
  num_faults, num_warnings = report.num_of(checks.FAULT), report.num_of(checks.WARNING)
  _LOGGER.info(f"{what}: faults {num_faults}, warnings {num_warnings}")
  return 1 if num_faults or (flags.strict and num_warnings) else 0


def _given(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> str:
  """The flag that names the data; ends the program where flags do not go together."""
  given = [name for name in _SOURCES if getattr(flags, name) is not None]
  if len(given) != 1:
    parser.error(f"one of {', '.join(f'--{name}' for name in _SOURCES)} is needed")
  for other in _SOURCES[given[0]]:
    if getattr(flags, other) is None:
      parser.error(f"--{given[0]} needs --{other}")
  for name, sources in _USED_WITH.items():
    if given[0] not in sources and getattr(flags, name) != parser.get_default(name):
      accepted = " or ".join(f"--{source}" for source in sources)
      parser.error(f"--{name} has no use with --{given[0]}; accepted with {accepted}")
  if flags.annotations is not None and len(flags.split or ()) > 1:
    parser.error("--split is given more than once; accepted with --annotations: once")
  return given[0]


def _as_list(value: str | list[str]) -> list[str]:
  return [value] if isinstance(value, str) else value


def _validate(
  flags: argparse.Namespace, limits: checks.Limits
) -> validation_report.ValidationReport:
  options = {
    "num_sampled": flags.sample,
    "num_threads": flags.threads,
    "max_listed": flags.max_listed,
    "num_shown": _NUM_SHOWN if flags.contact_sheet else 0,
  }
  if flags.records is not None:
    first, *more = flags.records
    return validate_records(first, limits, label_map_file=flags.label_map, more=more, **options)
  with tempfile.TemporaryDirectory() as folder:
    sources = _open_splits(flags, folder)
    rules = annotated.BoxRules(
      flags.clip_px, flags.ignore_faulty_boxes, converter_command.annotated_classes(flags)
    )
    return validate_splits(sources, limits, rules=rules, **options)


def _open_splits(flags: argparse.Namespace, folder: str) -> list[split_source.SplitSource]:
  """The splits that flags name, with their indexes in a folder."""
  options = {"label_map_file": flags.label_map}
  if flags.data_dir is None:
    split = (flags.split or [pathlib.Path(flags.annotations).stem])[0]
    index_file = os.path.join(folder, "index")
    return [
      coco_source.open_split(
        flags.annotations, flags.image_dir, split, index_file=index_file, **options
      )
    ]
  options |= pascal_voc.source_options(flags)
  return [
    voc_source.open_split(
      flags.data_dir, split, index_file=os.path.join(folder, f"index{number}"), **options
    )
    for number, split in enumerate(flags.split)
  ]


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


def _check_outputs(marks: Mapping[str | None, bytes]) -> None:
  """Raises ValueError where a file could not be written after all the work, or is another's.

  Args:
    marks: path -> what an earlier report or sheet holds, such as may be replaced.
  """
  for path, mark in marks.items():
    if path is None:
      continue
    files.check_output(path)
    if os.path.lexists(path) and mark not in _content(path):
      raise ValueError(
        f"{path}: is there already, and was not written by this command; accepted: a new file or an"
        " earlier one of this command"
      )


def _content(path: str) -> bytes:
  """The bytes of a file; none of what is no file."""
  return pathlib.Path(path).read_bytes() if os.path.isfile(path) else b""


def _judged_by(flags: argparse.Namespace, limits: checks.Limits) -> str:
  """Says which network the data are compared with, and where that is from."""
  if flags.config_file:
    return f"judged by {flags.data} of {', '.join(flags.config_file)}: {limits}"
  return f"judged by the defaults of {flags.experiment}, as no --config_file is given: {limits}"


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Decoding needs none, and would reserve its memory.
  sys.exit(main())
