"""Flags of `mtl_ssl_tf.export`."""

import argparse

from mtl_ssl_tf import command_line


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command's flags."""
  result = command_line.ArgumentParser(
    prog=command_line.prog("mtl_ssl_tf.export"),
    description="Writes a SavedModel of a training run's best checkpoint, as TF Serving takes it.",
    allow_abbrev=False,
  )
  result.add_argument(
    "--model_dir", required=True, help="folder of the run: params.yaml, label_map.txt, checkpoints"
  )
  result.add_argument(
    "--export_dir", required=True, help="folder of versions: new, empty or of earlier exports"
  )
  result.add_argument(
    "--checkpoint", help="another checkpoint than the run's best, such as runs/NAME/ckpt-1000"
  )
  result.add_argument("--version", type=int, help="its number (default: one more than the highest)")
  result.add_argument(
    "--overwrite", action="store_true", help="replace the --version that is there"
  )
  result.add_argument(
    "--batch_size", type=int, help="images in every request (default: any number)"
  )
  result.add_argument(
    "--outputs",
    choices=("detections", "raw"),
    default="detections",
    help="raw: also proposals, their scores before refinement and the auxiliary outputs",
  )
  result.add_argument(
    "--crop_method",
    choices=("native", "matmul"),
    default="native",
    help="matmul: the SavedModel's detect_canvases compiles under XLA (default: native)",
  )
  result.add_argument(
    "--verify",
    action=argparse.BooleanOptionalAction,
    help="compare with the checkpoint before publishing (default: where the evaluation data named"
    " in params.yaml is available)",
  )
  result.add_argument(
    "--verify_images",
    type=int,
    default=20,
    help="on so many images (default: 20)",
  )
  result.add_argument(
    "--default_thresholds",
    metavar="FILE",
    help="JSON of smallest scores by class, as mtl-ssl report writes it: the default of"
    " mtl_ssl_tf.load and predict",
  )
  result.add_argument("--license", help="of the weights, a line for the model card")
  return result
