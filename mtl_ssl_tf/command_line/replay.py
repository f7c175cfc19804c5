"""Flags of `mtl_ssl_tf.tasks.replay`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.tasks.replay"),
    description="Repeats the step that a run left in nonfinite-STEP: the same weights, batch and"
    " configuration. Prints every loss and the gradients that are not finite.",
    allow_abbrev=False,
  )
  result.add_argument("folder", help="the folder that the run's message names")
  return result
