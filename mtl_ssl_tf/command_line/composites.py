"""Flags of `mtl_ssl_tf.visualization.composites`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.visualization.composites"),
    description="Draws the composites that pretraining without annotations makes of images.",
    allow_abbrev=False,
  )
  result.add_argument("--image_dir", help="folder of images, with the folders inside it")
  result.add_argument("--records", help="record files: a path, a pattern or a folder")
  result.add_argument(
    "--config_file", action="append", help="YAML file of the pretraining; may be given repeatedly"
  )
  result.add_argument("--params_override", help="further fields, as train.py takes them")
  result.add_argument("--output", required=True, help="picture to write, such as composites.png")
  result.add_argument("--num_images", type=int, default=12, help="pairs to draw; default 12")
  return result
