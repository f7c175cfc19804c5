"""Converts one split of a PASCAL VOC data set to records, after checking every file of it.

  python -m mtl_ssl_tf.data.pascal_voc --data_dir VOCdevkit/VOC2007 --split trainval \\
      --output_dir records

Takes the layouts that labelling tools leave; `docs/data_formats.md` has the command for each. A
data set without `ImageSets/Main` is one split, or is drawn into several with `--split_share`.

All faults are found in one go. With `--on_error=fail` they are listed and nothing is written; with
`skip` the image at fault is left out. Where the fault is one object's alone and its place is known,
the place becomes a region to be ignored, so that no object is taught as background. The same
command continues a conversion that was stopped.

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
from mtl_ssl_tf.data.sources import voc_source, voc_split


def convert_split(
  data_dir: str | os.PathLike[str],
  split: str,
  output_dir: str | os.PathLike[str],
  *,
  shares: voc_split.Shares | None = None,
  missing_annotation: str = "fault",
  runner: worker_pool.Runner | None = None,
  **options: Any,
) -> dict[str, Any]:
  """Writes the records, label map and manifest of one split.

  Args:
    data_dir, split, shares, missing_annotation: see `voc_source.open_split`.
    output_dir: where the files go; those of an earlier conversion of this split are replaced.
    runner: see `conversion.convert`.
    **options: fields of `conversion.Options`.

  Returns:
    The manifest.

  Raises:
    ValueError, OSError, worker_pool.WorkerError: see `conversion.convert`.
  """
  about_source = {"data_dir": str(data_dir)}
  if shares is not None:
    about_source |= {"split_share": dict(shares.shares), "seed": shares.seed}
  if missing_annotation != "fault":
    about_source["missing_annotation"] = missing_annotation
  return conversion.convert(
    functools.partial(
      voc_source.open_split,
      data_dir,
      split,
      shares=shares,
      missing_annotation=missing_annotation,
    ),
    split,
    conversion.Options(output_dir, **options),
    about_source=about_source,
    runner=runner,
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  flags = convert_voc_flags.parser().parse_args(argv)
  return converter_command.run(lambda: convert_split(**arguments(flags)))


def arguments(flags: argparse.Namespace) -> dict[str, Any]:
  """Returns the flags as arguments of `convert_split`."""
  options = converter_command.options(flags) | source_options(flags)
  return {"data_dir": flags.data_dir, "split": flags.split, **options}


def source_options(flags: argparse.Namespace) -> dict[str, Any]:
  """Returns the flags of `command_line.conversion.add_voc_layout` as `open_split` has them."""
  share = flags.split_share
  if share is None and flags.seed:
    raise ValueError(f"--seed is {flags.seed}; accepted: with --split_share alone")
  return {
    "shares": None if share is None else voc_split.Shares.parse(share, flags.seed),
    "missing_annotation": flags.missing_annotation,
  }


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Decoding needs none, and would reserve its memory.
  sys.exit(main())
