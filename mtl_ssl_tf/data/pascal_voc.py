"""Converts one split of a PASCAL VOC data set to records, after checking every file of it.

  python -m mtl_ssl_tf.data.pascal_voc --data_dir VOCdevkit/VOC2007 --split trainval \\
      --output_dir records

All faults are found in one go. With `--on_error=fail` they are listed and nothing is written; with
`skip` the object at fault is left out, or the image where the fault is not one object's alone. The
same command continues a conversion that was stopped.

Without `--label_map` the classes are those of a label map that `output_dir` already holds, from
another split, or else the ones found in this split, in alphabetical order.
"""

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_ssl_tf.command_line import convert_voc as convert_voc_flags
from mtl_ssl_tf.data.records import conversion, converter_command, worker_pool
from mtl_ssl_tf.data.sources import voc_source


def convert_split(
  data_dir: str | os.PathLike[str],
  split: str,
  output_dir: str | os.PathLike[str],
  *,
  runner: worker_pool.Runner | None = None,
  **options: Any,
) -> dict[str, Any]:
  """Writes the records, label map and manifest of one split.

  Args:
    data_dir: folder with `Annotations`, `JPEGImages` and `ImageSets/Main`.
    split: name of a file in `ImageSets/Main`, without extension.
    output_dir: where the files go; those of an earlier conversion of this split are replaced.
    runner: see `conversion.convert`.
    **options: fields of `conversion.Options`.

  Returns:
    The manifest.

  Raises:
    ValueError, OSError, worker_pool.WorkerError: see `conversion.convert`.
  """
  return conversion.convert(
    functools.partial(voc_source.open_split, data_dir, split),
    split,
    conversion.Options(output_dir, **options),
    about_source={"data_dir": str(data_dir)},
    runner=runner,
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = convert_voc_flags.parser().parse_args(argv)
  return converter_command.run(lambda: convert_split(**arguments(flags)))


def arguments(flags: argparse.Namespace) -> dict[str, Any]:
  """Returns the flags as arguments of `convert_split`."""
  options = converter_command.options(flags)
  return {"data_dir": flags.data_dir, "split": flags.split, **options}


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Decoding needs none, and would reserve its memory.
  sys.exit(main())
