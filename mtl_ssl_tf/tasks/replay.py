"""Repeats a step with a loss or gradient that was not finite: -m mtl_ssl_tf.tasks.replay FOLDER."""

import argparse
import os
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Start-up notices would bury our own lines.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Or TensorFlow loads Keras 3, for nothing.

import numpy as np
import tensorflow as tf
from official.core import exp_factory, task_factory

from mtl_ssl_tf import registry_imports  # noqa: F401
from mtl_ssl_tf.configs import experiments, loading
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.training import checkpointing, nonfinite, recovery, run_folder


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; 0 if it came out as it did in the run, 1 otherwise."""
  parser = argparse.ArgumentParser(
    description="Repeats the step that a run left in nonfinite-STEP: the same weights, batch and"
    " configuration. Prints every loss and the gradients that are not finite."
  )
  parser.add_argument("folder", help="the folder that the run's message names")
  args = parser.parse_args(argv)
  try:
    losses, gradients = replay(args.folder)
  except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  for name, value in losses.items():
    print(f"{name:28s} {value:.6g}")
  for name, count in gradients.items():
    print(f"gradient of {name}: {count} entries are not finite")
  if gradients or not np.all(np.isfinite(list(losses.values()))):
    return 0
  print("all is finite: what the run saw depends on more than weights and batch")
  return 1


def replay(folder: str) -> tuple[dict[str, float], dict[str, int]]:
  """Losses by name, and the number of gradients' entries that are not finite by variable.

  Args:
    folder: as `Recovery` wrote it.

  Raises:
    ValueError: a file of it is missing or cannot be read.
  """
  params = exp_factory.get_exp_config(experiments.DEFAULT)
  loading.override_with_file(params, os.path.join(folder, run_folder.PARAMS_FILE))
  # The run's own may have moved since.
  params.task.label_map = os.path.join(folder, schema.LABEL_MAP_FILE)
  weights = os.path.join(folder, recovery.WEIGHTS)
  found = checkpointing.fault(weights)
  if found is not None:
    raise ValueError(f"{weights} cannot be read ({found})")
  path = os.path.join(folder, recovery.BATCH_FILE)
  try:
    with np.load(path) as arrays:
      images = tf.constant(arrays["images"])
      labels = {
        name.removeprefix("labels/"): tf.constant(arrays[name])
        for name in arrays.files
        if name != "images"
      }
  except (OSError, ValueError, KeyError) as error:
    raise ValueError(f"{path} cannot be read ({error})") from error
  task = task_factory.get_task(
    params.task,
    crop_method=params.runtime.compiled_crop_method,
    precision=params.runtime.mixed_precision_dtype or "float32",
  )
  model = task.build_model()
  optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  checkpoint.read(weights).expect_partial()
  return nonfinite.take_apart(
    task, model, optimizer, (images, labels), jit_compile=params.runtime.enable_xla
  )


if __name__ == "__main__":
  sys.exit(main())
