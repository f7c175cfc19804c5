"""Converts a COCO file with its images to records, after checking every entry and image of it.

  python -m mtl_ssl_tf.data.coco_json --annotations annotations/instances_train2017.json \\
      --image_dir train2017 --split train --output_dir records

Takes any JSON file of that form: COCO's instances, what labelling tools export, and lists of images
without annotations, as of COCO's test sets. Boxes of crowds are kept and marked, areas are the
file's own; a polygon gives the box where there is none, other segmentations are passed over. Ids
are compared as text; where annotation ids are missing or repeat, places in the file take over.

All faults are found in one go. With `--on_error=fail` they are listed and nothing is written; with
`skip` the image at fault is left out. Where the fault is one object's alone and its place is known,
the place becomes a region to be ignored, so that no object is taught as background. The same
command continues a conversion that was stopped.

Without `--label_map` the classes are those of a label map that `output_dir` already holds, from
another split, or else the file's categories, used or not, in the order of their ids. The manifest's
`category_ids` leads from class names back to the ids.
"""

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_ssl_tf.command_line import convert_coco as convert_coco_flags
from mtl_ssl_tf.data.records import conversion, converter_command, worker_pool
from mtl_ssl_tf.data.sources import coco_source


def convert_split(
  annotations: str | os.PathLike[str],
  image_dir: str | os.PathLike[str],
  split: str,
  output_dir: str | os.PathLike[str],
  *,
  runner: worker_pool.Runner | None = None,
  **options: Any,
) -> dict[str, Any]:
  """Writes the records, label map and manifest of one split.

  Args:
    annotations: the COCO file.
    image_dir: the folder that its file names start from.
    split: name of the split.
    output_dir: where the files go; those of an earlier conversion of this split are replaced.
    runner: see `conversion.convert`.
    **options: fields of `conversion.Options`.

  Returns:
    The manifest.

  Raises:
    ValueError, OSError, worker_pool.WorkerError: see `conversion.convert`.
  """
  return conversion.convert(
    functools.partial(coco_source.open_split, annotations, image_dir, split),
    split,
    conversion.Options(output_dir, **options),
    about_source={"annotations": str(annotations), "image_dir": str(image_dir)},
    runner=runner,
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = convert_coco_flags.parser().parse_args(argv)
  return converter_command.run(lambda: convert_split(**arguments(flags)))


def arguments(flags: argparse.Namespace) -> dict[str, Any]:
  """Returns the flags as arguments of `convert_split`."""
  return {
    "annotations": flags.annotations,
    "image_dir": flags.image_dir,
    "split": flags.split,
    **converter_command.options(flags),
  }


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Decoding needs none, and would reserve its memory.
  sys.exit(main())
