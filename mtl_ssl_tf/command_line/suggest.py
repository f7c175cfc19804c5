"""Flags of `mtl_ssl_tf.suggest`."""

import argparse

from mtl_ssl_tf import command_line

# The first two are the default, with and without pretrained weights.
PRESETS = ("small_data_fpn", "from_scratch_fpn", "small_data", "from_scratch")


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.suggest"),
    description="Writes the configuration of a training that suits the data, with reasons.",
    allow_abbrev=False,
  )
  add = result.add_argument
  add("--records", required=True, help="training records: a path, a pattern or a folder")
  add("--validation_records", required=True, help="validation records")
  add("--output", required=True, help="YAML file to write")
  add(
    "--preset",
    choices=PRESETS,
    help="what the file starts from (default: small_data_fpn where its ImageNet weights are"
    " installed, else from_scratch_fpn)",
  )
  add("--presets_dir", help="folder of the presets (default: configs/presets of the clone)")
  add(
    "--largest_side",
    type=int,
    default=512,
    help="long side of the network's input at most, pixels (default: 512, for CPUs)",
  )
  add("--batch_size", type=int, default=4, help="images of a step (default: 4)")
  add(
    "--budget_minutes",
    type=float,
    help="choose the steps that fill so many minutes on this machine, which some steps measure",
  )
  add("--overwrite", action="store_true", help="replace an existing file")
  return result
