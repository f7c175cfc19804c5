"""Checks, without an accelerator, whether a training run would compile and fit on it.

  python -m mtl_ssl_tf.preflight --config_file configs/experiments/voc07_frcnn_resnet101_mtl.yaml \\
      --params_override 'task.train_data.global_batch_size=8' --accelerator v5e-8

Builds the training step on this machine, compiles it with XLA for one core's share of the batch,
and reports: obstacles, each with the field of the configuration that fixes it; the memory that a
core needs, by use; and the largest batch that fits. See docs/preflight.md.

Exit status: 0 go, 1 no-go, 2 the step could not be examined.
"""

import json
import sys
from collections.abc import Sequence

import tensorflow as tf

from mtl_ssl_tf import terminal
from mtl_ssl_tf.command_line import preflight as preflight_flags
from mtl_ssl_tf.compilation import accelerators, inspection, step_program
from mtl_ssl_tf.configs import loading


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = preflight_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    if not 0.0 <= args.margin < 1.0:
      raise ValueError(f"--margin is {args.margin}; accepted: 0 or more, less than 1")
    if args.num_batches < 0:
      raise ValueError(f"--num_batches is {args.num_batches}; accepted: 0 or more")
    accelerator = accelerators.parse(args.accelerator)
    params = loading.load_experiment(args.experiment, args.config_file, args.params_override)
    if args.json:  # Before the minutes that compiling takes.
      _write(args.json, "")
    report = inspection.inspect(
      params,
      accelerator,
      num_batches=args.num_batches,
      margin=args.margin,
      find_largest=args.largest_batch,
    )
    if args.json:
      _write(args.json, json.dumps(report.as_dict(), indent=2) + "\n")
  except (ValueError, OSError) as error:
    terminal.show_error(error)
    return 2
  terminal.show(report.text())
  return 0 if report.passes else 1


def _write(path: str, text: str) -> None:
  try:
    with open(path, "w", encoding="utf-8") as file:
      file.write(text)
  except OSError as error:
    raise ValueError(f"--json {path!r} cannot be written ({error.strerror})") from error


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # The step is analysed, not run.
  step_program.plan_only()
  sys.exit(main())
