"""Flags of `mtl_ssl_tf.data.pascal_voc`."""

import argparse

from mtl_ssl_tf import command_line
from mtl_ssl_tf.command_line import conversion


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.data.pascal_voc"),
    description="Converts one split of a PASCAL VOC data set to TFRecord files.",
    allow_abbrev=False,
  )
  conversion.add_voc(result)
  conversion.add_common(result)
  return result
