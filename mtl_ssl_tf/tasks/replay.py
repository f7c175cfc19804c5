"""Repeats a step with a loss or gradient that was not finite: -m mtl_ssl_tf.tasks.replay FOLDER."""

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Or TensorFlow loads Keras 3, for nothing.

import numpy as np
from official.core import exp_factory

from mtl_ssl_tf import terminal
from mtl_ssl_tf.command_line import replay as replay_flags
from mtl_ssl_tf.configs import experiments, insloc, loading, yaml_files
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.tasks import insloc as insloc_task  # noqa: F401 - registers the task
from mtl_ssl_tf.tasks import mtl_detection  # noqa: F401 - registers the task
from mtl_ssl_tf.training import reproduction, run_folder


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; 0 if it came out as it did in the run, 1 otherwise."""
  args = replay_flags.parser().parse_args(argv)
  terminal.set_up()
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
    folder: as the run left it, see `training/reproduction.py`.

  Raises:
    ValueError: a file of it is missing or cannot be read.
  """
  path = os.path.join(folder, run_folder.PARAMS_FILE)
  is_pretraining = insloc.is_pretraining(yaml_files.read(path)[-1].fields)
  params = exp_factory.get_exp_config(experiments.INSLOC if is_pretraining else experiments.DEFAULT)
  loading.override_with_file(params, path)
  if not is_pretraining:
    # The run's own may have moved since.
    params.task.label_map = os.path.join(folder, schema.LABEL_MAP_FILE)
  return reproduction.repeat(params, folder)


if __name__ == "__main__":
  sys.exit(main())
