"""Flags that the converters share."""

import argparse


def add_voc(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say where a PASCAL VOC data set is."""
  parser.add_argument(
    "--data_dir", required=True, help="folder with Annotations, JPEGImages and ImageSets/Main"
  )
  parser.add_argument("--split", required=True, help="name of a file in ImageSets/Main")


def add_coco(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say where a COCO data set is."""
  parser.add_argument("--annotations", required=True, help="the COCO file")
  parser.add_argument("--image_dir", required=True, help="folder that its file names start from")
  parser.add_argument("--split", required=True, help="what the split is to be called, as in train")


def add_common(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that every converter has; `converter_command.options` reads them."""
  parser.add_argument("--output_dir", required=True, help="where records and manifest go")
  parser.add_argument(
    "--label_map",
    help="text file with one class name a line; default: the one in --output_dir, if there is one,"
    " else the classes that the data set has",
  )
  parser.add_argument(
    "--on_error",
    choices=("fail", "skip"),
    default="fail",
    help="on faults in the data: list them and write nothing, or leave out what is at fault",
  )
  parser.add_argument(
    "--num_shards",
    type=int,
    help="number of record files; default: one for 512 images, at least 4, at most 1024",
  )
  parser.add_argument(
    "--workers",
    type=int,
    help="number of processes; default: one for each core, if each has 2000 images to convert",
  )
