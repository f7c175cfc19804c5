"""Flags of `mtl_ssl_tf.preflight`."""

import argparse

from mtl_ssl_tf import command_line
from mtl_ssl_tf.compilation import accelerators


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.preflight"),
    description="Tells without an accelerator whether a training run would compile and fit on it.",
    allow_abbrev=False,
  )
  result.add_argument(
    "--experiment", default=command_line.EXPERIMENT, help="a registered experiment"
  )
  result.add_argument(
    "--config_file", action="append", help="YAML file of the experiment; may be given repeatedly"
  )
  result.add_argument("--params_override", help="further fields, as train.py takes them")
  result.add_argument("--accelerator", required=True, help=accelerators.accepted())
  result.add_argument(
    "--num_batches",
    type=int,
    default=50,
    help="batches of the run's records whose shapes are compared (default: 50)",
  )
  result.add_argument(
    "--margin",
    type=float,
    default=0.1,
    help="share of a core's memory that is to stay free (default: 0.1)",
  )
  result.add_argument(
    "--largest_batch",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="search for the largest batch that fits, with up to five more compilations",
  )
  result.add_argument("--json", help="file that takes all figures and findings")
  return result
