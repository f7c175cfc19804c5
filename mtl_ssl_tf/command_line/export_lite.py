"""Flags of `mtl_ssl_tf.serving.lite`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.serving.lite"),
    description="Writes a run's best checkpoint as a TensorFlow Lite file.",
    allow_abbrev=False,
  )
  result.add_argument("--model_dir", required=True, help="folder of the run")
  result.add_argument("--output", required=True, help="file to write")
  result.add_argument("--checkpoint", help="another checkpoint than the run's best")
  result.add_argument(
    "--verify_images",
    type=int,
    default=20,
    help="compare on so many images, 0 for none (default: 20)",
  )
  return result
