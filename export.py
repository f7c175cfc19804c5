"""Exports a trained detector: python export.py --model_dir=runs/NAME --export_dir=exported/NAME."""

import sys

from mtl_ssl_tf import command_line, export

if __name__ == "__main__":
  command_line.call("export.py")
  sys.exit(export.run())
