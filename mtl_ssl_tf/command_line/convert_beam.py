"""Flags of `mtl_ssl_tf.data.beam_conversion`, without Beam's own."""

import argparse

from mtl_ssl_tf import command_line
from mtl_ssl_tf.command_line import conversion

_CONVERTERS = {"pascal_voc": conversion.add_voc, "coco_json": conversion.add_coco}


def parser() -> argparse.ArgumentParser:
  """Returns the parser of this command's flags; Beam's own follow them."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.data.beam_conversion"),
    description="Converts a data set to TFRecord files as an Apache Beam pipeline.",
    allow_abbrev=False,
  )
  converters = result.add_subparsers(dest="converter", required=True)
  for name, add_flags in _CONVERTERS.items():
    converter = converters.add_parser(name, allow_abbrev=False, help=f"see mtl_ssl_tf.data.{name}")
    add_flags(converter)
    conversion.add_common(converter)
  return result
