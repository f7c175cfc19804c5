"""The folder of a training run to a SavedModel."""

import dataclasses
import os
import tempfile
from collections.abc import Callable

import tensorflow as tf
import yaml
from official.core import exp_factory

from mtl_ssl_tf.configs import (
  detector,
  experiments,  # noqa: F401 - registers the experiment
  overrides,
  validation,
)
from mtl_ssl_tf.data import label_map, schema
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.serving import detection_module

_EXPERIMENT = "mtl_frcnn"
_PARAMS_FILE = "params.yaml"
_STEP_IN_CHECKPOINT = "global_step/.ATTRIBUTES/VARIABLE_VALUE"


@dataclasses.dataclass(frozen=True)
class Run:
  """What a training run left behind.

  Attributes:
    task: the configuration that it ran under.
    label_map_file: its copy of the label map.
    class_names: class 1 first.
    checkpoint: path prefix of the checkpoint to use.
    choice: which one that is: "best", "latest" or "given".
    step: that it was saved at; None where the checkpoint does not say.
  """

  task: detector.MtlDetection
  label_map_file: str
  class_names: list[str]
  checkpoint: str
  choice: str
  step: int | None


def export_run(
  model_dir: str,
  export_dir: str,
  *,
  checkpoint: str | None = None,
  overwrite: bool = False,
  say: Callable[[str], object] = print,
) -> None:
  """Writes the SavedModel of a run; `export_dir` comes to be whole or not at all.

  Args:
    model_dir: of the run, with `params.yaml`, `label_map.txt` and checkpoints.
    export_dir: folder to write.
    checkpoint: path prefix of a checkpoint, or a folder whose latest is meant; by default the
      run's best, or else its latest.
    overwrite: replace an earlier export.
    say: takes lines about what is done.

  Raises:
    ValueError: something is missing or not acceptable.
    OSError: `export_dir` cannot be written.
  """
  export_dir = os.path.abspath(export_dir)
  _check_target(export_dir, overwrite)
  run = read_run(model_dir, checkpoint)
  step = "" if run.step is None else f", step {run.step}"
  say(f"checkpoint: {run.checkpoint} ({run.choice}{step})")
  module = build_module(run)
  parent, name = os.path.split(export_dir)
  os.makedirs(parent, exist_ok=True)
  # Beside the target, so that moving is renaming; with what is replaced, it goes away in the end.
  with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=parent) as folder:
    new = os.path.join(folder, "new")
    tf.saved_model.save(module, new, signatures=module.signatures())
    if _is_export(export_dir):
      os.rename(export_dir, os.path.join(folder, "old"))
    os.rename(new, export_dir)
  say(f"SavedModel: {export_dir} (classes: {len(run.class_names)})")


def read_run(model_dir: str, checkpoint: str | None = None) -> Run:
  """What `model_dir` holds.

  Raises:
    ValueError: naming what is missing or not acceptable.
  """
  if not os.path.isdir(model_dir):
    raise ValueError(f"--model_dir {model_dir!r} is no folder")
  for name in (_PARAMS_FILE, schema.LABEL_MAP_FILE):
    if not os.path.isfile(os.path.join(model_dir, name)):
      raise ValueError(f"--model_dir {model_dir!r} holds no {name}, which training writes there")
  label_map_file = os.path.join(model_dir, schema.LABEL_MAP_FILE)
  class_names = label_map.read_label_map(label_map_file)
  params = _read_params(os.path.join(model_dir, _PARAMS_FILE))
  validation.check_task(params.task)
  best_dir = os.path.join(model_dir, params.trainer.best_checkpoint_export_subdir or "")
  path, choice = _find_checkpoint(model_dir, best_dir, checkpoint)
  try:
    reader = tf.train.load_checkpoint(path)
  except (tf.errors.OpError, ValueError, RuntimeError) as error:
    raise ValueError(f"checkpoint {path!r} cannot be read ({_first_line(error)})") from error
  step = None
  if reader.has_tensor(_STEP_IN_CHECKPOINT):
    step = int(reader.get_tensor(_STEP_IN_CHECKPOINT))
  return Run(params.task, label_map_file, class_names, path, choice, step)


def build_module(run: Run) -> detection_module.DetectionModule:
  """The detector of a run with the weights of its checkpoint.

  Raises:
    ValueError: the checkpoint holds another detector.
  """
  model = factory.build_detector(run.task, len(run.class_names) + 1)
  try:
    status = tf.train.Checkpoint(model=model).read(run.checkpoint)
    # Partial, since optimizer and step are in the checkpoint too.
    status.expect_partial().assert_existing_objects_matched()
  except (tf.errors.OpError, AssertionError, ValueError, LookupError) as error:
    raise ValueError(
      f"checkpoint {run.checkpoint!r} does not fit the detector of {_PARAMS_FILE} and"
      f" {schema.LABEL_MAP_FILE} ({_first_line(error)})"
    ) from error
  data = run.task.validation_data
  return detection_module.DetectionModule(
    model,
    canvas_size=data.canvas_size,
    short_side=data.short_side,
    long_side=data.long_side,
    label_map_file=run.label_map_file,
  )


def _read_params(path: str):
  """The experiment that a file of Model Garden's `serialize_config` describes."""
  try:
    with open(path, encoding="utf-8") as file:
      fields = yaml.safe_load(file)
  except (UnicodeDecodeError, yaml.YAMLError) as error:
    raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
  params = exp_factory.get_exp_config(_EXPERIMENT)
  overrides.check_overrides(fields, params, path)
  params.override(fields, is_strict=True)
  return params


def _find_checkpoint(model_dir: str, best_dir: str, checkpoint: str | None) -> tuple[str, str]:
  """Path prefix of the checkpoint to use, and which it is."""
  if checkpoint:
    path = tf.train.latest_checkpoint(checkpoint) if os.path.isdir(checkpoint) else checkpoint
    if path is None or not os.path.isfile(f"{path}.index"):
      raise ValueError(
        f"--checkpoint {checkpoint!r} is no checkpoint; accepted: a path without ending such as"
        f" {os.path.join(model_dir, 'ckpt-1000')!r}, or a folder with checkpoints"
      )
    return path, "given"
  for folder, choice in ((best_dir, "best"), (model_dir, "latest")):
    path = tf.train.latest_checkpoint(folder)
    if path is not None:
      return path, choice
  raise ValueError(f"--model_dir {model_dir!r} holds no checkpoint; is it the folder of a run?")


def _check_target(export_dir: str, overwrite: bool) -> None:
  """Raises ValueError if `export_dir` holds anything that must not be replaced."""
  if not os.path.lexists(export_dir):
    return
  if not os.path.isdir(export_dir):
    raise ValueError(f"--export_dir {export_dir!r} exists and is no folder")
  if not os.listdir(export_dir):
    return
  if not _is_export(export_dir):
    raise ValueError(
      f"--export_dir {export_dir!r} holds other things than an export; accepted: a folder that is"
      " new or empty"
    )
  if not overwrite:
    raise ValueError(f"--export_dir {export_dir!r} holds an export; replace it with --overwrite")


def _is_export(folder: str) -> bool:
  label_map_file = os.path.join(folder, "assets", schema.LABEL_MAP_FILE)
  return os.path.isfile(os.path.join(folder, "saved_model.pb")) and os.path.isfile(label_map_file)


def _first_line(error: Exception) -> str:
  return str(error).strip().split("\n")[0]
