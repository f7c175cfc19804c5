"""The protocol of tasks: all that `training/` knows of what it trains.

    class MyTask(task.TrainableTask): ...      # tasks/my_task.py
    task_factory.register_task_cls(MyConfig)(MyTask)
    driver.run(params, "train_and_eval", model_dir)

In the order in which a run calls them:

    check, check_data, check_start             driver: before anything is built or written
    inspect_data                               data_sample: checks some of the records
    for_run                                    assembly: builds the task in the strategy's scope
    check_files, prepare_evaluation            assembly: the run so far, what evaluation reads
    build_model, create_optimizer, initialize  Model Garden's trainer
    build_inputs                               trainer: from batch `first_batch` on
    train_step, draw                           every step, every `picture_interval` steps
    describe_logs, check_logs                  every loop of `steps_per_loop` steps
    validation_step, aggregate_logs, reduce_aggregated_logs,
    describe_evaluation, evaluation_warnings   evaluation, on the host in the end
    closing_lines, closing_table               assembly: the end of a run
    image_ids                                  recovery: whose images a bad step saw
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import base_task, task_factory
from official.core import config_definitions as cfg
from official.modeling import optimization

from mtl_ssl_tf.data.inspection import validation_report
from mtl_ssl_tf.training import (
  momentum,  # noqa: F401 - registers the optimizer
  nonfinite,
)


class ClosingTable(NamedTuple):
  """A table that a run ends with.

  Attributes:
    name: of its file in the run's folder, without suffix, and of its text for TensorBoard.
    lines: to print.
    markdown: for TensorBoard.
    content: for the file, without the step; JSON.
  """

  name: str
  lines: list[str]
  markdown: str
  content: dict[str, Any]


class TrainableTask(base_task.Task):
  """A Model Garden task with what our runs ask for besides; the defaults ask for nothing.

  A task has `train_data` and `validation_data` in its configuration, each with `global_batch_size`,
  and applies its gradients by `nonfinite.apply_gradients(self.guard, ...)`.

  Attributes:
    fixed_fields: fields of the configuration, or groups of fields, that the weights depend on: a
      run is not resumed where one of them has changed.
    switch_fields: fields that the weights depend on by whether they are zero.
    hyperparameters: fields that tell runs of the task apart, for TensorBoard's HParams tab.
    counters: names of logs that are no losses; the progress line leaves them out.
    guard: keeps what is not finite from the weights; None lets it pass.
    checkpoint_items: what a checkpoint of training holds besides model and optimizer, by name;
      tasks with a state of their own add to it.
  """

  fixed_fields: ClassVar[Sequence[str]] = ()
  switch_fields: ClassVar[Sequence[str]] = ()
  hyperparameters: ClassVar[Sequence[str]] = ()
  counters: ClassVar[Sequence[str]] = ()

  def __init__(
    self, params: cfg.TaskConfig, logging_dir: str | None = None, name: str | None = None
  ):
    """Keeps the configuration; see Model Garden's task."""
    super().__init__(params, logging_dir=logging_dir, name=name)
    self.guard: nonfinite.Guard | None = None
    self.checkpoint_items: dict[str, tf.Module] = {}

  # Before anything is built: from the configuration alone. No TensorFlow operation may run here, as
  # workers come together before the first one.

  @classmethod
  def check(cls, params: cfg.ExperimentConfig) -> None:
    """Raises ValueError, naming the field, where a setting of the task is not acceptable."""

  @classmethod
  def check_data(cls, config: cfg.TaskConfig, name: str) -> None:
    """Raises ValueError where the data `name`, `train_data` or `validation_data`, are not there."""

  @classmethod
  def check_start(cls, config: cfg.TaskConfig) -> None:
    """Raises ValueError where a new run cannot start, and warns of a start that leads nowhere."""

  @classmethod
  def check_split(cls, config: cfg.TaskConfig, reason: str) -> None:
    """Raises ValueError, with `reason`, where replicas must exchange values before their losses."""

  @classmethod
  def start_from(cls, config: cfg.TaskConfig, weights: str) -> None:
    """Sets the start weights of a run that has none yet, as `--init` asks.

    Raises:
      ValueError: the task has no start weights.
    """
    raise ValueError(f"--init is {weights!r}; accepted: none, as this task has no start weights")

  @classmethod
  def inspect_data(
    cls, config: cfg.TaskConfig, name: str, num_records: int
  ) -> validation_report.ValidationReport | None:
    """Returns what was found in so many records of `train_data` or `validation_data`, if known."""

  @classmethod
  def files(cls, config: cfg.TaskConfig) -> dict[str, str]:
    """Returns the files that a checkpoint means nothing without: name in the run's folder, path."""
    return {}

  @classmethod
  def check_files(cls, config: cfg.TaskConfig, model_dir: str) -> list[str]:
    """Returns in which way `files` differ from those of the run so far, a line each."""
    return []

  # Built.

  @classmethod
  def for_run(
    cls,
    config: cfg.TaskConfig,
    runtime: cfg.RuntimeConfig,
    *,
    logging_dir: str | None = None,
    compile_losses: bool = False,
  ) -> Self:
    """Builds the task of a run.

    Args:
      config: of the task.
      runtime: kernels and precision.
      logging_dir: folder of the run.
      compile_losses: compile what a replica does by itself in a training step, where the step
        cannot be compiled whole.
    """
    return cls(config, logging_dir=logging_dir)

  @classmethod
  def create_optimizer(
    cls,
    optimizer_config: optimization.OptimizationConfig,
    runtime_config: cfg.RuntimeConfig | None = None,
    dp_config: Any = None,
  ) -> tf_keras.optimizers.Optimizer:
    """Returns the optimizer; averages of the weights are the trainer's, see `averaged_weights`."""
    return super().create_optimizer(optimizer_config.replace(ema=None), runtime_config, dp_config)

  @property
  def main_metric(self) -> str:
    """Name of the figure that ranks checkpoints by default."""
    raise NotImplementedError

  @property
  def figures(self) -> Sequence[str]:
    """Names of the figures that can rank checkpoints."""
    return [self.main_metric]

  def prepare_evaluation(self, writes: bool = True) -> None:
    """Reads what evaluation needs besides the validation data.

    Args:
      writes: whether this process leaves result files; of several, one does.

    Raises:
      ValueError: it is at fault, which would otherwise come out after hours of training.
    """

  def build_inputs(
    self,
    params: cfg.DataConfig,
    input_context: tf.distribute.InputContext | None = None,
    first_batch: int = 0,
    skipped_batches: Sequence[int] = (),
  ) -> tf.data.Dataset:
    """Returns the batches; training's from number `first_batch` on, in the order of the numbers.

    Args:
      params: the data.
      input_context: which worker this is; None is the only one.
      first_batch: running number of the training batch to begin with.
      skipped_batches: running numbers of training batches to leave out.
    """
    raise NotImplementedError

  def image_ids(self, params: cfg.DataConfig, batch: int) -> list[str]:
    """Returns what the images of a training batch are called, for a message."""
    return []

  def count_warning(self, values: dict[str, float]) -> str | None:
    """Returns a warning that the logs of a training step give rise to; it is logged once."""
    return None

  def describe_logs(self, values: Mapping[str, float]) -> str:
    """Returns words on the logs of a loop of steps, for the progress line; empty adds none."""
    return ""

  def check_logs(self, values: Mapping[str, float], step: int) -> None:
    """Raises RunError, saying what to change, where the logs of a loop show a run gone wrong.

    Args:
      values: by name, means over the steps of the loop.
      step: at the end of the loop.
    """

  @property
  def nonfinite_advice(self) -> str:
    """Returns what to change where a loss is not finite; empty knows nothing better."""
    return ""

  @property
  def picture_interval(self) -> int:
    """Steps from one drawing to the next; 0 never draws."""
    return 0

  def draw(self, model: tf_keras.Model, step: int) -> list[np.ndarray]:
    """Returns pictures of targets and predictions, uint8 [H, W, 3] each."""
    return []

  def draw_evaluation(self) -> list[np.ndarray]:
    """Returns pictures of the last evaluation, uint8 [H, W, 3] each."""
    return []

  def closing_lines(self, folder: str | None) -> list[str]:
    """Returns the lines that a run ends with, on what its last evaluation found.

    Args:
      folder: takes files that they point to; None takes none.
    """
    return []

  def closing_table(self, model: tf_keras.Model) -> ClosingTable | None:
    """Returns the table that a training ends with, if there is one; in the strategy's scope.

    Args:
      model: trained.
    """

  def describe_evaluation(self, figures: dict[str, float]) -> list[str]:
    """Returns the lines that are printed after an evaluation, before its main figure."""
    return []

  def evaluation_warnings(self, figures: dict[str, float]) -> list[str]:
    """Returns the warnings that are printed after an evaluation, behind its main figure."""
    return []


def class_of(config: cfg.TaskConfig) -> type[TrainableTask]:
  """Returns the class of the task that a configuration is of."""
  return task_factory.get_task_cls(type(config))
