"""Flags of `mtl_ssl_tf.report`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.report"),
    description="Writes one page about a trained detector: figures, curves, errors, images.",
    allow_abbrev=False,
  )
  add = result.add_argument
  add("--model_dir", required=True, help="folder of the run; its best checkpoint is taken")
  add("--checkpoint", help="another checkpoint than the run's best, such as runs/NAME/ckpt-1000")
  add(
    "--compare",
    metavar="OTHER",
    help="folder of another run: the difference of both, and images where one corrects the other",
  )
  add(
    "--records",
    help="records with boxes, a path, folder or pattern (default: the run's validation data)",
  )
  add(
    "--output",
    help="the page, a name that ends in .html (default: report.html in the folder of the run)",
  )
  add(
    "--num_images",
    type=int,
    default=12,
    help="images of each kind, worst, best and so on, at most (default: 12; accepted: 0 to 60)",
  )
  return result
