"""Flags of `mtl_ssl_tf.predict`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.predict"),
    description="Detects objects in image and video files.",
    epilog="Exit status: 0 done, 1 error or no results, 2 wrong flags, 130 Ctrl-C.",
    allow_abbrev=False,
  )
  model = result.add_mutually_exclusive_group(required=True)
  model.add_argument("--saved_model", help="folder that export.py wrote")
  model.add_argument("--model_dir", help="folder of a training run; its best checkpoint is taken")
  result.add_argument("--checkpoint", help="another checkpoint of the run than its best")
  result.add_argument(
    "--input", required=True, nargs="+", help="image and video files, folders and patterns"
  )
  result.add_argument("--input_list", help="file with names to choose from the input")
  result.add_argument("--output_dir", required=True, help="where the results go")
  result.add_argument(
    "--outputs",
    nargs="+",
    choices=("drawn", "dataset", "results", "voc"),
    default=["drawn", "dataset"],
    help="what to write: drawn images and videos, a COCO data set, COCO results, PASCAL VOC"
    " annotations (default: drawn dataset)",
  )
  result.add_argument(
    "--score_threshold",
    type=float,
    help="leave out what scores less (default: the export's own of each class, or else 0.5)",
  )
  result.add_argument(
    "--draw_threshold",
    type=float,
    help="draw what scores as much or more, whatever the other results hold (default: that of"
    " --score_threshold)",
  )
  result.add_argument(
    "--coco_annotations", help="file whose ids of images, by name, and of classes are to be used"
  )
  result.add_argument(
    "--batch_size",
    type=int,
    default=4,
    help="images or frames that are processed together (default: 4)",
  )
  result.add_argument(
    "--every", type=int, default=1, help="examine every so many frames of a video (default: 1)"
  )
  result.add_argument(
    "--overwrite", action="store_true", help="start again, whatever an earlier start has finished"
  )
  return result
