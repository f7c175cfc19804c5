"""Flags of `mtl_ssl_tf.evaluate`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.evaluate"),
    description="Evaluates result files of any detector against a data set's ground truth.",
    allow_abbrev=False,
  )
  result.add_argument(
    "--predictions",
    required=True,
    help="COCO results file (*.json), or file, folder or pattern of comp4_det_<split>_<class>.txt",
  )
  result.add_argument(
    "--ground_truth",
    required=True,
    help="COCO annotation file (*.json), VOC folder, or record files (path, folder or pattern)",
  )
  result.add_argument(
    "--metric",
    nargs="+",
    choices=("voc", "coco"),
    required=True,
    help="which metrics to report",
  )
  result.add_argument(
    "--ids_of",
    help="COCO file that the image and category ids of a COCO results file are those of, or"
    " ground_truth, for ids of the ground truth itself; default: the file of ids next to it",
  )
  result.add_argument("--split", help="of a VOC folder: name of a file in ImageSets/Main")
  result.add_argument(
    "--label_map",
    help="text file with one class name a line: the classes of a VOC folder (default: those in the"
    " split's annotations), or of records without one next to them",
  )
  result.add_argument(
    "--on_error",
    choices=("fail", "skip"),
    default="fail",
    help="on faults in a VOC folder or COCO file: list them and stop, or leave them out",
  )
  result.add_argument(
    "--iou_threshold", type=float, default=0.5, help="of VOC metrics and errors (default: 0.5)"
  )
  result.add_argument(
    "--voc_ap",
    choices=("area", "11point"),
    default="area",
    help="rule of curves and errors; tables have both (default: area)",
  )
  result.add_argument(
    "--inclusive_pixels",
    action="store_true",
    help="VOC metrics and errors: a box includes its last pixel, as the development kit counts",
  )
  result.add_argument(
    "--errors", action="store_true", help="add kinds of error, their costs, and confusions"
  )
  result.add_argument(
    "--score_threshold",
    type=float,
    default=0.5,
    help="smallest score of errors and confusions that are counted (default: 0.5)",
  )
  result.add_argument(
    "--ignore_probably_missing",
    metavar="LIST",
    help="audit.json of audit-labels: the figures once more, with detections on objects that"
    " probably lack a box counted neither way",
  )
  result.add_argument("--output_dir", help="folder for figures and curves as files and pictures")
  result.add_argument(
    "--write_coco_ground_truth", help="write the ground truth to this COCO annotation file too"
  )
  return result
