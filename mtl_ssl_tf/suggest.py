"""Writes a configuration that suits the data: sizes, anchors, slots, flips, steps, each with why.

  python -m mtl_ssl_tf.suggest --records 'data/mine/train-*' --output configs/mine.yaml \\
      --validation_records 'data/mine/val-*'
  python train.py --config_file=configs/mine.yaml --mode=train_and_eval --model_dir=runs/mine

It starts from a preset and sets what depends on the data. With `--budget_minutes` some steps of the
training are measured here, and as many as fit are asked for.
"""

import argparse
import dataclasses
import logging
import os
import pathlib
import sys
from collections.abc import Sequence

from mtl_ssl_tf import files, terminal
from mtl_ssl_tf.command_line import suggest as suggest_flags
from mtl_ssl_tf.data.ground_truth import truth_readers
from mtl_ssl_tf.suggestion import choices, timing, writing
from mtl_ssl_tf.suggestion import facts as facts_lib

_LOGGER = logging.getLogger("mtl_ssl_tf.suggest")  # `__name__` is `__main__` in `python -m`.
_PRESETS = pathlib.Path(__file__).parents[1] / "configs" / "presets"


def run(args: argparse.Namespace) -> None:
  """Writes the file that the command line asks for, and prints what it says.

  Raises:
    ValueError: a flag or the data are not acceptable.
    OSError: the file cannot be written.
  """
  _check(args)
  preset = args.preset or _default_preset()
  presets = pathlib.Path(args.presets_dir or _PRESETS)
  base = presets / f"{preset}.yaml"
  if not base.is_file():
    raise ValueError(
      f"--presets_dir: {str(base)!r} is missing; accepted: configs/presets of a clone"
    )
  truth = truth_readers.read_records(args.records)
  truth_readers.read_records(args.validation_records)  # Refused here rather than in the training.
  facts = facts_lib.read(truth)
  settings = choices.choose(facts, args.largest_side, args.batch_size, _levels(base))
  paths = {
    "task.train_data.input_path": args.records,
    "task.validation_data.input_path": args.validation_records,
    "task.data.global_batch_size": args.batch_size,
  }
  head = [
    f"Suggested from {len(truth.images)} images with {len(facts.boxes)} objects of"
    f" {len(facts.class_names)} classes.",
    "Every line may be changed; docs/configuration.md explains all fields.",
  ]
  output = pathlib.Path(args.output)
  relative = os.path.relpath(base, output.parent or ".")
  text = writing.text(head, relative, paths, settings)
  files.write_text(output, text)
  if args.budget_minutes:
    settings[-1] = _within(args.budget_minutes, settings[-1], args, facts)
    text = writing.text(head, relative, paths, settings)
    files.write_text(output, text)
  terminal.show(text.removesuffix("\n"))
  _LOGGER.info(
    f"{output}: train by python train.py --config_file={output} --mode=train_and_eval"
    " --model_dir=runs/mine"
  )


def _check(args: argparse.Namespace) -> None:
  for name, lowest in (("largest_side", 64), ("batch_size", 1)):
    if getattr(args, name) < lowest:
      raise ValueError(f"--{name} is {getattr(args, name)}; accepted: at least {lowest}")
  if args.budget_minutes is not None and not args.budget_minutes > 0.0:
    raise ValueError(f"--budget_minutes is {args.budget_minutes}; accepted: above 0")
  output = pathlib.Path(args.output)
  if output.exists() and not args.overwrite:
    raise ValueError(f"--output {args.output} exists; accepted: another file, or --overwrite")
  if not (output.parent or pathlib.Path()).is_dir():
    raise ValueError(f"--output {args.output}: its folder is missing; accepted: one that exists")


def _levels(preset: pathlib.Path) -> tuple[int, int] | None:
  """Returns the finest and the coarsest level of a preset's pyramid; None where it has none."""
  # TensorFlow comes with it.
  from mtl_ssl_tf.configs import loading

  task = loading.load_experiment("mtl_frcnn", [str(preset)]).task
  return (task.fpn.min_level, task.fpn.max_level) if task.roi_head.type == "fpn" else None


def _default_preset() -> str:
  # TensorFlow comes with it.
  from mtl_ssl_tf.checkpoints import efficientnet_weights

  try:
    efficientnet_weights.find("efficientnet_lite0", "--preset")
  except ValueError as error:
    _LOGGER.warning(f"{error}. The suggestion trains from scratch, which needs more steps")
    return suggest_flags.PRESETS[1]
  return suggest_flags.PRESETS[0]


def _within(
  minutes: float, setting: choices.Setting, args: argparse.Namespace, facts: facts_lib.DataFacts
) -> choices.Setting:
  """Returns the schedule with the steps that fit into the budget on this machine."""
  _LOGGER.info("measuring some steps of the training ...")
  pace = timing.measure(args.output)
  steps = pace.steps(60.0 * minutes)
  epochs = steps * args.batch_size / facts.num_images
  reason = (
    f"{minutes:g} minutes here: {pace.start_up_s:.0f} s to start and {pace.step_s:.2f} s a step, as"
    f" measured, evaluations left out; {epochs:.0f} passes over each image"
  )
  interval = max(1, steps // choices.EVALUATIONS)
  fields = {"train_steps": steps, "validation_interval": interval, "checkpoint_interval": interval}
  return dataclasses.replace(setting, fields=fields, reason=reason)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = suggest_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    run(args)
  except (ValueError, OSError) as error:
    terminal.show_error(error)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
