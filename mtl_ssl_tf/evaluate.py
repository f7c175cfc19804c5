"""Evaluates any detector's result files, without a model.

  python -m mtl_ssl_tf.evaluate --predictions results.json --ground_truth instances_val2017.json \\
      --metric coco --output_dir evaluation
  python -m mtl_ssl_tf.evaluate --predictions results_folder --ground_truth VOCdevkit/VOC2007 \\
      --split test --metric voc --voc_ap 11point --inclusive_pixels

Predictions are a COCO results file or VOC's comp4 files (`data/ground_truth/detection_files.py`),
ground truth is a COCO annotation file, a VOC folder or record files
(`data/ground_truth/truth_readers.py`). Tables are printed; `--output_dir` takes figures, curves,
errors and confusions as files and pictures. With `--ignore_probably_missing` and the list of
`audit_labels` there are the figures once more, with detections on listed places counted neither
way.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from mtl_ssl_tf import terminal, written_files
from mtl_ssl_tf.auditing import ignoring
from mtl_ssl_tf.command_line import evaluate as evaluate_flags
from mtl_ssl_tf.data import faults, progress_lines
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files, truth_readers
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.evaluation import detection_metrics
from mtl_ssl_tf.visualization import evaluation_report

_LOGGER = logging.getLogger("mtl_ssl_tf.evaluate")  # `__name__` is `__main__` in `python -m`.


def evaluate(
  truth: ground_truth.GroundTruth,
  predictions: Sequence[detection_files.Detections],
  metrics: detection_metrics.DetectionMetrics,
) -> dict[str, float]:
  """Returns the figures of detections by name.

  Args:
    truth: ground truth.
    predictions: detections in each of its images, in its order.
    metrics: takes them; what it held before counts too.
  """
  progress_line = progress_lines.Progress("evaluating images", len(truth.images), _LOGGER.info)
  for image, image_id, found in zip(truth.images, truth.coco_image_ids, predictions, strict=True):
    metrics.update(image_id=image_id, **detection_files.metric_arguments(image, found))
    progress_line.step()
  return metrics.result()


def run(args: argparse.Namespace) -> None:
  """Evaluates as the command line says, and prints the tables.

  Raises:
    ValueError: an argument or a file is not acceptable.
    OSError: a file cannot be read or written.
  """
  for flag in ("iou_threshold", "score_threshold"):
    value = getattr(args, flag)
    if not 0.0 <= value <= 1.0 or (flag == "iou_threshold" and value == 0.0):
      accepted = "above 0, at most 1" if flag == "iou_threshold" else "0 to 1"
      raise ValueError(f"--{flag} is {value}; accepted: {accepted}")
  written, names = None, evaluation_report.file_names(args.errors)
  if args.ignore_probably_missing:
    names = [*names, evaluation_report.IGNORING_FILE]
  if args.output_dir:
    written = written_files.WrittenFiles(args.output_dir, "evaluate")
    written.check(names)
  _check_target(args)
  start = time.monotonic()
  truth = truth_readers.read(
    args.ground_truth,
    split=args.split,
    label_map_file=args.label_map,
    on_error=args.on_error,
  )
  predictions = detection_files.read_predictions(args.predictions, truth, args.ids_of)
  num_objects = sum(len(image.classes) for image in truth.images)
  _check_objects(truth)
  num_found = sum(len(found.classes) for found in predictions)
  without = sum(not len(found.classes) for found in predictions)
  _LOGGER.info(
    f"{truth.source}: {len(truth.images)} images, {num_objects} objects,"
    f" {len(truth.class_names)} classes; {args.predictions}: {num_found} detections,"
    f" none in {without} images; read in {time.monotonic() - start:.1f} s"
  )
  if args.write_coco_ground_truth:
    coco_truth.write_coco(truth, args.write_coco_ground_truth)
    _LOGGER.info(f"{args.write_coco_ground_truth}: the ground truth as a COCO annotation file")
  without = None  # Before any work, so that a wrong file is reported at once.
  if args.ignore_probably_missing:
    without = ignoring.with_places(truth, args.ignore_probably_missing)
  metrics = _metrics(args, truth)
  figures = evaluate(truth, predictions, metrics)
  terminal.show(metrics.tables())
  if args.errors:
    terminal.show("\n" + "\n".join(metrics.words()))
  if without is not None:
    figures_without = _show_without(args, *without, predictions)
  if written is not None:
    with written.replacing_all(names):
      evaluation_report.write_report(args.output_dir, figures, metrics.details())
      if without is not None:
        evaluation_report.write_figures(
          args.output_dir, figures_without, evaluation_report.IGNORING_FILE
        )
    _LOGGER.info(f"{args.output_dir}: {', '.join(names)}")


def _metrics(
  args: argparse.Namespace, truth: ground_truth.GroundTruth
) -> detection_metrics.DetectionMetrics:
  return detection_metrics.DetectionMetrics(
    truth.class_names,
    list(dict.fromkeys(args.metric)),
    iou_threshold=args.iou_threshold,
    ap_rule=args.voc_ap,
    inclusive_pixels=args.inclusive_pixels,
    errors=args.errors,
    score_threshold=args.score_threshold,
  )


def _show_without(
  args: argparse.Namespace,
  truth: ground_truth.GroundTruth,
  num_places: int,
  predictions: Sequence[detection_files.Detections],
) -> dict[str, float]:
  """Prints the tables with places of probably missing objects; returns the figures."""
  metrics = _metrics(args, truth)
  figures = evaluate(truth, predictions, metrics)
  terminal.show(
    f"\nThe same, with detections on {num_places} probably missing objects counted neither way\n"
  )
  terminal.show(metrics.tables())
  return figures


def _check_target(args: argparse.Namespace) -> None:
  """Raises a ValueError where the command would write over what it reads."""
  target = args.write_coco_ground_truth
  flags = ("predictions", "ground_truth", "ids_of", "label_map", "ignore_probably_missing")
  for flag in flags:
    if target and os.path.realpath(target) == os.path.realpath(getattr(args, flag) or os.devnull):
      raise ValueError(f"--write_coco_ground_truth {target!r} is --{flag}; accepted: another file")


def _check_objects(truth: ground_truth.GroundTruth) -> None:
  """Raises a ValueError where there is nothing to measure; warns of classes without an object."""
  counts = np.zeros(len(truth.class_names) + 1, np.int64)
  for image in truth.images:
    counts += np.bincount(image.classes, minlength=len(counts))
  if not counts.sum():
    raise ValueError(
      f"--ground_truth {truth.source}: no object in {len(truth.images)} images; accepted: at least"
      " one, as there is nothing to measure"
    )
  without = [name for name, count in zip(truth.class_names, counts[1:], strict=True) if not count]
  if without:
    _LOGGER.warning(
      f"{truth.source}: classes without an object: {faults.listing(without)}"
      f" ({len(without)} of {len(truth.class_names)})"
    )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = evaluate_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    run(args)
  except faults.FaultError as error:
    terminal.show(f"{error}\nerror: faults: {len(error.faults)}; nothing was evaluated", sys.stderr)
    return 1
  except (ValueError, OSError) as error:
    terminal.show_error(error)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
