"""Flags of `mtl_ssl_tf.data.validate`."""

import argparse
import contextlib
import os
from collections.abc import Callable

from mtl_ssl_tf import command_line
from mtl_ssl_tf.command_line import conversion
from mtl_ssl_tf.reading import quoting


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.data.validate"),
    description="Tells what is wrong with a data set, and what it is like.",
    allow_abbrev=False,
  )
  data = result.add_argument_group("what to examine")
  data.add_argument(
    "--records",
    action="append",
    help="record files: a path, a pattern or a folder with one split; given repeatedly, pictures"
    " that two splits share are reported too",
  )
  data.add_argument("--data_dir", help=conversion.VOC_FOLDER)
  data.add_argument("--annotations", help="COCO: the JSON file")
  data.add_argument("--image_dir", help="COCO: the folder that its file names start from")
  data.add_argument(
    "--split", action="append", help=f"{conversion.VOC_SPLIT}; given repeatedly, as --records"
  )
  conversion.add_voc_layout(data)
  data.add_argument(
    "--label_map",
    help="text file with one class name a line; default: the one next to the records, if there is"
    " one; the classes found in the split of a PASCAL VOC folder; the categories of a COCO file",
  )
  data.add_argument(
    "--sample", type=_at_least(0), default=0, help="examine so many images only; 0 examines all"
  )
  conversion.add_box_rules(data)
  conversion.add_annotated_classes(data)
  run = result.add_argument_group("the run that the data is for")
  run.add_argument("--experiment", default=command_line.EXPERIMENT, help="a registered experiment")
  run.add_argument(
    "--config_file", action="append", help="YAML file of the experiment; may be given repeatedly"
  )
  run.add_argument(
    "--data",
    choices=("train_data", "validation_data"),
    default="train_data",
    help="whose sizes and ground-truth rows count",
  )
  run.add_argument(
    "--min_boxes_per_class", type=_at_least(0), default=10, help="a class with fewer is reported"
  )
  run.add_argument(
    "--duplicate_iou",
    type=_fraction,
    default=0.95,
    help="two boxes of an image that overlap by this much are taken for one",
  )
  out = result.add_argument_group("what comes out")
  out.add_argument("--report", help="JSON file with all figures and findings")
  out.add_argument("--contact_sheet", help="HTML file that shows the worst images")
  out.add_argument(
    "--max_listed", type=_at_least(0), default=1000, help="findings of a kind listed in --report"
  )
  out.add_argument("--strict", action="store_true", help="warnings too make the exit status 1")
  result.add_argument(
    "--threads",
    type=_at_least(1),
    default=len(os.sched_getaffinity(0)),
    help="images examined at a time",
  )
  return result


def _at_least(lowest: int) -> Callable[[str], int]:
  def whole_number(text: str) -> int:
    with contextlib.suppress(ValueError):
      if int(text) >= lowest:
        return int(text)
    raise argparse.ArgumentTypeError(f"{quoting.shown(text)}; accepted: {lowest} or more")

  return whole_number


def _fraction(text: str) -> float:
  with contextlib.suppress(ValueError):
    if 0.0 < float(text) <= 1.0:
      return float(text)
  raise argparse.ArgumentTypeError(f"{quoting.shown(text)}; accepted: more than 0, at most 1")
