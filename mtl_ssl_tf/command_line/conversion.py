"""Flags that the converters share."""

import argparse

VOC_FOLDER = (
  "PASCAL VOC: folder with Annotations, JPEGImages or images, and, for lists of names,"
  " ImageSets/Main, or one with images and their XML files together"
)
VOC_SPLIT = (
  "PASCAL VOC: name of a file in ImageSets/Main, of a folder, as Roboflow leaves them, or, without"
  " either, any name"
)


def add_voc(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say where a PASCAL VOC data set is."""
  parser.add_argument("--data_dir", required=True, help=VOC_FOLDER)
  parser.add_argument("--split", required=True, help=VOC_SPLIT)
  add_voc_layout(parser)


def add_voc_layout(parser: argparse._ActionsContainer) -> None:
  """Adds the flags for PASCAL VOC data sets that lack lists or annotations."""
  parser.add_argument(
    "--split_share",
    help="without ImageSets/Main: splits that all images are drawn into by a hash of the name, as"
    " in train=0.8,val=0.2; default: all images are the split",
  )
  parser.add_argument("--seed", type=int, default=0, help="another one gives another draw")
  parser.add_argument(
    "--missing_annotation",
    choices=("fault", "background"),
    default="fault",
    help="whether an image without an XML file is at fault or has no object; default: fault",
  )


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


def add_annotated_classes(parser: argparse._ActionsContainer) -> None:
  """Adds the flag that says which classes a source is annotated for."""
  parser.add_argument(
    "--annotated_classes",
    metavar="CLASS,CLASS",
    help="the only classes whose objects are all annotated; objects of others may be there without"
    " a box and are not taught as background; default: all classes. The field annotated_classes of"
    " an image of a COCO file goes before",
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
  add_annotated_classes(parser)
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
