"""Exports a trained detector as a SavedModel, in a folder of versions.

  mtl-ssl export --model_dir=runs/NAME --export_dir=exported/NAME

In a clone, `python export.py` does the same.
"""

import sys
from collections.abc import Sequence

from mtl_ssl_tf import command_line, terminal
from mtl_ssl_tf.command_line import export as export_flags


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = export_flags.parser().parse_args(argv)
  # Here, so that wrong flags are reported without waiting for TensorFlow.
  import tensorflow as tf

  from mtl_ssl_tf.serving import export_lib

  terminal.set_up(info_on_stdout=True)
  options = export_lib.Options(
    version=args.version,
    overwrite=args.overwrite,
    batch_size=args.batch_size,
    raw_outputs=args.outputs == "raw",
    crop_method=args.crop_method,
    verify=args.verify,
    verify_images=args.verify_images,
    license=args.license,
    default_thresholds=args.default_thresholds,
  )
  try:
    export_lib.export_run(
      args.model_dir, args.export_dir, checkpoint=args.checkpoint, options=options
    )
  except (ValueError, OSError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 1
  return 0


def run() -> int:
  """Runs the command line in a program of its own; returns the exit status."""
  export_flags.parser().parse_args()
  command_line.prepare_tensorflow()
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")  # Writing a file needs none.
  return main()


if __name__ == "__main__":
  sys.exit(run())
