"""Shows training images as the network is fed them, with all that it is taught about them.

  python -m mtl_ssl_tf.data.browse --config_file configs/mine.yaml --output browse.html
  python -m mtl_ssl_tf.data.browse --model_dir runs/mine --output browse.html

The images come out of the input pipeline of training, after augmentation, and the labels out of the
functions that a training step calls. `docs/validation.md` lists what the page shows.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import tensorflow as tf
from official.core import config_definitions as cfg

from mtl_ssl_tf import (
  files,
  registry_imports,  # noqa: F401
  terminal,
)
from mtl_ssl_tf.command_line import browse as browse_flags
from mtl_ssl_tf.configs import co_mining, detector, loading
from mtl_ssl_tf.data import faults
from mtl_ssl_tf.serving import export_lib
from mtl_ssl_tf.tasks import fed_images
from mtl_ssl_tf.training import run_folder
from mtl_ssl_tf.training import task as task_lib
from mtl_ssl_tf.visualization import browse_page

_LOGGER = logging.getLogger("mtl_ssl_tf.data.browse")  # `__name__` is `__main__` in `python -m`.


def run(args: argparse.Namespace) -> None:
  """Writes the page that the command line asks for.

  Raises:
    ValueError: a flag, a setting or the data are not acceptable.
    OSError: the page cannot be written.
  """
  _check(args)
  trained = export_lib.read_run(args.model_dir, args.checkpoint) if args.model_dir else None
  params = _params(args, trained)
  task_class = task_lib.class_of(params.task)
  task_class.check(params)
  task_class.check_data(params.task, "train_data")
  task = task_class.for_run(params.task, params.runtime)
  model = None
  if trained and isinstance(params.task, co_mining.CoMining):
    if trained.class_names != task.class_names:
      raise ValueError(
        f"--model_dir {args.model_dir!r} has the classes {faults.listing(trained.class_names)};"
        f" accepted: those of task.label_map, {faults.listing(task.class_names)}"
      )
    model = export_lib.build_model(trained)
  first_batch = args.first_batch
  if first_batch is None:
    first_batch = (trained.step if trained else None) or 0
  images = fed_images.fed_images(task, args.num_images, first_batch, model)
  about = [_about(args, params, first_batch)]
  if model is not None:
    about.append(f"Boxes are mined by {trained.checkpoint} ({trained.choice}).")
  page = browse_page.page("Training images as they are fed", about, task.class_names, images)
  files.write_bytes(args.output, page)
  _LOGGER.info(f"{args.output}: {args.num_images} images from batch {first_batch} on")


def _check(args: argparse.Namespace) -> None:
  if not args.config_file and not args.model_dir:
    raise ValueError("--config_file is missing; accepted: a configuration, or --model_dir of a run")
  if args.params_override and not args.config_file:
    raise ValueError(
      f"--params_override is {args.params_override!r}; accepted: with --config_file alone"
    )
  if args.checkpoint and not args.model_dir:
    raise ValueError(f"--checkpoint is {args.checkpoint!r}; accepted: with --model_dir alone")
  if args.num_images < 1:
    raise ValueError(f"--num_images is {args.num_images}; accepted: at least 1")
  if args.first_batch is not None and args.first_batch < 0:
    raise ValueError(f"--first_batch is {args.first_batch}; accepted: 0 or more")
  files.check_output(args.output)


def _params(
  args: argparse.Namespace, trained: export_lib.TrainedRun | None
) -> cfg.ExperimentConfig:
  """The configuration of the files, or else of the run."""
  if args.config_file:
    params = loading.load_experiment(args.experiment, args.config_file, args.params_override)
  else:
    params = loading.load_run(os.path.join(args.model_dir, run_folder.PARAMS_FILE))
    params.task.label_map = trained.label_map_file
  if not isinstance(params.task, detector.MtlDetection):
    raise ValueError(
      "the configuration is a pretraining's, which has no boxes; accepted: a detector's (mtl-ssl"
      " composites draws what pretraining is fed)"
    )
  return params


def _about(args: argparse.Namespace, params: cfg.ExperimentConfig, first_batch: int) -> str:
  source = ", ".join(args.config_file) if args.config_file else f"the run in {args.model_dir}"
  data = params.task.train_data
  paths = [data.input_path] if isinstance(data.input_path, str) else data.input_path
  return (
    f"Configuration: {source}. Records: {faults.listing(paths)}. From batch {first_batch} on, in"
    f" batches of {data.global_batch_size}."
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = browse_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    run(args)
  except (ValueError, OSError, tf.errors.OpError) as error:
    terminal.show_error(error)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
