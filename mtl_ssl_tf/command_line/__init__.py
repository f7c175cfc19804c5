"""The flags of each command, apart from what it runs: nothing here loads TensorFlow.

`mtl-ssl predict --help` thus answers at once. A module `export_step` here holds the flags of the
command `mtl-ssl export-step`: a function `parser`, or, for `train`, absl's flags.
"""

import argparse
import os

from mtl_ssl_tf import terminal, texts

# As `configs.experiments.DEFAULT`, which cannot be read without TensorFlow.
EXPERIMENT = "mtl_frcnn"
_called_as: str | None = None


class ArgumentParser(argparse.ArgumentParser):
  """A parser of flags whose errors quote the command line in a form harmless to a terminal."""

  def error(self, message: str):
    """Ends the program with one line behind the usage."""
    super().error(texts.escaped(message))


def call(name: str) -> None:
  """Sets the name of the program in its help, such as `mtl-ssl predict`."""
  global _called_as
  _called_as = name


def prog(module: str) -> str:
  """Returns the name of a command in its help: as it was called, by default as a module."""
  return _called_as or f"python -m {module}"


def prepare_tensorflow() -> None:
  """Sets the environment that TensorFlow reads when it is imported."""
  terminal.prepare()
  os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Or TensorFlow loads Keras 3, for nothing.
