"""Writes the compiled step as a program that runs without TensorFlow.

  python -m mtl_ssl_tf.export_step --output_dir exported/step \\
      --config_file configs/experiments/voc07_frcnn_resnet101_mtl.yaml

`--step training` is a whole step: labels, forward, losses, backward, optimizer; `inference` goes
from images to detections. The folder holds StableHLO, the names of arguments and results, and a
batch with the weights; `python -m benchmarks.run_step` runs and times it with JAX. See
docs/preflight.md.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg

from mtl_ssl_tf import terminal
from mtl_ssl_tf.command_line import export_step as export_step_flags
from mtl_ssl_tf.compilation import portable, step_inputs, step_program
from mtl_ssl_tf.configs import loading
from mtl_ssl_tf.reading import quoting

_LOGGER = logging.getLogger("mtl_ssl_tf.export_step")  # `__name__` is `__main__` in `python -m`.


def export(
  params: cfg.ExperimentConfig,
  output_dir: str,
  *,
  step: str = "training",
  batch_size: int | None = None,
  checkpoint: str | None = None,
  with_inputs: bool = True,
  with_expected: bool = False,
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

  Raises:
    ValueError: something is not acceptable, or does not compile.
  """
  step_program.check(params)
  portable.check_output_dir(output_dir)
  if params.runtime.crop_method not in ("auto", "matmul"):
    raise ValueError(
      f"runtime.crop_method is {quoting.shown(params.runtime.crop_method)}; accepted: auto or"
      " matmul, as the others do not compile"
    )
  if batch_size is not None and batch_size < 1:
    raise ValueError(f"--batch_size is {batch_size}; accepted: at least 1")
  program = step_program.StepProgram(params, "matmul", step)
  program.load(checkpoint)
  batch, source = _batch(program, params, batch_size)
  _LOGGER.info(f"tracing the step for images {tuple(batch[0].shape)}; of a large network, minutes")
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
    _LOGGER.info("taking the step with TensorFlow's own kernels")
    outputs = program.run_uncompiled(batch)
    about["expected"] = {
      name: tf.cast(value, tf.float32).numpy().tolist() for name, value in outputs.items()
    }
  portable.write(output_dir, text, portable.description(arguments, results, about), inputs)


def _batch(
  program: step_program.StepProgram,
  params: cfg.ExperimentConfig,
  batch_size: int | None,
) -> tuple[Any, str]:
  """The first batch of the run's records, or one that is made up, and which of the two it is."""
  data = params.task.train_data
  size = batch_size or data.global_batch_size
  if step_inputs.is_there(data):
    return next(iter(step_inputs.batches(program.task, data, size))), "records"
  _LOGGER.info(
    f"task.train_data.input_path: no records match {quoting.shown(data.input_path)}; the batch is"
    " made up: noise and random boxes"
  )
  return step_inputs.made_up_batch(program.task, data, size), "made up"


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = export_step_flags.parser().parse_args(argv)
  terminal.set_up()
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
    )
  except (ValueError, OSError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 2
  return 0


if __name__ == "__main__":
  tf.config.set_visible_devices([], "GPU")  # Writing a file needs none.
  sys.exit(main())
