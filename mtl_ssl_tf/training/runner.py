"""Model Garden's experiment runner with our checkpoints, controller and recovery."""

import os
import tempfile
from collections.abc import Callable

import orbit
from official.core import actions, train_lib

from mtl_ssl_tf.training import checkpointing, controller, progress, recovery
from mtl_ssl_tf.training import trainer as trainer_lib


class ExperimentRunner(train_lib.OrbitExperimentRunner):
  """Runs an experiment from a given checkpoint, and saves the next ones."""

  def __init__(
    self,
    *,
    restore_from: str | None,
    report: Callable[[dict[str, float], int], str],
    progress_line: progress.ProgressLine | None,
    **kwargs,
  ):
    """Builds checkpoint manager and controller, and restores the run.

    Args:
      restore_from: a checkpoint that can be read; None starts a new run.
      report: see `ReportingController`.
      progress_line: see there.
      **kwargs: Model Garden's.
    """
    self._restore_from = restore_from
    self._report, self._progress_line = report, progress_line
    super().__init__(**kwargs)

  def _maybe_build_checkpoint_manager(self) -> checkpointing.RunCheckpoints:
    settings = self.params.trainer
    directory, max_to_keep = self.model_dir, settings.max_to_keep
    if not self.strategy.extended.should_checkpoint:
      # All workers take part in saving, but only the chief's files count.
      directory, max_to_keep = tempfile.mkdtemp(), 1
    elif "train" in self._mode:
      with checkpointing.writing(directory):
        checkpointing.tidy(directory, self._restore_from)
    return checkpointing.RunCheckpoints(
      self.trainer.checkpoint,
      directory,
      self._restore_from,
      self.trainer.global_step,
      settings.checkpoint_interval,
      max_to_keep,
      self.trainer.initialize,
    )

  def _build_controller(
    self,
    trainer: trainer_lib.TaskTrainer | None,
    evaluator: trainer_lib.TaskTrainer | None,
    save_summary: bool = True,
    train_actions: list[orbit.Action] | None = None,
    eval_actions: list[orbit.Action] | None = None,
    controller_cls: type = controller.ResumableController,
    enable_async_checkpointing: bool = False,
  ) -> controller.ResumableController:
    # Not Model Garden's train actions: they act on preemption and on NaN by themselves.
    settings = self.params.trainer
    eval_actions = list(eval_actions or ())
    eval_actions += actions.get_eval_actions(self.params, evaluator, self.model_dir)
    is_chief = self.strategy.extended.should_checkpoint
    return controller_cls(
      strategy=self.strategy,
      trainer=trainer,
      evaluator=evaluator,
      global_step=self.trainer.global_step,
      steps_per_loop=settings.steps_per_loop,
      checkpoint_manager=self.checkpoint_manager,
      enable_async_checkpointing=enable_async_checkpointing,
      summary_dir=os.path.join(self.model_dir, "train") if save_summary else None,
      eval_summary_dir=(
        os.path.join(self.model_dir, settings.validation_summary_subdir) if save_summary else None
      ),
      summary_interval=settings.summary_interval if save_summary else None,
      train_actions=train_actions,
      eval_actions=eval_actions,
      report=self._report,
      progress=self._progress_line,
      metric=settings.best_checkpoint_eval_metric,
      early_stopping=trainer.early_stopping if trainer else None,
      recover=recovery.Recovery(trainer, self.model_dir, is_chief) if trainer else None,
      times=trainer.times if trainer else None,
    )
