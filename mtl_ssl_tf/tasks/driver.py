"""Flags to a run: configuration, trainer, training and evaluation."""

import contextlib
import difflib
import functools
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from absl import logging
from official.core import config_definitions as cfg
from official.core import task_factory, train_lib, train_utils

from mtl_ssl_tf.checkpoints import keras_weights, pretrained
from mtl_ssl_tf.configs import data_validation, detector, validation
from mtl_ssl_tf.configs.loading import load_experiment
from mtl_ssl_tf.data import label_map, reader, schema
from mtl_ssl_tf.modeling.backbones import registry
from mtl_ssl_tf.tasks import (
  data_sample,
  learning_rates,
  mtl_detection,
  pictures,
  progress,
  strategies,
  workers,
)
from mtl_ssl_tf.tasks import trainer as trainer_lib

MODES = ("train", "eval", "train_and_eval", "train_and_post_eval", "continuous_eval")


def run(
  params: cfg.ExperimentConfig, mode: str, model_dir: str, validate_data: int = 0
) -> tuple[tf.Module, dict[str, Any]]:
  """Trains and evaluates as `mode` says, going on from the last checkpoint in `model_dir`.

  Args:
    params: what to run.
    mode: one of `MODES`.
    model_dir: folder of the run.
    validate_data: records of each input that are looked at first; 0 looks at none.

  Raises:
    ValueError: if a setting, the label map or the data are not acceptable.
  """
  if mode not in MODES:
    raise ValueError(f"--mode is {mode!r}; accepted: {', '.join(MODES)}")
  validation.check_task(params.task)
  registry.check(params.task.backbone.type)
  validation.check_trainer(params.trainer)
  data_validation.check_loops(params.task, params.trainer)
  validation.check_runtime(params.runtime)
  strategies.check(params, mode)
  for name, needed_in in (("train_data", "train"), ("validation_data", "eval")):
    if needed_in in mode:
      _check_data(params.task, name)
      data_sample.check(params.task, name, validate_data)
  if not model_dir:
    raise ValueError("--model_dir is empty; accepted: a folder")
  checkpoint = tf.train.latest_checkpoint(model_dir)
  if "train" in mode and checkpoint is None:
    _check_start(params.task)
  if mode == "eval" and checkpoint is None:  # `continuous_eval` waits for the first one.
    raise ValueError(f"--model_dir {model_dir!r} holds no checkpoint to evaluate")
  strategy = strategies.create(params.runtime)
  strategies.check_replicas(params, mode, strategy)
  workers.check_same_start(strategy, model_dir, checkpoint)
  best_subdir = params.trainer.best_checkpoint_export_subdir
  with (
    workers.losing_none(strategy),
    workers.own_folder(strategy, model_dir, best_subdir) as folder,
  ):
    return _run_on(strategy, params, mode, folder, checkpoint)


def _run_on(
  strategy: tf.distribute.Strategy,
  params: cfg.ExperimentConfig,
  mode: str,
  model_dir: str,
  checkpoint: str | None,
) -> tuple[tf.Module, dict[str, Any]]:
  """Builds task and trainer, and does what `mode` says, writing into `model_dir`."""
  is_chief = strategies.is_chief(strategy)
  if not is_chief:
    params.task.evaluation.results_dir = ""
  with strategy.scope():
    task = task_factory.get_task(
      params.task,
      logging_dir=model_dir,
      crop_method=params.runtime.compiled_crop_method,
      precision=params.runtime.mixed_precision_dtype or "float32",
      compile_losses=strategies.compiles_losses(params.runtime, strategy),
    )
  _choose_best_by(params.trainer, task)
  if "eval" in mode:
    task.prepare_evaluation()
  exporter = None
  if mode != "eval":  # A look at other data must not change which checkpoint counts as the best.
    with _writing_to(model_dir):
      exporter = train_lib.maybe_create_best_ckpt_exporter(params, model_dir)
  with strategy.scope():
    trainer = train_utils.create_trainer(
      params.replace(
        trainer=params.trainer.replace(optimizer_config=learning_rates.scaled(params))
      ),
      task,
      train="train" in mode,
      evaluate="eval" in mode,
      checkpoint_exporter=exporter,
      trainer_cls=trainer_lib.DetectorTrainer,
    )
    trainer.resume_from = None if is_chief else checkpoint
    if checkpoint is not None:
      # Orbit would restore what fits, and go on with new weights for the rest.
      mtl_detection.load_detector(
        trainer.model, checkpoint, f"--model_dir {model_dir!r} belongs to another run:"
      )
  actions, progress_line = [], None
  if "train" in mode:
    _describe_run(params, model_dir)
    print(learning_rates.description(params), flush=True)
    progress_line = progress.ProgressLine(
      trainer.global_step,
      params.trainer.train_steps,
      params.task.train_data.global_batch_size,
      params.task.train_data.max_num_boxes,
      write=None if is_chief else lambda _: None,
    )
    actions = [
      progress_line,
      pictures.TrainingPictures(task, trainer.model, trainer.global_step, model_dir),
      lambda _: progress_line.resume(),  # Drawing is no training.
    ]
  return train_lib.run_experiment(
    distribution_strategy=strategy,
    task=task,
    mode=mode,
    params=params,
    model_dir=model_dir,
    trainer=trainer,
    train_actions=actions,
    controller_cls=functools.partial(
      progress.ReportingController,
      report=functools.partial(
        _report, task, model_dir, params.trainer.best_checkpoint_eval_metric
      ),
      progress=progress_line,
    ),
  )


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
  except ValueError as error:
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


@contextlib.contextmanager
def _writing_to(model_dir: str) -> Iterator[None]:
  try:
    yield
  except tf.errors.OpError as error:
    raise ValueError(f"--model_dir {model_dir!r} cannot be written to: {error.message}") from error


def _describe_run(params: cfg.ExperimentConfig, model_dir: str) -> None:
  """Leaves in the folder what its checkpoints can be understood by."""
  with _writing_to(model_dir):
    tf.io.gfile.makedirs(model_dir)
    train_utils.serialize_config(params, model_dir)
    label_map_copy = os.path.join(model_dir, schema.LABEL_MAP_FILE)
    tf.io.gfile.copy(params.task.label_map, label_map_copy, overwrite=True)


def _report(
  task: mtl_detection.MtlDetectionTask,
  model_dir: str,
  best_by: str,
  figures: dict[str, Any],
  step: int,
) -> str:
  """Returns the table of an evaluation, and leaves all its figures in a file."""
  figures = {name: float(value) for name, value in figures.items()}
  path = os.path.join(model_dir, f"evaluation-{step}.json")
  with tf.io.gfile.GFile(path, "w") as file:
    # NaN, a class without ground truth, is no JSON.
    finite = {name: value if value == value else None for name, value in figures.items()}
    json.dump({"step": step, **finite}, file, indent=2)
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
