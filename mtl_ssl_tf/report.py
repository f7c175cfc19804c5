"""Writes one page about a trained detector, for people who would rather look than read.

  python -m mtl_ssl_tf.report --model_dir=runs/mine
  python -m mtl_ssl_tf.report --model_dir=runs/mine --compare=runs/baseline --output=mine.html

The page is one HTML file that fetches nothing: figures with their rules, classes, kinds of error,
confusions, calibration, small and crowded objects, the worst and the best images, curves of the
training. Next to it are the scores from which on classes have the best F1, for `export.py
--default_thresholds`, and the detections, so that a second call is quick.
"""

import argparse
import dataclasses
import logging
import pathlib
import shlex
import sys
from collections.abc import Sequence

from mtl_ssl_tf import command_line, terminal
from mtl_ssl_tf.command_line import report as report_flags

_LOGGER = logging.getLogger("mtl_ssl_tf.report")  # `__name__` is `__main__` in `python -m`.
PAGE_FILE = "report.html"
_MAX_IMAGES = 60


def run(args: argparse.Namespace, command: str) -> None:
  """Writes the page as the command line says.

  Args:
    args: of the command line.
    command: it, for the page.

  Raises:
    ValueError: an argument, a run or a file is not acceptable.
    OSError: a file cannot be read or written.
  """
  output = _output(args)
  # TensorFlow comes with it.
  from mtl_ssl_tf import registry_imports  # noqa: F401
  from mtl_ssl_tf.comparison import report as comparison_report
  from mtl_ssl_tf.reporting import evaluated, findings, page, pairs

  cache_dir = page.files_path(output)
  sources = evaluated.obtain_all(
    args.model_dir, args.checkpoint, args.compare, args.records, cache_dir
  )
  if args.compare and sources[0].name == sources[1].name:
    sources = [dataclasses.replace(one, name=str(one.model_dir)) for one in sources]
  found = [findings.collect(source, sources[0].run.task.evaluation) for source in sources]
  compared = pairs.compare(*found) if args.compare else None
  page.write(output, found[0], compared, args.num_images, comparison_report.about(command))
  _LOGGER.info(f"page: {output}   thresholds: {page.thresholds_path(output)}")


def _output(args: argparse.Namespace) -> pathlib.Path:
  """Returns the path of the page, and makes its folder.

  Raises:
    ValueError: an argument is not acceptable.
  """
  if not 0 <= args.num_images <= _MAX_IMAGES:
    raise ValueError(f"--num_images is {args.num_images}; accepted: 0 to {_MAX_IMAGES}")
  for flag in ("model_dir", "compare"):
    folder = getattr(args, flag)
    if folder is not None and not pathlib.Path(folder).is_dir():
      raise ValueError(f"--{flag} {folder!r} is no folder; accepted: that of a training run")
  if args.output is None:
    return pathlib.Path(args.model_dir) / PAGE_FILE
  output = pathlib.Path(args.output)
  if output.suffix.lower() not in (".html", ".htm") or output.is_dir():
    raise ValueError(f"--output is {args.output!r}; accepted: a file that ends in .html")
  output.parent.mkdir(parents=True, exist_ok=True)
  return output


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = report_flags.parser().parse_args(argv)
  command_line.prepare_tensorflow()
  import tensorflow as tf

  terminal.set_up()
  given = sys.argv[1:] if argv is None else argv
  try:
    run(args, shlex.join(["python", "-m", "mtl_ssl_tf.report", *given]))
  except (ValueError, OSError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 1
  except KeyboardInterrupt:
    return 130
  return 0


if __name__ == "__main__":
  sys.exit(main())
