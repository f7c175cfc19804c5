"""Exports a trained detector: python export.py --model_dir=runs/NAME --export_dir=exported/NAME."""

import argparse
import sys
from collections.abc import Sequence

import tensorflow as tf

from mtl_ssl_tf.serving import export_lib


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    description="Writes a SavedModel of a training run's best checkpoint.", allow_abbrev=False
  )
  parser.add_argument(
    "--model_dir", required=True, help="folder of the run: params.yaml, label_map.txt, checkpoints"
  )
  parser.add_argument("--export_dir", required=True, help="folder to write, new or empty")
  parser.add_argument(
    "--checkpoint", help="another checkpoint than the run's best, such as runs/NAME/ckpt-1000"
  )
  parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
  args = parser.parse_args(argv)
  try:
    export_lib.export_run(
      args.model_dir, args.export_dir, checkpoint=args.checkpoint, overwrite=args.overwrite
    )
  except (ValueError, OSError, tf.errors.OpError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Writing a file needs none.
  # Else a warning for each of its values follows the message on a checkpoint that does not fit.
  tf.get_logger().setLevel("ERROR")
  sys.exit(main())
