"""Flags to a run: configuration, trainer, training and evaluation."""

import contextlib
import difflib
import functools
import json
import os
import sys
from typing import Any

import tensorflow as tf
from absl import logging
from official.common import distribute_utils
from official.core import config_definitions as cfg
from official.core import task_factory, train_utils
from official.modeling import performance

from mtl_ssl_tf.checkpoints import keras_weights, pretrained
from mtl_ssl_tf.configs import detector, validation
from mtl_ssl_tf.configs.loading import load_experiment
from mtl_ssl_tf.data import label_map, reader, schema
from mtl_ssl_tf.modeling.backbones import registry
from mtl_ssl_tf.tasks import (
  best_checkpoints,
  checkpointing,
  controller,
  data_sample,
  determinism,
  early_stopping,
  mtl_detection,
  pictures,
  progress,
  run_folder,
  runner,
  stopping,
)
from mtl_ssl_tf.tasks import trainer as trainer_lib

MODES = ("train", "eval", "train_and_eval", "train_and_post_eval", "continuous_eval")


def run(
  params: cfg.ExperimentConfig, mode: str, model_dir: str, validate_data: int = 0
) -> tuple[tf.Module | None, dict[str, Any]]:
  """Trains and evaluates as `mode` says, going on from the last checkpoint in `model_dir`.

  Args:
    params: what to run.
    mode: one of `MODES`.
    model_dir: folder of the run.
    validate_data: records of each input that are looked at first; 0 looks at none.

  Returns:
    The detector and the figures of the last evaluation, or None and none where a signal ended it.

  Raises:
    ValueError: if a setting, the label map or the data are not acceptable.
    RunError: if the run cannot go on, for example because the disk is full.
  """
  if mode not in MODES:
    raise ValueError(f"--mode is {mode!r}; accepted: {', '.join(MODES)}")
  validation.check_task(params.task)
  registry.check(params.task.backbone.type)
  validation.check_trainer(params.trainer)
  for name, needed_in in (("train_data", "train"), ("validation_data", "eval")):
    if needed_in in mode:
      _check_data(params.task, name)
      data_sample.check(params.task, name, validate_data)
  if not model_dir:
    raise ValueError("--model_dir is empty; accepted: a folder")
  is_new = not checkpointing.numbered(model_dir)
  if "train" in mode and is_new:
    _check_start(params.task)
  if mode == "eval" and is_new:  # `continuous_eval` waits for the first one.
    raise ValueError(f"--model_dir {model_dir!r} holds no checkpoint to evaluate")
  with contextlib.ExitStack() as stack:
    stop = stack.enter_context(stopping.listening())
    stack.enter_context(determinism.deterministic(params.runtime.deterministic))
    if "train" in mode:
      stack.enter_context(run_folder.locked(model_dir))
    try:
      return _run(params, mode, model_dir, stop)
    except stopping.StoppedError as stopped:
      print(_last_words(mode, model_dir, str(stopped)), flush=True)
      return None, {}


def _run(
  params: cfg.ExperimentConfig, mode: str, model_dir: str, stop: stopping.StopRequest
) -> tuple[tf.Module, dict[str, Any]]:
  checkpoint = run_folder.find_checkpoint(model_dir)
  stop.check()
  if params.runtime.mixed_precision_dtype:
    performance.set_mixed_precision_policy(params.runtime.mixed_precision_dtype)
  strategy = distribute_utils.get_distribution_strategy(
    distribution_strategy=params.runtime.distribution_strategy,
    all_reduce_alg=params.runtime.all_reduce_alg,
    num_gpus=params.runtime.num_gpus,
    tpu_address=params.runtime.tpu,
  )
  with strategy.scope():
    task = task_factory.get_task(
      params.task, logging_dir=model_dir, crop_method=params.runtime.compiled_crop_method
    )
  _choose_best_by(params.trainer, task)
  changes = []
  if "train" in mode and checkpoint is not None:
    changes = run_folder.compare(params, model_dir, task.class_names)
  if "eval" in mode:
    task.prepare_evaluation()
  best = None
  # A look at other data must not change which checkpoint counts as the best.
  if "train" in mode and params.trainer.best_checkpoint_export_subdir:
    best = best_checkpoints.BestCheckpoints(
      os.path.join(model_dir, params.trainer.best_checkpoint_export_subdir),
      params.trainer.best_checkpoint_eval_metric,
      params.trainer.best_checkpoint_metric_comp,
      params.trainer.best_checkpoints_to_keep,
    )
  with strategy.scope():
    trainer = train_utils.create_trainer(
      params,
      task,
      train="train" in mode,
      evaluate="eval" in mode,
      checkpoint_exporter=best,
      trainer_cls=functools.partial(trainer_lib.DetectorTrainer, stop=stop),
    )
    if checkpoint is not None:
      # Orbit would restore what fits, and go on with new weights for the rest.
      mtl_detection.load_detector(
        trainer.model, checkpoint, f"--model_dir {model_dir!r} belongs to another run:"
      )
  stop.check()
  train_actions, progress_line = [], None
  if "train" in mode:
    progress_line = progress.ProgressLine(
      trainer.global_step,
      params.trainer.train_steps,
      params.task.train_data.global_batch_size,
      params.task.train_data.max_num_boxes,
    )
    train_actions = [
      progress_line,
      pictures.TrainingPictures(task, trainer.model, trainer.global_step, model_dir),
      lambda _: progress_line.resume(),  # Drawing is no training.
    ]
  run = runner.Runner(
    restore_from=checkpoint,
    report=functools.partial(
      _report, task, model_dir, params.trainer.best_checkpoint_eval_metric, best
    ),
    progress_line=progress_line,
    distribution_strategy=strategy,
    task=task,
    mode=mode,
    params=params,
    model_dir=model_dir,
    train_actions=train_actions,
    trainer=trainer,
    controller_cls=controller.RunController,
  )
  if "train" in mode:
    with strategy.scope():
      trainer.rewind_inputs()
    run_folder.describe_run(params, model_dir)
    for change in changes:
      print(f"changed since the run began: {change}", flush=True)
    print(early_stopping.describe(params.trainer), flush=True)
    if params.trainer.nonfinite == "recover" and checkpoint is None:
      run.controller.save_checkpoint()  # There must be one to go back to.
  return run.run()


def _last_words(mode: str, model_dir: str, reason: str) -> str:
  if "train" not in mode:
    return f"stopped by {reason} before the figures were complete"
  latest = next(iter(checkpointing.numbered(model_dir).values()), None)
  if latest is None:
    return f"stopped by {reason} before the first step; nothing is lost"
  return f"stopped by {reason}; the same command goes on from {latest}"


def _check_start(task: detector.MtlDetection) -> None:
  """Refuses start weights that are not there, and warns of a start that leads nowhere."""
  if task.init_checkpoint:
    pretrained.check_source(task.init_checkpoint, mtl_detection.INIT_FIELD)
  elif task.backbone.norm.type == "frozen":
    logging.warning(
      "task.backbone.norm.type is 'frozen' and there are no start weights (--init): statistics "
      "that never change fit pretrained weights alone. From scratch, use batch, sync or group."
    )


def start_from(task: detector.MtlDetection, weights: str) -> None:
  """Sets the start weights of a run that has none yet, as `--init` asks.

  ImageNet weights of ResNet come from Keras, so they bring its layout with them.
  """
  task.init_checkpoint = weights
  if weights == keras_weights.IMAGENET and task.backbone.type.startswith("resnet"):
    task.backbone.layout = "keras"


def main_with_flags(flags: Any) -> None:
  """Runs what Model Garden's flags ask for; a bad setting ends it with one line.

  `--verbosity=0` shows Model Garden's own messages, and where in the code an error arose.
  """
  if not flags["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
    # Among them a page of warnings that an evaluation makes no use of the optimizer's state.
    tf.get_logger().setLevel("ERROR")
  try:
    params = load_experiment(flags.experiment, flags.config_file, flags.params_override)
    if flags.init:
      start_from(params.task, flags.init)
    if flags.tpu:
      params.runtime.tpu = flags.tpu
    run(params, flags.mode, flags.model_dir, flags.validate_data)
  except (ValueError, stopping.RunError) as error:
    logging.info("An error arose:", exc_info=True)
    # Gin, which Model Garden goes through, tells the way of the call behind the message.
    message = str(error).split("\n  In call to configurable")[0]
    sys.exit(f"error: {message}")


def _choose_best_by(trainer: cfg.TrainerConfig, task: mtl_detection.MtlDetectionTask) -> None:
  """Sets the figure that tells the best checkpoint, where the configuration leaves it open."""
  trainer.best_checkpoint_eval_metric = trainer.best_checkpoint_eval_metric or task.main_metric
  if trainer.best_checkpoint_eval_metric not in task.detection_figures:
    nearest = difflib.get_close_matches(
      trainer.best_checkpoint_eval_metric, task.detection_figures, n=3, cutoff=0.0
    )
    raise ValueError(
      f"trainer.best_checkpoint_eval_metric is {trainer.best_checkpoint_eval_metric!r}; accepted: "
      f"a figure of the evaluation, the nearest are {', '.join(nearest)}"
    )


def _report(
  task: mtl_detection.MtlDetectionTask,
  model_dir: str,
  best_by: str,
  best_checkpoints_kept: best_checkpoints.BestCheckpoints | None,
  figures: dict[str, Any],
  step: int,
) -> str:
  """Returns the table of an evaluation, and leaves all its figures in a file."""
  figures = {name: float(value) for name, value in figures.items()}
  path = os.path.join(model_dir, f"evaluation-{step}.json")
  # NaN, a class without ground truth, is no JSON.
  finite = {name: value if value == value else None for name, value in figures.items()}
  with checkpointing.writing(path):
    checkpointing.write_text(path, json.dumps({"step": step, **finite}, indent=2))
  lines = [task.detection_tables]
  lines += [
    f"{name.removeprefix('auxiliary/'):28s} {value:.3f}"
    for name, value in figures.items()
    if name.startswith("auxiliary/")
  ]
  best = figures.get(f"best_{best_by}")
  lines.append(
    f"{best_by} {figures[best_by]:.4f}" + ("" if best is None else f" (best {best:.4f})")
  )
  if best_checkpoints_kept is not None:
    kept = [f"step {one.step} {one.figure:.4f}" for one in best_checkpoints_kept.kept]
    lines.append(f"best checkpoints: {', '.join(kept) or 'none'}")
  if figures["dropped_boxes"]:
    lines.append(
      f"warning: ground-truth boxes left out of these figures: {figures['dropped_boxes']:.0f}; "
      "raise task.validation_data.max_num_boxes"
    )
  return "\n".join(lines)


def _check_data(task: Any, name: str) -> None:
  """Compares the records' own label map, where it lies beside them, with the task's."""
  try:
    files = reader.match_files(getattr(task, name).input_path)
  except ValueError as error:
    raise ValueError(f"task.{name}.{error}") from error
  try:
    class_names = label_map.read_label_map(task.label_map)
  except ValueError as error:
    raise ValueError(f"task.label_map: {error}") from error
  for folder in sorted({os.path.dirname(file) for file in files}):
    theirs = os.path.join(folder, schema.LABEL_MAP_FILE)
    if not tf.io.gfile.exists(theirs):
      continue
    with tf.io.gfile.GFile(theirs) as file:  # The records may lie on a remote file system.
      lines = file.read().rstrip("\n").split("\n")
    if [line.strip("\r\ufeff") for line in lines] != class_names:
      raise ValueError(
        f"task.label_map {task.label_map!r} differs from {theirs!r}, the classes that the "
        f"records of task.{name} were written with"
      )
