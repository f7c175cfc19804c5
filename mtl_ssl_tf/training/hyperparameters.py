"""Hyperparameters of a run and what it reached, for TensorBoard's HParams tab.

A folder of their own in the run's is what the tab takes for one trial: with
`tensorboard --logdir=runs` each run below is a row, with its settings and its figures.
"""

import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg
from tensorboard.plugins.hparams import api_pb2, summary, summary_v2

from mtl_ssl_tf.training import learning_rates, run_folder
from mtl_ssl_tf.training import task as task_lib

FOLDER = "hyperparameters"
# What tells runs of any task apart, besides the learning rate.
_FIELDS = (
  "runtime.enable_xla",
  "runtime.mixed_precision_dtype",
  "task.train_data.global_batch_size",
  "trainer.optimizer_config.learning_rate.type",
  "trainer.optimizer_config.optimizer.type",
  "trainer.train_steps",
)
_LEARNING_RATE = "learning_rate"
_Value = bool | int | float | str


def values(params: cfg.ExperimentConfig, fields: tuple[str, ...] = ()) -> dict[str, _Value]:
  """Returns a run's hyperparameters: `learning_rate`, as scaled, and settings by their field.

  Args:
    params: of the run.
    fields: the task's, see `TrainableTask.hyperparameters`.

  Returns:
    Lists as text, and null as `none`; settings that the configuration does not have are left out.
  """
  settings = run_folder.flatten(params.as_dict())
  found: dict[str, _Value] = {_LEARNING_RATE: learning_rates.first(params)}
  for field in (*_FIELDS, *fields):
    if field in settings:
      found[field] = _value(settings[field])
  return found


def _value(setting: Any) -> _Value:
  if isinstance(setting, bool | int | float | str):
    return setting
  if isinstance(setting, list):
    return ", ".join(str(item) for item in setting)
  return "none" if setting is None else str(setting)


class Trial:
  """A run as a row of the tab: `begin`, `add` after each evaluation, `end`."""

  def __init__(self, model_dir: str, metric: str):
    """Writes nothing yet.

    Args:
      model_dir: folder of the run.
      metric: name of the figure that the run is ranked by.
    """
    self._folder, self._metric = os.path.join(model_dir, FOLDER), metric
    self._writer: tf.summary.SummaryWriter | None = None

  def begin(self, hyperparameters: Mapping[str, _Value]) -> None:
    """Writes the hyperparameters, in the place of those that an earlier start has left.

    TensorBoard keeps the first that it reads, but a resumed run may have changed.
    """
    # A link, or a name that is a pattern, must not delete files outside of the run's folder.
    if tf.io.gfile.isdir(self._folder) and not os.path.islink(self._folder):
      for name in tf.io.gfile.listdir(self._folder):
        if ".tfevents." in name:
          tf.io.gfile.remove(os.path.join(self._folder, name))
    self._writer = tf.summary.create_file_writer(self._folder)
    # Named by its folder: runs of equal settings, as with another data set, stay rows of their own.
    self._write(
      summary_v2.hparams_pb(dict(hyperparameters), trial_id=os.path.abspath(self._folder))
    )

  def add(self, figures: Mapping[str, Any], step: int) -> None:
    """Writes the figure as `last/...` and, where the run knows it, its best as `best/...`.

    Args:
      figures: of an evaluation, by name.
      step: that was evaluated.
    """
    if self._writer is None:
      return
    with self._writer.as_default(step=step):
      tf.summary.scalar(f"last/{self._metric}", float(figures[self._metric]))
      best = figures.get(f"best_{self._metric}")
      if best is not None:
        tf.summary.scalar(f"best/{self._metric}", float(best))
    self._writer.flush()

  def end(self) -> None:
    """Notes that the run came to its end."""
    if self._writer is not None:
      self._write(summary.session_end_pb(api_pb2.STATUS_SUCCESS))

  def _write(self, content: Any) -> None:
    with self._writer.as_default(step=0):
      tf.summary.experimental.write_raw_pb(content.SerializeToString())
    self._writer.flush()


def start(params: cfg.ExperimentConfig, task: task_lib.TrainableTask, model_dir: str) -> Trial:
  """Returns the trial of a run that trains, its hyperparameters written."""
  trial = Trial(model_dir, params.trainer.best_checkpoint_eval_metric)
  trial.begin(values(params, tuple(task.hyperparameters)))
  return trial
