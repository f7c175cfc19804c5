"""Trains and evaluates a detector.

  mtl-ssl train --flagfile=configs/flags/NAME.flags --model_dir=DIR

In a clone, `python train.py` does the same.
"""

import sys
from collections.abc import Sequence

from absl import app, flags

from mtl_ssl_tf import command_line, texts
from mtl_ssl_tf.command_line import flag_files
from mtl_ssl_tf.command_line import train as train_flags

_HELP_FLAGS = {"-h", "-help", "--help", "-helpshort", "--helpshort", "-?"}


def main(_: Sequence[str]) -> None:
  """Runs what the flags ask for; see `driver.main_with_flags`."""
  # Here, so that wrong flags are reported without waiting for TensorFlow.
  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.training import driver

  driver.main_with_flags(flags.FLAGS)


def run() -> None:
  """Runs the command line in a program of its own."""
  if _HELP_FLAGS.intersection(sys.argv[1:]):  # absl would list the flags of this module alone.
    train_flags.parser().print_help()
    return
  command_line.prepare_tensorflow()
  train_flags.define()
  app.run(main, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
  """Parses flags; where one is unknown, TensorFlow, which has flags too, is asked."""
  try:
    flag_files.check(argv)
  except ValueError as error:
    sys.exit(f"error: {error}")
  try:
    return flags.FLAGS(argv)
  except flags.UnrecognizedFlagError:
    from mtl_ssl_tf.training import driver  # noqa: F401

    flags.FLAGS.unparse_flags()
  except flags.Error:
    pass  # To be reported once more.
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    # Of several faults absl makes a line each; then none may come from the command line.
    harmless = texts.block if all(map(str.isprintable, argv)) else texts.escaped
    sys.exit(f"error: {harmless(str(error))}")


if __name__ == "__main__":
  run()
