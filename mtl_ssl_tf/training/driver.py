"""From flags to a run: configuration, checks, devices, and the process that writes.

The calls from `train.py` to the losses of a step; [MG] is Model Garden, [Orbit] its loop:

    train.run, main                                 parses the flags
      main_with_flags                               experiment + YAML files + overrides -> params
        run                                         checks, signals, strategy, lock
          assembly.TrainingRun.__init__             builds task, trainer (model, optimizer), runner
          assembly.TrainingRun.__call__             trainer.rewind_inputs -> task.build_inputs
            runner.ExperimentRunner.run             [MG] by --mode
              controller.ResumableController        train, train_and_evaluate or evaluate
                TaskTrainer.train                   [Orbit] begin, loop, end
                  TaskTrainer.train_step            the next batch, on every replica
                    _guarded_step                   keeps what is not finite from the weights
                      MtlDetectionTask.train_step   losses -> gradients -> update
                        _compute_replica_losses     auxiliary targets
                          supervise                 first stage, and the ground truth of the step
                          training_losses.replica_losses    RPN, heads, refinement
                        training_losses.reduce_over_replicas

`tasks/training_losses.py` continues from there, `modeling/detector.py` has the network.
"""

import contextlib
import sys
from typing import Any

import tensorflow as tf
from absl import logging as absl_logging
from official.core import config_definitions as cfg

from mtl_ssl_tf import terminal, texts
from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.configs import experiments, validation
from mtl_ssl_tf.configs.loading import load_experiment
from mtl_ssl_tf.training import (
  assembly,
  checkpointing,
  data_sample,
  determinism,
  run_folder,
  stopping,
  strategies,
  workers,
)
from mtl_ssl_tf.training import task as task_lib

MODES = ("train", "eval", "train_and_eval", "train_and_post_eval", "continuous_eval")


def run(
  params: cfg.ExperimentConfig, mode: str, model_dir: str, validate_data: int = 0
) -> tuple[tf.Module | None, dict[str, Any]]:
  """Trains and evaluates as `mode` says, resuming from the last checkpoint in `model_dir`.

  Args:
    params: what to run.
    mode: one of `MODES`.
    model_dir: folder of the run.
    validate_data: records of each input that are examined first; 0 examines none.

  Returns:
    The model and the figures of the last evaluation, or None and none where a signal ended it.

  Raises:
    ValueError: if a setting, the label map or the data are not acceptable.
    RunError: if the run cannot continue, for example because the disk is full.
  """
  _check(params, mode, model_dir)
  with contextlib.ExitStack() as stack:
    stop = stack.enter_context(stopping.listening())
    is_on_tpu = params.runtime.distribution_strategy == strategies.TPU
    stack.enter_context(determinism.deterministic(params.runtime.deterministic and not is_on_tpu))
    strategy = strategies.create(params.runtime)
    # TensorFlow has put a handler of its own in our place where there are several workers.
    stack.enter_context(stopping.listening(stop))
    strategies.check_replicas(params, mode, strategy)
    stack.enter_context(workers.losing_none(strategy))
    workers.stop_together(strategy, stop)
    try:
      with checkpointing.reporting_full_disk(model_dir), contextlib.ExitStack() as in_folder:
        folder = in_folder.enter_context(workers.own_folder(strategy, model_dir))
        for name in _data_names(mode):
          data_sample.check(params.task, name, validate_data)
        if "train" in mode and strategies.is_chief(strategy):
          in_folder.enter_context(run_folder.locked(model_dir))
        checkpoint = run_folder.find_checkpoint(model_dir)
        workers.check_same_start(strategy, model_dir, checkpoint)
        stop.check()
        return assembly.TrainingRun(strategy, params, mode, folder, checkpoint, stop)()
    except stopping.StoppedError as stopped:
      if strategies.is_chief(strategy):
        terminal.show(_last_words(mode, model_dir, str(stopped)))
      return None, {}


def _data_names(mode: str) -> list[str]:
  needed_in = {"train_data": "train", "validation_data": "eval"}
  return [name for name, part in needed_in.items() if part in mode]


def _check(params: cfg.ExperimentConfig, mode: str, model_dir: str) -> None:
  """Refuses what cannot be run, before anything is built or written.

  Nothing here may run an operation: workers come together before TensorFlow's first one.

  Raises:
    ValueError: naming what is at fault.
  """
  if mode not in MODES:
    raise ValueError(f"--mode is {mode!r}; accepted: {', '.join(MODES)}")
  task_class = task_lib.class_of(params.task)
  task_class.check(params)
  validation.check_trainer(params.trainer)
  validation.check_runtime(params.runtime)
  strategies.check(params, mode)
  for name in _data_names(mode):
    task_class.check_data(params.task, name)
  if not model_dir:
    raise ValueError("--model_dir is empty; accepted: a folder")
  is_new = not run_checkpoints.numbered(model_dir)
  if "train" in mode and is_new:
    task_class.check_start(params.task)
  if mode == "eval" and is_new:  # `continuous_eval` waits for the first one.
    raise ValueError(f"--model_dir {model_dir!r} holds no checkpoint; accepted: one to evaluate")


def _last_words(mode: str, model_dir: str, reason: str) -> str:
  if "train" not in mode:
    return f"stopped by {reason} before the figures were complete"
  latest = next(iter(run_checkpoints.numbered(model_dir).values()), None)
  if latest is None:
    return f"stopped by {reason} before the first step; nothing is lost"
  return f"stopped by {reason}; the same command resumes from {latest}"


def main_with_flags(flags: Any) -> None:
  """Runs what Model Garden's flags ask for; a bad setting ends it with one line.

  `--verbosity=0` shows all messages, also where in the code an error arose.
  """
  terminal.set_up(flags.verbosity if flags["verbosity"].present else None)
  try:
    experiment = flags.experiment or experiments.DEFAULT
    params = load_experiment(experiment, flags.config_file, flags.params_override)
    if flags.init:
      task_lib.class_of(params.task).start_from(params.task, flags.init)
    if flags.tpu:
      params.runtime.tpu = flags.tpu
    run(params, flags.mode, flags.model_dir, flags.validate_data)
  except (ValueError, stopping.RunError) as error:
    absl_logging.info("An error arose:", exc_info=True)
    # Gin, which Model Garden goes through, appends the way of the call to the message.
    message = texts.error_text(error).split("\\n  In call to configurable")[0]
    sys.exit(f"error: {message}")
