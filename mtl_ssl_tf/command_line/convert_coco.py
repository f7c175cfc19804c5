"""Flags of `mtl_ssl_tf.data.coco_json`."""

import argparse

from mtl_ssl_tf import command_line
from mtl_ssl_tf.command_line import conversion


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.data.coco_json"),
    description="Converts a COCO file with its images to TFRecord files.",
    allow_abbrev=False,
  )
  conversion.add_coco(result)
  conversion.add_common(result)
  return result
