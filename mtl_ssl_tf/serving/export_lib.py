"""Exports a training run's detector as a SavedModel, one version in a folder of versions."""

import dataclasses
import importlib.util
import logging
import os

import tensorflow as tf

from mtl_ssl_tf import files
from mtl_ssl_tf.checkpoints import run_checkpoints
from mtl_ssl_tf.configs import detector, loading, optimization, validation
from mtl_ssl_tf.data import label_map, schema
from mtl_ssl_tf.data.pipeline import input_sizes
from mtl_ssl_tf.modeling import detector as detector_model
from mtl_ssl_tf.modeling import factory
from mtl_ssl_tf.reading import regular_files
from mtl_ssl_tf.serving import (
  detection_module,
  export_folder,
  export_paths,
  model_card,
  score_thresholds,
  verification,
)

_LOGGER = logging.getLogger(__name__)
_PARAMS_FILE = "params.yaml"
_STEP_IN_CHECKPOINT = "global_step/.ATTRIBUTES/VARIABLE_VALUE"
_MAX_WARMUP_SIZES = 3
VERIFY_IMAGES = 20


@dataclasses.dataclass(frozen=True)
class Options:
  """The options of an export.

  Attributes:
    version: number of the version; None is the one after the highest.
    overwrite: replace that version if it is there.
    batch_size: the only one that is served; None serves any.
    raw_outputs: see `detection_module.DetectionModule`.
    crop_method: see `ops/crop_ops.py`; with `matmul`, `detect_canvases` compiles under XLA
      and is a signature, too.
    verify: compare the export with the checkpoint; None does where evaluation data is available.
    verify_images: on so many images.
    license: that the weights come under; None leaves it to the reader of the model card.
    default_thresholds: file with the smallest score of each class that the export is used with by
      default, see `score_thresholds`; None for none.
  """

  version: int | None = None
  overwrite: bool = False
  batch_size: int | None = None
  raw_outputs: bool = False
  crop_method: str = "native"
  verify: bool | None = None
  verify_images: int = VERIFY_IMAGES
  license: str | None = None
  default_thresholds: str | None = None


@dataclasses.dataclass(frozen=True)
class TrainedRun:
  """The configuration, classes and checkpoint that a training run left in its folder.

  Attributes:
    task: the configuration that it ran under.
    label_map_file: its copy of the label map.
    class_names: class 1 first.
    checkpoint: path prefix of the checkpoint to use.
    choice: which one that is: "best", "latest" or "given".
    step: that it was saved at; None where the checkpoint does not state it.
    is_averaged: whether its weights are averages of those that were trained.
    best_subdir: folder inside the run's with its best checkpoints; empty where none were kept.
  """

  task: detector.MtlDetection
  label_map_file: str
  class_names: list[str]
  checkpoint: str
  choice: str
  step: int | None
  is_averaged: bool = False
  best_subdir: str = "best"


def export_run(
  model_dir: str,
  export_dir: str,
  *,
  checkpoint: str | None = None,
  options: Options | None = None,
) -> str:
  """Writes a version of the SavedModel of a run, atomically.

  Args:
    model_dir: of the run, with `params.yaml`, `label_map.txt` and checkpoints.
    export_dir: folder of versions, new or not.
    checkpoint: path prefix of a checkpoint, or a folder whose latest is meant; by default the
      run's best, or else its latest.
    options: None for the defaults.

  Returns:
    The folder of the version.

  Raises:
    ValueError: something is missing or not acceptable, or the export differs from the checkpoint.
    OSError: `export_dir` cannot be written.
  """
  options = options or Options()
  export_dir = os.path.abspath(export_dir)
  version = export_folder.choose_version(export_dir, options.version, options.overwrite)
  for flag, count in (
    ("--batch_size", options.batch_size),
    ("--verify_images", options.verify_images),
  ):
    if count is not None and count < 1:
      raise ValueError(f"{flag} is {count}; accepted: at least 1")
  run = read_run(model_dir, checkpoint)
  has_data = verification.has_records(run.task.validation_data)
  if options.verify and not has_data:
    raise ValueError(
      f"--verify: no records at task.validation_data.input_path"
      f" {run.task.validation_data.input_path!r}; accepted: records that are there, or --no-verify"
    )
  thresholds = _read_thresholds(run, options.default_thresholds)
  step = "" if run.step is None else f", step {run.step}"
  averaged = ", averaged weights" if run.is_averaged else ""
  _LOGGER.info(f"checkpoint: {run.checkpoint} ({run.choice}{step}{averaged})")
  model = build_model(run)
  # The checkpoint that an export is compared with detects as evaluation does.
  is_twin = options.crop_method != "native"
  module = build_module(run, None if is_twin else model, options)
  name = os.path.basename(export_dir)
  is_for_server = _has_server_protocol()
  with export_folder.new_version(export_dir, version) as folder:
    tf.saved_model.save(module, folder, signatures=module.signatures())
    if is_for_server:
      from mtl_ssl_tf.serving import warmup

      warmup.write(folder, name, _warmup_sizes(run, has_data), options.batch_size)
    if thresholds is not None:
      extra = os.path.join(folder, export_paths.EXTRA_FOLDER)
      os.makedirs(extra, exist_ok=True)
      files.write_text(
        os.path.join(extra, score_thresholds.FILE), score_thresholds.as_json(thresholds)
      )
    verified = _verify(run, model, folder, options, has_data)
    card = _model_card(run, model_dir, name, version, options, verified, thresholds)
    with open(os.path.join(folder, model_card.FILE), "w", encoding="utf-8") as file:
      file.write(card)
    if is_for_server:
      from mtl_ssl_tf.serving import server_files

      server_files.write_missing(export_dir, name, options.batch_size)
  target = os.path.join(export_dir, str(version))
  _LOGGER.info(f"SavedModel: {target} (classes: {len(run.class_names)})")
  return target


def _has_server_protocol() -> bool:
  """Whether TF Serving's messages, an optional dependency, are installed."""
  if importlib.util.find_spec("tensorflow_serving") is not None:
    return True
  _LOGGER.info(
    "without warm-up requests and server files, which need tensorflow-serving-api:"
    " pip install 'mtl_ssl_tf[serving]'"
  )
  return False


def read_run(model_dir: str, checkpoint: str | None = None) -> TrainedRun:
  """Reads the configuration, classes and checkpoint in `model_dir`.

  Raises:
    ValueError: naming what is missing or not acceptable.
  """
  if not os.path.isdir(model_dir):
    raise ValueError(f"--model_dir {model_dir!r} is no folder; accepted: that of a training run")
  for name in (_PARAMS_FILE, schema.LABEL_MAP_FILE):
    if not os.path.isfile(os.path.join(model_dir, name)):
      raise ValueError(
        f"--model_dir {model_dir!r} holds no {name}; accepted: that of a training run"
      )
  label_map_file = os.path.join(model_dir, schema.LABEL_MAP_FILE)
  class_names = label_map.read_label_map(label_map_file)
  params = loading.load_run(os.path.join(model_dir, _PARAMS_FILE))
  validation.check_task(params.task)
  best_subdir = params.trainer.best_checkpoint_export_subdir
  path, choice = run_checkpoints.choose(model_dir, best_subdir, checkpoint)
  reader = tf.train.load_checkpoint(path)
  step = None
  if reader.has_tensor(_STEP_IN_CHECKPOINT):
    step = int(reader.get_tensor(_STEP_IN_CHECKPOINT))
  averages = f"{optimization.TRAINING_WEIGHTS}/"
  is_averaged = any(key.startswith(averages) for key in reader.get_variable_to_shape_map())
  return TrainedRun(
    params.task, label_map_file, class_names, path, choice, step, is_averaged, best_subdir
  )


def build_model(run: TrainedRun, crop_method: str = "native") -> detector_model.Detector:
  """The detector of a run with the weights of its checkpoint; for `crop_method` see `crop_ops`.

  Raises:
    ValueError: the checkpoint holds another detector.
  """
  model = factory.build_detector(run.task, len(run.class_names) + 1, crop_method)
  try:
    status = tf.train.Checkpoint(model=model).read(run.checkpoint)
    # Partial, since optimizer and step are in the checkpoint too.
    status.expect_partial().assert_existing_objects_matched()
  except (tf.errors.OpError, AssertionError, ValueError, LookupError) as error:
    raise ValueError(
      f"checkpoint {run.checkpoint!r} does not fit the detector of {_PARAMS_FILE} and"
      f" {schema.LABEL_MAP_FILE} ({_first_line(error)})"
    ) from error
  return model


def build_module(
  run: TrainedRun, model: detector_model.Detector | None = None, options: Options | None = None
) -> detection_module.DetectionModule:
  """Builds the module that is served; `model` is of `build_model`, and built where it is None.

  Raises:
    ValueError: as `build_model`.
  """
  options = options or Options()
  input_size, short_side, long_side = _input_size(run)
  return detection_module.DetectionModule(
    model or build_model(run, options.crop_method),
    input_size=input_size,
    short_side=short_side,
    long_side=long_side,
    label_map_file=run.label_map_file,
    batch_size=options.batch_size,
    raw_outputs=options.raw_outputs,
    padded_signature=options.crop_method == "matmul",
  )


def _input_size(run: TrainedRun) -> tuple[tuple[int, int], int, int]:
  """The one input size of what is served, and the limits of an image: short and long side."""
  data = run.task.validation_data
  return input_sizes.single(data.input_layout, data.input_size, data.short_side, data.long_side)


def _read_thresholds(run: TrainedRun, path: str | None) -> dict[str, float] | None:
  """Returns the thresholds in a file; warns where they were measured on another checkpoint.

  Raises:
    ValueError: the file is not acceptable.
  """
  if path is None:
    return None
  try:
    thresholds = score_thresholds.read(path, run.class_names)
    step = score_thresholds.read_all(path).get("step")
  except ValueError as error:
    raise ValueError(f"--default_thresholds {error}") from error
  if None not in (step, run.step) and step != run.step:
    _LOGGER.warning(
      f"--default_thresholds {path} was measured at step {step}, the checkpoint is of {run.step}"
    )
  return thresholds


def _warmup_sizes(run: TrainedRun, has_data: bool) -> list[tuple[int, int]]:
  """Sizes of images that users may send: those of the evaluation data, or what fills the input."""
  data = run.task.validation_data
  sizes = verification.image_sizes(data, VERIFY_IMAGES) if has_data else []
  return sizes[:_MAX_WARMUP_SIZES] or [_input_size(run)[0]]


def _verify(
  run: TrainedRun,
  model: detector_model.Detector,
  folder: str,
  options: Options,
  has_data: bool,
) -> str:
  """Compares export and checkpoint where that is asked for; returns a line on the outcome.

  Raises:
    ValueError: they differ.
  """
  if not (has_data if options.verify is None else options.verify):
    reason = "--no-verify" if options.verify is False else "no evaluation data available"
    line = f"not compared with the checkpoint ({reason})"
    _LOGGER.info(f"export {line}")
    return f"The export was {line}."
  report = verification.verify(
    model,
    folder,
    run.task,
    run.class_names,
    num_images=options.verify_images,
    batch_size=options.batch_size,
  )
  _LOGGER.info(str(report))
  if not report.agrees:
    raise ValueError(f"the export differs from its checkpoint and is not published: {report}")
  return f"Compared before it was published: {report}."


def _model_card(
  run: TrainedRun,
  model_dir: str,
  name: str,
  version: int,
  options: Options,
  verified: str,
  thresholds: dict[str, float] | None,
) -> str:
  inputs = ", ".join(f"`{key}` (`{value}`)" for key, value in detection_module.INPUTS.items())
  batch = "any number of images" if options.batch_size is None else f"{options.batch_size} images"
  (height, width), short_side, long_side = _input_size(run)
  params_text = regular_files.read_text(os.path.join(model_dir, _PARAMS_FILE))
  return model_card.model_card(
    name=name,
    version=version,
    model_dir=model_dir,
    best_subdir=run.best_subdir,
    checkpoint=run.checkpoint,
    choice=run.choice,
    step=run.step,
    is_averaged=run.is_averaged,
    class_names=run.class_names,
    task=run.task,
    params_text=params_text,
    signatures=(
      f"Signatures (with their input): {inputs}; {batch} in a request. Images are resized to a"
      f" short side of {short_side} pixels, a long one of at most {long_side},"
      f" and padded to {height} x {width}."
    ),
    verification=verified,
    license_text=options.license or model_card.UNKNOWN_LICENSE,
    thresholds=thresholds,
  )


def _first_line(error: Exception) -> str:
  return str(error).strip().split("\n")[0]
