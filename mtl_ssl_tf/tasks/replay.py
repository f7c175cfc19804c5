"""Repeats a step with a loss or gradient that was not finite: -m mtl_ssl_tf.tasks.replay FOLDER."""

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Or TensorFlow loads Keras 3, for nothing.

import numpy as np

from mtl_ssl_tf import terminal
from mtl_ssl_tf.command_line import replay as replay_flags
from mtl_ssl_tf.configs import insloc as insloc_config
from mtl_ssl_tf.configs import loading, validation
from mtl_ssl_tf.data import schema
from mtl_ssl_tf.tasks import co_mining, insloc, mtl_detection  # noqa: F401 - registers the tasks
from mtl_ssl_tf.training import reproduction, run_folder
from mtl_ssl_tf.training import task as task_lib


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; 0 if it came out as it did in the run, 1 otherwise."""
  args = replay_flags.parser().parse_args(argv)
  terminal.set_up()
  try:
    losses, gradients = replay(args.folder)
  except ValueError as error:
    terminal.show_error(error)
    return 1
  for name, value in losses.items():
    terminal.show(f"{name:28s} {value:.6g}")
  for name, count in gradients.items():
    terminal.show(f"gradient of {name}: {count} entries are not finite")
  if gradients or not np.all(np.isfinite(list(losses.values()))):
    return 0
  terminal.show("all is finite: what the run saw depends on more than weights and batch")
  return 1


def replay(folder: str) -> tuple[dict[str, float], dict[str, int]]:
  """Losses by name, and the number of gradients' entries that are not finite by variable.

  Args:
    folder: as the run left it, see `training/reproduction.py`.

  Raises:
    ValueError: a file of it is missing, cannot be read, or does not fit the others.
  """
  params = loading.load_run(os.path.join(folder, run_folder.PARAMS_FILE))
  if not isinstance(params.task, insloc_config.InsLoc):
    # The run's own may have moved since.
    params.task.label_map = os.path.join(folder, schema.LABEL_MAP_FILE)
  task_lib.class_of(params.task).check(params)
  validation.check_trainer(params.trainer)
  validation.check_runtime(params.runtime)
  return reproduction.repeat(params, folder)


if __name__ == "__main__":
  sys.exit(main())
