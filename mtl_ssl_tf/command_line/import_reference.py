"""Flags of `mtl_ssl_tf.checkpoints.import_reference`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.checkpoints.import_reference"),
    description="Turns a released MTL-SSL checkpoint into a run to evaluate and export.",
    allow_abbrev=False,
  )
  result.add_argument(
    "--config_file",
    action="append",
    required=True,
    help="YAML of the detector; once more for an overlay, such as configs/overlays/released.yaml",
  )
  result.add_argument("--checkpoint", required=True, help="path without ending, or a folder")
  result.add_argument("--output_dir", required=True, help="folder to write")
  result.add_argument(
    "--experiment", default=command_line.EXPERIMENT, help="that the files override"
  )
  result.add_argument(
    "--label_map", help="class names in the checkpoint's order; by default the configuration's"
  )
  result.add_argument(
    "--allow_partial", action="store_true", help="import what fits, and leave the rest random"
  )
  return result
