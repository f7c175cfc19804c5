"""Writes the compiled step as a program that runs without TensorFlow.

  python -m mtl_ssl_tf.export_step --output_dir exported/step \\
      --config_file configs/experiments/voc07_frcnn_resnet101_mtl.yaml

`--step training` is a whole step: labels, forward, losses, backward, optimizer; `inference` goes
from images to detections. The folder holds StableHLO, the names of arguments and results, and a
batch with the weights; `python -m benchmarks.run_step` runs and times it with JAX. See
docs/preflight.md.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg

from mtl_ssl_tf.compilation import portable, step_inputs, step_program
from mtl_ssl_tf.configs import experiments, loading


def export(
  params: cfg.ExperimentConfig,
  output_dir: str,
  *,
  step: str = "training",
  batch_size: int | None = None,
  checkpoint: str | None = None,
  with_inputs: bool = True,
  with_expected: bool = False,
  say: Callable[[str], object] = print,
) -> None:
  """Writes the step of a configuration.

  Args:
    params: the configuration.
    output_dir: new or empty folder.
    step: one of `step_program.STEPS`.
    batch_size: images; by default those of the configuration.
    checkpoint: of a run, whose weights are written; by default those a run starts from.
    with_inputs: write a batch and the weights.
    with_expected: take the step here, too, and write down what came out.
    say: takes lines on the way.

  Raises:
    ValueError: something is not acceptable, or does not compile.
  """
  step_program.check(params)
  portable.check_output_dir(output_dir)
  if params.runtime.crop_method not in ("auto", "matmul"):
    raise ValueError(
      f"runtime.crop_method is {params.runtime.crop_method!r}; accepted: auto or matmul, as the"
      " others do not compile"
    )
  if batch_size is not None and batch_size < 1:
    raise ValueError(f"--batch_size is {batch_size}; accepted: at least 1")
  program = step_program.StepProgram(params, "matmul", step)
  program.load(checkpoint)
  batch, source = _batch(program, params, batch_size, say)
  say(f"tracing the step for images {tuple(batch[0].shape)}; of a large network, minutes")
  text = portable.program_text(program, batch)
  arguments = program.arguments(batch)
  results = portable.results(program, batch, arguments)
  about = {
    "step": step,
    "batch_size": batch[0].shape[0],
    "batch": source,
    "precision": params.runtime.mixed_precision_dtype or "float32",
    "tensorflow": tf.__version__,
  }
  inputs = portable.values(arguments, batch) if with_inputs else None  # Before a step is taken.
  if with_expected:
    say("taking the step with TensorFlow's own kernels")
    outputs = program.run_uncompiled(batch)
    about["expected"] = {
      name: tf.cast(value, tf.float32).numpy().tolist() for name, value in outputs.items()
    }
  portable.write(output_dir, text, portable.description(arguments, results, about), inputs, say)


def _batch(
  program: step_program.StepProgram,
  params: cfg.ExperimentConfig,
  batch_size: int | None,
  say: Callable[[str], object],
) -> tuple[Any, str]:
  """The first batch of the run's records, or one that is made up, and which of the two it is."""
  data = params.task.train_data
  size = batch_size or data.global_batch_size
  if step_inputs.is_there(data):
    return next(iter(step_inputs.batches(program.task, data, size))), "records"
  say(
    f"task.train_data.input_path: no records match {data.input_path!r}; the batch is made up: noise"
    " and random boxes"
  )
  return step_inputs.made_up_batch(program.task, data, size), "made up"


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = _parser().parse_args(argv)
  try:
    params = loading.load_experiment(args.experiment, args.config_file, args.params_override)
    export(
      params,
      args.output_dir,
      step=args.step,
      batch_size=args.batch_size,
      checkpoint=args.checkpoint,
      with_inputs=args.inputs,
      with_expected=args.expected,
      say=lambda line: print(line, file=sys.stderr, flush=True),
    )
  except (ValueError, OSError, tf.errors.OpError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m mtl_ssl_tf.export_step",
    description="Writes the compiled step as a program that runs without TensorFlow.",
    allow_abbrev=False,
  )
  parser.add_argument(
    "--format", choices=portable.FORMATS, default=portable.FORMATS[0], help="of the program"
  )
  parser.add_argument(
    "--step", choices=step_program.STEPS, default=step_program.STEPS[0], help="which step"
  )
  parser.add_argument("--experiment", default=experiments.DEFAULT, help="a registered experiment")
  parser.add_argument(
    "--config_file", action="append", help="YAML file of the experiment; may be given repeatedly"
  )
  parser.add_argument("--params_override", help="further fields, as train.py takes them")
  parser.add_argument("--output_dir", required=True, help="folder that is new or empty")
  parser.add_argument(
    "--batch_size", type=int, help="images (default: task.train_data.global_batch_size)"
  )
  parser.add_argument(
    "--checkpoint", help="of a run, such as runs/NAME/ckpt-1000 (default: what a run starts from)"
  )
  parser.add_argument(
    "--inputs",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="write a batch and the weights too; with --no-inputs, the program alone",
  )
  parser.add_argument(
    "--expected",
    action="store_true",
    help="take the step here and write what came out to names.json, for comparison",
  )
  return parser


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Writing a file needs none.
  tf.get_logger().setLevel("ERROR")
  sys.exit(main())
