"""Flags to a run: configuration, trainer, training and evaluation."""

import functools
import json
import os
import sys
from typing import Any

import tensorflow as tf
import yaml
from official.common import distribute_utils
from official.core import config_definitions as cfg
from official.core import exp_factory, task_factory, train_lib, train_utils
from official.modeling import performance
from official.modeling.hyperparams import params_dict

from mtl_ssl_tf.configs import validation
from mtl_ssl_tf.data import reader
from mtl_ssl_tf.tasks import mtl_detection, pictures, progress

MODES = ("train", "eval", "train_and_eval", "train_and_post_eval", "continuous_eval")


def load_experiment(
  experiment: str, config_files: list[str] | None = None, params_override: str | None = None
) -> cfg.ExperimentConfig:
  """Returns the named experiment with the overrides of each file, then of the string.

  Args:
    experiment: a registered name.
    config_files: YAML files, later ones win.
    params_override: a YAML mapping, e.g. `task: {seed: 1}` or `task.seed=1`, or a YAML file.

  Raises:
    ValueError: if the name, a file, or a field in it is not known.
  """
  try:
    params = exp_factory.get_exp_config(experiment)
  except (LookupError, TypeError) as error:
    raise ValueError(f"--experiment is {experiment!r}; accepted: mtl_frcnn") from error
  for path in config_files or ():
    params.override(_checked(_read_yaml(path), params, path), is_strict=True)
  if params_override:
    flag = "--params_override"
    if os.path.exists(params_override):
      overrides = _read_yaml(params_override)
    elif "=" in params_override.split(":")[0]:
      overrides = params_dict.nested_csv_str_to_json_str(params_override)
      overrides = json.loads(overrides) if isinstance(overrides, str) else overrides
    else:
      overrides = _parse_yaml(params_override, flag)
    params.override(_checked(overrides, params, flag), is_strict=True)
  return params


def run(
  params: cfg.ExperimentConfig, mode: str, model_dir: str
) -> tuple[tf.Module, dict[str, Any]]:
  """Trains and evaluates as `mode` says, going on from the last checkpoint in `model_dir`.

  Raises:
    ValueError: if a setting, the label map or the data are not acceptable.
  """
  if mode not in MODES:
    raise ValueError(f"--mode is {mode!r}; accepted: {', '.join(MODES)}")
  validation.check_task(params.task)
  for name in ("train_data", "validation_data"):
    if name == "validation_data" or "train" in mode:
      _check_data(params.task, name)
  if "train" not in mode and tf.train.latest_checkpoint(model_dir) is None:
    raise ValueError(f"--model_dir {model_dir!r} holds no checkpoint to evaluate")
  if params.runtime.mixed_precision_dtype:
    performance.set_mixed_precision_policy(params.runtime.mixed_precision_dtype)
  strategy = distribute_utils.get_distribution_strategy(
    distribution_strategy=params.runtime.distribution_strategy,
    all_reduce_alg=params.runtime.all_reduce_alg,
    num_gpus=params.runtime.num_gpus,
    tpu_address=params.runtime.tpu,
  )
  with strategy.scope():
    task = task_factory.get_task(params.task, logging_dir=model_dir)
  params.trainer.best_checkpoint_eval_metric = task.main_metric
  if "train" in mode:
    tf.io.gfile.makedirs(model_dir)
    train_utils.serialize_config(params, model_dir)
    label_map_copy = os.path.join(model_dir, "label_map.txt")
    tf.io.gfile.copy(params.task.label_map, label_map_copy, overwrite=True)

  with strategy.scope():
    trainer = train_utils.create_trainer(
      params,
      task,
      train="train" in mode,
      evaluate="eval" in mode,
      checkpoint_exporter=train_lib.maybe_create_best_ckpt_exporter(params, model_dir),
    )
  actions, progress_line = [], None
  if "train" in mode:
    progress_line = progress.ProgressLine(
      trainer.global_step,
      params.trainer.train_steps,
      params.task.train_data.global_batch_size,
      params.task.train_data.max_num_boxes,
    )
    actions = [
      progress_line,
      pictures.TrainingPictures(task, trainer.model, trainer.global_step, model_dir),
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
      report=functools.partial(_report, task, model_dir),
      progress=progress_line,
    ),
  )


def main_with_flags(flags: Any) -> None:
  """Runs what Model Garden's flags ask for; a bad setting ends it with one line."""
  try:
    params = load_experiment(flags.experiment, flags.config_file, flags.params_override)
    if flags.tpu:
      params.runtime.tpu = flags.tpu
    run(params, flags.mode, flags.model_dir)
  except ValueError as error:
    sys.exit(f"error: {error}")


def _report(
  task: mtl_detection.MtlDetectionTask, model_dir: str, figures: dict[str, Any], step: int
) -> str:
  """Returns the table of an evaluation, and leaves all its figures in a file."""
  figures = {name: float(value) for name, value in figures.items()}
  path = os.path.join(model_dir, f"evaluation-{step}.json")
  with tf.io.gfile.GFile(path, "w") as file:
    # NaN, a class without ground truth, is no JSON.
    finite = {name: value if value == value else None for name, value in figures.items()}
    json.dump({"step": step, **finite}, file, indent=2)
  lines = [task.voc_table]
  lines += [
    f"{name.removeprefix('auxiliary/'):28s} {value:.3f}"
    for name, value in figures.items()
    if name.startswith("auxiliary/")
  ]
  name = task.main_metric
  lines.append(
    f"{name} {figures[name]:.4f} (best {figures.get('best_' + name, figures[name]):.4f})"
  )
  return "\n".join(lines)


def _check_data(task: Any, name: str) -> None:
  """Compares the records' own label map and manifest, where they lie beside, with the task's."""
  data = getattr(task, name)
  try:
    files = reader.match_files(data.input_path)
  except ValueError as error:
    raise ValueError(f"task.{name}.{error}") from error
  if not tf.io.gfile.exists(task.label_map):
    raise ValueError(f"task.label_map {task.label_map!r} does not exist")
  for folder in sorted({os.path.dirname(file) for file in files}):
    theirs = os.path.join(folder, "label_map.txt")
    if tf.io.gfile.exists(theirs):
      with tf.io.gfile.GFile(theirs) as a, tf.io.gfile.GFile(task.label_map) as b:
        if a.read().split("\n") != b.read().split("\n"):
          raise ValueError(
            f"task.label_map {task.label_map!r} differs from {theirs!r}, the classes that the "
            f"records of task.{name} were written with"
          )


def _read_yaml(path: str) -> Any:
  try:
    with tf.io.gfile.GFile(path) as file:
      text = file.read()
  except (tf.errors.OpError, UnicodeDecodeError) as error:
    raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from error
  return _parse_yaml(text, path)


def _parse_yaml(text: str, source: str) -> Any:
  try:
    return yaml.load(text, params_dict._LOADER)
  except yaml.YAMLError as error:
    problem = " ".join(str(error).split())
    raise ValueError(f"{source}: not YAML ({problem})") from error


def _checked(overrides: Any, params: cfg.ExperimentConfig, source: str) -> dict[str, Any]:
  validation.check_keys(overrides, params, source)
  return overrides
