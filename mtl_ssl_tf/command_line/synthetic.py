"""Flags of `mtl_ssl_tf.data.synthetic`."""

import argparse
import ast
import importlib.util

from mtl_ssl_tf import command_line, texts

_MODULE = "mtl_ssl_tf.data.synthetic"
# As in `synthetic.DatasetArguments`.
DEFAULTS = {
  "num_train": 600,
  "num_val": 150,
  "seed": 0,
  "height": 192,
  "width": 256,
  "context_percent": 100,
}


class _OneLineParser(command_line.ArgumentParser):
  """A parser that reports an error in a single line, with exit status 1."""

  def error(self, message):
    self.exit(1, f"synthetic: error: {texts.escaped(message)}\n")


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  source = importlib.util.find_spec(_MODULE).loader.get_source(_MODULE)
  result = _OneLineParser(
    prog=command_line.prog(_MODULE),
    description=ast.get_docstring(ast.parse(source)),  # The rules of a scene.
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  result.add_argument("--output_dir", required=True, help="folder to write to")
  for name, default in DEFAULTS.items():
    result.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
  return result
