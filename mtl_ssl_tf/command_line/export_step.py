"""Flags of `mtl_ssl_tf.export_step`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.export_step"),
    description="Writes the compiled step as a program that runs without TensorFlow.",
    allow_abbrev=False,
  )
  result.add_argument(
    "--format", choices=("stablehlo",), default="stablehlo", help="of the program"
  )
  result.add_argument(
    "--step", choices=("training", "inference"), default="training", help="which step"
  )
  result.add_argument(
    "--experiment", default=command_line.EXPERIMENT, help="a registered experiment"
  )
  result.add_argument(
    "--config_file", action="append", help="YAML file of the experiment; may be given repeatedly"
  )
  result.add_argument("--params_override", help="further fields, as train.py takes them")
  result.add_argument("--output_dir", required=True, help="folder that is new or empty")
  result.add_argument(
    "--batch_size", type=int, help="images (default: task.train_data.global_batch_size)"
  )
  result.add_argument(
    "--checkpoint", help="of a run, such as runs/NAME/ckpt-1000 (default: what a run starts from)"
  )
  result.add_argument(
    "--inputs",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="write a batch and the weights too; with --no-inputs, the program alone",
  )
  result.add_argument(
    "--expected",
    action="store_true",
    help="take the step here and write what came out to names.json, for comparison",
  )
  return result
