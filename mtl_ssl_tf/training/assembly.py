"""Builds task, model, trainer and runner of a run, in one process, and executes them."""

import difflib
import functools
import logging
import os
from typing import Any

import tensorflow as tf
from official.core import config_definitions as cfg
from official.core import train_utils

from mtl_ssl_tf import terminal
from mtl_ssl_tf.checkpoints import model_checkpoint
from mtl_ssl_tf.data.records import index as record_index
from mtl_ssl_tf.training import (
  averaged_weights,
  best_checkpoints,
  controller,
  early_stopping,
  evaluation_log,
  hyperparameters,
  learning_rates,
  pictures,
  progress,
  run_folder,
  runner,
  stopping,
  strategies,
  workers,
)
from mtl_ssl_tf.training import task as task_lib
from mtl_ssl_tf.training import trainer as trainer_lib

_LOGGER = logging.getLogger(__name__)


class TrainingRun:
  """One run in a folder, new or resumed from a checkpoint: built, then executed by a call."""

  def __init__(
    self,
    strategy: tf.distribute.Strategy,
    params: cfg.ExperimentConfig,
    mode: str,
    model_dir: str,
    checkpoint: str | None,
    stop: stopping.StopRequest,
  ):
    """Builds everything and restores the checkpoint; nothing is written yet.

    Args:
      strategy: of the run.
      params: what to run, checked.
      mode: one of `driver.MODES`.
      model_dir: folder that this process writes into, the run's own if it is the chief.
      checkpoint: readable one to resume from; None starts a new run.
      stop: ends the run.

    Raises:
      ValueError: settings, label map and checkpoint do not go together.
      StoppedError: the run was asked to end.
    """
    self._strategy, self._params = strategy, params
    self._model_dir, self._checkpoint = model_dir, checkpoint
    # Now, as the checkpoint may be deleted for newer ones before the first evaluation.
    self._begins_with_averages = checkpoint is not None and averaged_weights.are_in(checkpoint)
    self._trains = "train" in mode
    self._is_chief = strategies.is_chief(strategy)
    self._task = self._build_task()
    self._params = params = _with_best_metric(params, self._task)
    self._changes = []
    if self._trains and checkpoint is not None and self._is_chief:
      self._changes = run_folder.compare(params, model_dir)
    # Evaluation alone may have other settings than the run, whose figures are to stay.
    self._changed_for_evaluation = (
      {} if self._trains else run_folder.evaluation_changes(params, model_dir)
    )
    if "eval" in mode:
      self._task.prepare_evaluation(writes=self._is_chief)
    # Evaluation alone, maybe of other data, must not change which checkpoint is the best.
    self._best = self._build_best() if self._trains else None
    self._trainer = self._build_trainer(mode, stop)
    stop.check()
    progress_line, actions = self._build_actions() if self._trains else (None, [])
    self._draw_evaluation = pictures.ValidationPictures(self._task, model_dir)
    self._trial: hyperparameters.Trial | None = None  # Of a run that trains.
    self._runner = runner.ExperimentRunner(
      restore_from=checkpoint,
      report=self._report,
      progress_line=progress_line,
      distribution_strategy=strategy,
      task=self._task,
      mode=mode,
      params=params,
      model_dir=model_dir,
      train_actions=actions,
      trainer=self._trainer,
      controller_cls=controller.ResumableController,
    )

  def __call__(self) -> tuple[tf.Module, dict[str, Any]]:
    """Trains and evaluates; returns the model and the figures of the last evaluation.

    Raises:
      StoppedError: the run was asked to end; all it did is saved.
      RunError: the run cannot continue.
    """
    params = self._params
    if self._trains:
      with self._strategy.scope():
        self._trainer.rewind_inputs()
      run_folder.describe_run(params, self._model_dir)
      pictures.write_configuration(
        run_folder.configuration_text(self._model_dir),
        self._model_dir,
        int(self._trainer.global_step.numpy()),
      )
      self._trial = hyperparameters.start(params, self._task, self._model_dir)
      for change in self._changes:
        terminal.show(f"changed since the run began: {change}")
      terminal.show(learning_rates.description(params))
      terminal.show(early_stopping.describe(params.trainer))
      if self._trainer.averages is not None:
        terminal.show(self._trainer.averages.describe())
      for each in (learning_rates, early_stopping):
        for line in each.warnings(params.trainer):
          _LOGGER.warning(line)
      if params.trainer.nonfinite == "recover" and self._checkpoint is None:
        self._runner.controller.save_checkpoint()  # There must be one to go back to.
    result = self._runner.run()
    if self._is_chief:
      self._print_closing_lines()
    if self._trial is not None:
      self._trial.end()
    return result

  def _report(self, figures: dict[str, Any], step: int) -> str:
    """Leaves figures and pictures of an evaluation; returns the text to print."""
    text = evaluation_log.report(
      self._task,
      self._model_dir,
      self._params.trainer.best_checkpoint_eval_metric,
      self._best,
      figures,
      step,
      is_averaged=self._evaluates_averages(),
      changed=self._changed_for_evaluation,
    )
    self._draw_evaluation(step)
    if self._trial is not None:
      self._trial.add(figures, step)
    return text

  def _print_closing_lines(self) -> None:
    """Prints the task's lines on the last evaluation, if there was one, and a training's table."""
    # Evaluation alone, perhaps of other data, writes nothing over the run's.
    takes_files = self._trains and not record_index.is_remote(self._model_dir)
    for line in self._task.closing_lines(self._model_dir if takes_files else None):
      terminal.show(line)
    if self._trains:
      with self._strategy.scope():
        table = self._task.closing_table(self._trainer.model)
      if table is not None:
        evaluation_log.leave_table(table, self._model_dir, int(self._trainer.global_step.numpy()))

  def _build_task(self) -> task_lib.TrainableTask:
    runtime = self._params.runtime
    with self._strategy.scope():
      return task_lib.class_of(self._params.task).for_run(
        self._params.task,
        runtime,
        logging_dir=self._model_dir,
        compile_losses=strategies.compiles_losses(runtime, self._strategy),
      )

  def _build_best(self) -> best_checkpoints.BestCheckpoints | None:
    trainer = self._params.trainer
    if not trainer.best_checkpoint_export_subdir:
      return None
    return best_checkpoints.BestCheckpoints(
      os.path.join(self._model_dir, trainer.best_checkpoint_export_subdir),
      trainer.best_checkpoint_eval_metric,
      trainer.best_checkpoint_metric_comp,
      trainer.best_checkpoints_to_keep,
      functools.partial(workers.as_the_chief, self._strategy),
    )

  def _build_trainer(self, mode: str, stop: stopping.StopRequest) -> trainer_lib.TaskTrainer:
    params = self._params
    params = params.replace(
      trainer=params.trainer.replace(optimizer_config=learning_rates.scaled(params))
    )
    with self._strategy.scope():
      trainer = trainer_lib.TaskTrainer(
        params,
        self._task,
        self._task.build_model(),
        train_utils.create_optimizer(self._task, params),
        train=self._trains,
        evaluate="eval" in mode,
        checkpoint_exporter=self._best,
        stop=stop,
      )
      if self._checkpoint is not None:
        # Orbit would restore what fits, and continue with new weights for the rest.
        model_checkpoint.load_model(
          trainer.model,
          self._checkpoint,
          f"--model_dir {self._model_dir!r} belongs to another run:",
        )
    return trainer

  def _evaluates_averages(self) -> bool:
    return self._trainer.averages is not None or self._begins_with_averages

  def _build_actions(self) -> tuple[progress.ProgressLine, list]:
    trainer = self._trainer
    progress_line = progress.ProgressLine(
      trainer.global_step,
      self._params.trainer.train_steps,
      self._params.task.train_data.global_batch_size,
      self._task.counters,
      self._task.count_warning,
      self._task.describe_logs,
    )
    drawing = pictures.TrainingPictures(
      self._task, trainer.model, trainer.global_step, self._model_dir
    )

    def check(output: dict[str, tf.Tensor]) -> None:
      self._task.check_logs(progress.as_numbers(output), int(trainer.global_step.numpy()))

    # The time that drawing takes does not count for the rate of training.
    return progress_line, [progress_line, check, drawing, lambda _: progress_line.resume()]


def _with_best_metric(
  params: cfg.ExperimentConfig, task: task_lib.TrainableTask
) -> cfg.ExperimentConfig:
  """Returns a copy that names the metric of the best checkpoint, by default the task's main one.

  Raises:
    ValueError: the evaluation has no such metric.
  """
  metric = params.trainer.best_checkpoint_eval_metric or task.main_metric
  if metric not in task.figures:
    nearest = difflib.get_close_matches(metric, task.figures, n=3, cutoff=0.0)
    raise ValueError(
      f"trainer.best_checkpoint_eval_metric is {metric!r}; accepted: a figure of the evaluation,"
      f" the nearest are {', '.join(nearest)}"
    )
  return params.replace(trainer=params.trainer.replace(best_checkpoint_eval_metric=metric))
