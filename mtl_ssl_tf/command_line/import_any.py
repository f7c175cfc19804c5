"""Flags of `mtl_ssl_tf.data.import_any`."""

import argparse
import sys

from mtl_ssl_tf import command_line
from mtl_ssl_tf.command_line import conversion

# As `datumaro_to_coco.FORMATS`.
_FORMATS = ("cvat", "kitti", "labelme", "open_images", "wider", "yolo")


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.data.import_any"),
    description="Converts a data set that Datumaro reads to TFRecord files.",
    allow_abbrev=False,
  )
  result.add_argument("--format", choices=_FORMATS, required=True, help="of the data set")
  result.add_argument("--input", required=True, help="folder of the data set")
  result.add_argument(
    "--split",
    help="convert this split only, or, where the data set has no splits, what it is to be called;"
    " default: all splits by their names",
  )
  result.add_argument(
    "--datumaro_python",
    default=sys.executable,
    help="interpreter that has Datumaro; default: the one that runs this command",
  )
  conversion.add_common(result)
  return result
