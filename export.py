"""Exports a trained detector: python export.py --model_dir=runs/NAME --export_dir=exported/NAME."""

import argparse
import os
import sys
from collections.abc import Sequence

from mtl_ssl_tf import terminal

if __name__ == "__main__":
  terminal.prepare()
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Or TensorFlow loads Keras 3, for nothing.

import tensorflow as tf

from mtl_ssl_tf.ops import crop_ops
from mtl_ssl_tf.serving import export_lib


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    description="Writes a SavedModel of a training run's best checkpoint, as TF Serving takes it.",
    allow_abbrev=False,
  )
  parser.add_argument(
    "--model_dir", required=True, help="folder of the run: params.yaml, label_map.txt, checkpoints"
  )
  parser.add_argument(
    "--export_dir", required=True, help="folder of versions: new, empty or of earlier exports"
  )
  parser.add_argument(
    "--checkpoint", help="another checkpoint than the run's best, such as runs/NAME/ckpt-1000"
  )
  parser.add_argument("--version", type=int, help="its number (default: one more than the highest)")
  parser.add_argument(
    "--overwrite", action="store_true", help="replace the --version that is there"
  )
  parser.add_argument(
    "--batch_size", type=int, help="images in every request (default: any number)"
  )
  parser.add_argument(
    "--outputs",
    choices=("detections", "raw"),
    default="detections",
    help="raw: also proposals, their scores before refinement and the auxiliary outputs",
  )
  parser.add_argument(
    "--crop_method",
    choices=crop_ops.METHODS,
    default="native",
    help="matmul: the SavedModel's detect_canvases compiles under XLA (default: native)",
  )
  parser.add_argument(
    "--verify",
    action=argparse.BooleanOptionalAction,
    help="compare with the checkpoint before publishing (default: where the evaluation data named"
    " in params.yaml is at hand)",
  )
  parser.add_argument(
    "--verify_images",
    type=int,
    default=export_lib.VERIFY_IMAGES,
    help=f"on so many images (default: {export_lib.VERIFY_IMAGES})",
  )
  parser.add_argument("--license", help="of the weights, a line for the model card")
  args = parser.parse_args(argv)
  terminal.set_up()
  options = export_lib.Options(
    version=args.version,
    overwrite=args.overwrite,
    batch_size=args.batch_size,
    raw_outputs=args.outputs == "raw",
    crop_method=args.crop_method,
    verify=args.verify,
    verify_images=args.verify_images,
    license=args.license,
  )
  try:
    export_lib.export_run(
      args.model_dir, args.export_dir, checkpoint=args.checkpoint, options=options
    )
  except (ValueError, OSError, tf.errors.OpError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Writing a file needs none.
  sys.exit(main())
