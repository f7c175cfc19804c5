"""Flags of `mtl_ssl_tf.audit_labels`."""

import argparse
import os

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.audit_labels"),
    description="Lists objects that annotations probably lack, and boxes that are probably wrong.",
    allow_abbrev=False,
  )
  add = result.add_argument
  add(
    "--data",
    required=True,
    help="record files (path, folder or pattern), VOC folder, or COCO file (*.json)",
  )
  add("--split", help="of a VOC folder, as the converter takes it")
  add("--image_dir", help="folder that the file names of a COCO file start from")
  add("--label_map", help="text file with one class name a line (default: as the converters do)")
  add(
    "--on_error",
    choices=("fail", "skip"),
    default="fail",
    help="on faults in a VOC folder or COCO file: list them and stop, or leave them out",
  )
  add("--output_dir", required=True, help="folder of list and page; the same command resumes")
  source = result.add_mutually_exclusive_group()
  source.add_argument("--model_dir", help="folder of a run, whose best checkpoint detects")
  source.add_argument(
    "--predictions", help="detections of any detector: COCO results (*.json) or comp4 files"
  )
  source.add_argument(
    "--folds",
    type=int,
    metavar="K",
    help="train K detectors, each on all images but the part that it detects in",
  )
  source.add_argument(
    "--accept",
    metavar="DECISIONS",
    help="write corrected annotations with the candidates that a file of decisions accepts",
  )
  add("--checkpoint", help="of --model_dir, another one than its best")
  add("--ids_of", help="of --predictions: as evaluate takes it")
  add("--config_file", nargs="+", default=[], help="of --folds: configuration, later files win")
  add("--params_override", default="", help="of --folds: fields over the configuration")
  add("--experiment", default=command_line.EXPERIMENT, help="of --folds: what to train")
  add("--init", default="", help="of --folds: start weights, as --init of training takes them")
  add("--steps", type=int, help="of --folds: training steps (default: of the configuration)")
  add("--seed", type=int, default=0, help="of --folds: of drawing and training (default: 0)")
  processors = sorted(os.sched_getaffinity(0))
  add(
    "--jobs",
    type=int,
    choices=range(1, len(processors) + 1),
    default=len(processors),
    help="of --folds: trainings at a time, each on a processor (default: as many as there are)",
  )
  add(
    "--num_shown",
    type=int,
    default=200,
    help="candidates on the page and in the files for labelling tools (default: 200)",
  )
  add("--num_listed", type=int, default=5000, help="candidates in the list (default: 5000)")
  add(
    "--image_url",
    default="/data/local-files/?d=",
    help="what Label Studio finds images by: put before their names",
  )
  add(
    "--format",
    choices=("voc", "coco"),
    help="of --accept: of the corrected annotations (default: as --data; of records, coco)",
  )
  return result
