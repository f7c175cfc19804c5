"""Flags of `mtl_ssl_tf.data.browse`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.data.browse"),
    description="Shows training images as the network is fed them, with their labels, on a page.",
    allow_abbrev=False,
  )
  add = result.add_argument
  add("--experiment", default=command_line.EXPERIMENT, help="a registered experiment")
  add("--config_file", action="append", help="YAML file of the experiment; may be given repeatedly")
  add("--params_override", help="further fields, as train.py takes them")
  add(
    "--model_dir",
    help="folder of a run: its configuration, where no --config_file is given, and, with Co-mining,"
    " the boxes that its best checkpoint mines",
  )
  add("--checkpoint", help="another checkpoint of the run than its best")
  add("--num_images", type=int, default=24, help="images to show (default: 24)")
  add(
    "--first_batch",
    type=int,
    help="number of the batch to begin with (default: the step of the run's checkpoint, else 0)",
  )
  add("--output", required=True, help="HTML file to write, such as browse.html")
  return result
