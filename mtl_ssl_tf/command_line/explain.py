"""Flags of `mtl_ssl_tf.explain`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.explain"),
    description="Shows on a page what refinement did to the detections of an image, and why.",
    allow_abbrev=False,
  )
  model = result.add_mutually_exclusive_group(required=True)
  model.add_argument("--saved_model", help="folder that export.py wrote, with --outputs=raw")
  model.add_argument("--model_dir", help="folder of a training run; its best checkpoint is taken")
  result.add_argument("--checkpoint", help="another checkpoint of the run than its best")
  result.add_argument("--input", required=True, help="image file")
  result.add_argument("--output", required=True, help="HTML file to write, such as page.html")
  result.add_argument(
    "--score_threshold", type=float, default=0.5, help="leave out what scores less (default: 0.5)"
  )
  return result
