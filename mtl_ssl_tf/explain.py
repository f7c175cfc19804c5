"""Shows on a page what refinement did to the detections of an image, and what made it do so.

  python -m mtl_ssl_tf.explain --model_dir runs/mine --input IMAGE --output page.html
  python -m mtl_ssl_tf.explain --saved_model exported/mine --input IMAGE --output page.html

The second one needs an export that was written with `--outputs=raw`. See docs/prediction.md.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import tensorflow as tf

from mtl_ssl_tf import files, terminal
from mtl_ssl_tf.command_line import explain as explain_flags
from mtl_ssl_tf.data.sources import image_files, safe_files
from mtl_ssl_tf.prediction import explanation, explanation_page, images
from mtl_ssl_tf.reading import regular_files
from mtl_ssl_tf.serving import saved_model_detector, served_detector

_LOGGER = logging.getLogger("mtl_ssl_tf.explain")  # `__name__` is `__main__` in `python -m`.


def run(args: argparse.Namespace) -> None:
  """Writes the page that the command line asks for.

  Raises:
    ValueError: an argument or the image is not acceptable.
    OSError: the image cannot be read, or the page cannot be written.
  """
  if not 0.0 <= args.score_threshold <= 1.0:
    raise ValueError(f"--score_threshold is {args.score_threshold}; accepted: 0 to 1")
  files.check_output(args.output)
  name = os.path.basename(args.input)
  content = regular_files.read_bytes(args.input, safe_files.MAX_BYTES)
  image = image_files.prepare_image(content, name)
  detector, about = _load(args)
  outputs = detector.detect_encoded([image.encoded])
  found = explanation.explain(outputs, (image.height, image.width), args.score_threshold)
  sentences = [f"{about}. Detections of score {args.score_threshold:g} and more."]
  page = explanation_page.page(name, sentences, images.pixels(image), found, detector.class_names)
  files.write_bytes(args.output, page)
  number = len(found.detections)
  hint = "" if number else f"; the highest score is {found.best_score:.2f}, see --score_threshold"
  _LOGGER.info(f"{args.output}: {number} detections explained{hint}")


def _load(args: argparse.Namespace) -> tuple[served_detector.ServedDetector, str]:
  """The detector, once it is known to say enough, and which one it is, in words."""
  if args.saved_model is not None:
    if args.checkpoint is not None:
      raise ValueError(f"--checkpoint is {args.checkpoint!r}; accepted: with --model_dir alone")
    try:
      detector = saved_model_detector.SavedModelDetector(args.saved_model)
    except ValueError as error:
      raise ValueError(f"--saved_model {error}") from error
    explanation.check(detector.output_names, f"--saved_model {args.saved_model!r}")
    return detector, f"Detector: {args.saved_model}"
  # Here, since it needs Model Garden, and a SavedModel does not.
  from mtl_ssl_tf.serving import checkpoint_detector

  detector = checkpoint_detector.CheckpointDetector(
    args.model_dir, args.checkpoint, raw_outputs=True
  )
  explanation.check(detector.output_names, f"--model_dir {args.model_dir!r}")
  return detector, f"Checkpoint: {detector.checkpoint} ({detector.choice})"


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = explain_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    run(args)
  except (ValueError, OSError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
