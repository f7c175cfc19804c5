"""Flags of `mtl_ssl_tf.visualization.curves`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.visualization.curves"),
    description="Draws the losses and metrics of a training run into one picture.",
    allow_abbrev=False,
  )
  result.add_argument("--model_dir", required=True, help="folder that training wrote to")
  result.add_argument("--output", required=True, help="picture to write, such as curves.png")
  return result
