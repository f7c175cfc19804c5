"""Flags of `mtl_ssl_tf.visualization.composites`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = argparse.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.visualization.composites"),
    description="Draws the composites that pretraining without annotations makes of images.",
    allow_abbrev=False,
  )
  images = result.add_mutually_exclusive_group(required=True)
  images.add_argument("--image_dir", help="folder of images, with the folders inside it")
  images.add_argument("--records", help="record files: a path, a pattern or a folder")
  result.add_argument("--output", required=True, help="picture to write, such as composites.png")
  result.add_argument("--num_images", type=int, default=12, help="pairs to draw; default 12")
  result.add_argument("--size", type=int, default=256, help="side of a composite; default 256")
  result.add_argument("--seed", type=int, default=0, help="of all that is drawn; default 0")
  result.add_argument("--store_dir", help="folder for images that are kept ready")
  return result
