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


def add_box_rules(parser: argparse._ActionsContainer) -> None:
  """Adds the flags that say what becomes of boxes that are not as they should be."""
  parser.add_argument(
    "--clip_px",
    type=float,
    help="pixels that a box may stick out of the image and is cut; further out is a fault; default:"
    " 3, or 1 %% of the side where that is more",
  )
  parser.add_argument(
    "--ignore_faulty_boxes",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="keep the place of a faulty object, where it is known, as a region to be ignored; without"
    " it, the whole image is left out",
  )


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
  add_box_rules(parser)
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
