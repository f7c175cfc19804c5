"""The detections of a run's checkpoint in validation images, as an evaluation leaves them in files.

They are taken from the first place that has them: the result files that the run's own evaluation
of this checkpoint left (`task.evaluation.results_dir`), those of an earlier report, or the
checkpoint is evaluated now, as training evaluates. In each case they are read from files, so that
every figure is the same whenever they are read.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
from typing import Any

import tensorflow as tf

from mtl_ssl_tf import files
from mtl_ssl_tf.configs import detector as detector_config
from mtl_ssl_tf.data import faults, progress_lines
from mtl_ssl_tf.data.ground_truth import coco_truth, detection_files, result_ids
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.serving import export_lib, served_detector
from mtl_ssl_tf.tasks import detection_evaluation, mtl_detection
from mtl_ssl_tf.visualization import evaluation_report

_LOGGER = logging.getLogger(__name__)
# The folder that `DetectionEvaluation` makes for an evaluation of no step.
_EVALUATION = "evaluation"


@dataclasses.dataclass(frozen=True)
class Evaluated:
  """A checkpoint's detections in images, and the objects there.

  Attributes:
    name: of the run, that of its folder.
    model_dir: folder of the run.
    run: its configuration and the checkpoint.
    records: that the images come from.
    folder: of the result files.
    truth: the objects.
    found: the detections in each image of `truth`.
  """

  name: str
  model_dir: pathlib.Path
  run: export_lib.TrainedRun
  records: str | list[str]
  folder: pathlib.Path
  truth: ground_truth.GroundTruth
  found: list[detection_files.Detections]


def obtain_all(
  model_dir: str,
  checkpoint: str | None,
  compare: str | None,
  records: str | None,
  cache_dir: pathlib.Path,
) -> list[Evaluated]:
  """Returns the detections of a run, and of one that it is compared with.

  Args:
    model_dir: of the run.
    checkpoint: of it, as `export_lib.read_run` takes it.
    compare: folder of the other run, or None.
    records: in the place of the first run's validation data; None takes those.
    cache_dir: folder that keeps result files for the next time; made where it is missing.

  Raises:
    ValueError: a run, the records or result files are at fault.
    OSError: result files cannot be written.
  """
  run = export_lib.read_run(model_dir, checkpoint)
  # Before the first run is evaluated, which takes long.
  other = read_other(compare, run) if compare else None
  sources = [obtain(model_dir, run, records, cache_dir)]
  if other is not None:
    sources.append(obtain_other(compare, other, sources[0], records, cache_dir))
  return sources


def obtain(
  model_dir: str, run: export_lib.TrainedRun, records: str | None, cache_dir: pathlib.Path
) -> Evaluated:
  """Returns the detections of a run.

  Args:
    model_dir: of the run.
    run: it, as `export_lib.read_run` returns it.
    records: in the place of the run's validation data; None takes those.
    cache_dir: folder that keeps result files for the next time; made where it is missing.

  Raises:
    ValueError: the run, the records or result files are at fault.
    OSError: result files cannot be written.
  """
  folder = None if records else stored_results(run, pathlib.Path(model_dir))
  if folder is None:
    folder = _evaluated(model_dir, run, evaluation_config(run.task, run, records), cache_dir)
  return read(model_dir, run, records or run.task.validation_data.input_path, folder)


def read_other(model_dir: str, first: export_lib.TrainedRun) -> export_lib.TrainedRun:
  """Reads a run that another one is to be compared with.

  Raises:
    ValueError: it is none, or has other classes.
  """
  try:
    run = export_lib.read_run(model_dir)
  except ValueError as error:
    raise ValueError(str(error).replace("--model_dir", "--compare")) from error
  if run.class_names != first.class_names:
    raise ValueError(
      f"--compare {model_dir!r} has the classes {faults.listing(run.class_names)}; accepted: a run"
      f" with those of --model_dir, in their order: {faults.listing(first.class_names)}"
    )
  return run


def obtain_other(
  model_dir: str,
  run: export_lib.TrainedRun,
  first: Evaluated,
  records: str | None,
  cache_dir: pathlib.Path,
) -> Evaluated:
  """Returns the detections of another run in the images of the first one.

  Args:
    model_dir: of the other run.
    run: it, as `read_other` returns it.
    first: the run that it is compared with.
    records: as the first one was given.
    cache_dir: as in `obtain`.

  Raises:
    ValueError: as in `obtain`, or the runs are of other images.
    OSError: result files cannot be written.
  """
  folder = None if records else stored_results(run, pathlib.Path(model_dir))
  if folder is not None:
    stored = read(model_dir, run, first.records, folder)
    if same_images(first.truth, stored.truth):
      return stored
  config = evaluation_config(first.run.task, run, records)
  found = read(model_dir, run, first.records, _evaluated(model_dir, run, config, cache_dir))
  if not same_images(first.truth, found.truth):
    raise ValueError(
      f"--compare {model_dir!r}: {first.folder} is of other images or objects than"
      f" {first.records!r} holds now; accepted: --records, on which both runs are evaluated"
    )
  return found


def read(
  model_dir: str,
  run: export_lib.TrainedRun,
  records: str | list[str],
  folder: pathlib.Path,
) -> Evaluated:
  """Returns what the result files in a folder hold.

  Raises:
    ValueError: a file is at fault.
  """
  truth = coco_truth.read_coco(folder / detection_files.COCO_GROUND_TRUTH_FILE)
  found = detection_files.read_predictions(
    str(folder / detection_files.COCO_RESULTS_FILE), truth, result_ids.GROUND_TRUTH
  )
  path = pathlib.Path(os.path.abspath(model_dir))
  # Where the run is a folder `model` of something, that has the name.
  name = path.name if path.name != "model" else f"{path.parent.name}/{path.name}"
  return Evaluated(name, path, run, records, folder, truth, found)


def stored_results(run: export_lib.TrainedRun, model_dir: pathlib.Path) -> pathlib.Path | None:
  """Returns the folder with the results of the run's own evaluation of its checkpoint, if any.

  Runs may share a folder for results: those count whose figures the run has noted itself.
  """
  if not run.task.evaluation.results_dir or run.step is None:
    return None
  folder = pathlib.Path(run.task.evaluation.results_dir) / f"step_{run.step}"
  names = (detection_files.COCO_RESULTS_FILE, detection_files.COCO_GROUND_TRUTH_FILE)
  figures = _figures(folder / evaluation_report.FIGURES_FILE)
  noted = _figures(model_dir / f"evaluation-{run.step}.json")
  are_noted = figures and all(noted.get(name) == value for name, value in figures.items())
  if not are_noted or not all((folder / name).is_file() for name in names):
    return None
  _LOGGER.info(f"{model_dir}: detections of its evaluation of step {run.step}: {folder}")
  return folder


def _figures(path: pathlib.Path) -> dict[str, Any]:
  try:
    content = json.loads(path.read_bytes())
  except (OSError, ValueError):
    return {}
  return content if isinstance(content, dict) else {}


def evaluation_config(
  task: detector_config.MtlDetection, run: export_lib.TrainedRun, records: str | None
) -> detector_config.MtlDetection:
  """Returns a run's configuration for an evaluation of detections alone.

  Args:
    task: whose images, objects and metrics they are; the run's own, or those of another one.
    run: that is evaluated, with its own input.
    records: in the place of the task's, with the objects that they hold; None takes the task's.
  """
  data = run.task.validation_data.replace(
    input_path=records or task.validation_data.input_path,
    max_num_boxes=task.validation_data.max_num_boxes,
  )
  evaluation = task.evaluation.replace(
    metrics=["voc"],
    errors=False,
    auxiliary_metrics=False,
    auxiliary_costs=False,
    losses=False,
    results_dir="",
  )
  if records:
    evaluation = evaluation.replace(coco_annotations="")
  return run.task.replace(label_map=run.label_map_file, validation_data=data, evaluation=evaluation)


def _evaluated(
  model_dir: str,
  run: export_lib.TrainedRun,
  config: detector_config.MtlDetection,
  cache_dir: pathlib.Path,
) -> pathlib.Path:
  """Returns the folder with the results of an evaluation, which is carried out unless it was."""
  _check_records(config.validation_data.input_path)
  step = "checkpoint" if run.step is None else f"step_{run.step}"
  folder = cache_dir / f"{step}-{fingerprint(run, config)}"
  if folder.is_dir():
    _LOGGER.info(f"{model_dir}: detections of an earlier report: {folder}")
  else:
    _LOGGER.info(f"checkpoint: {run.checkpoint} ({run.choice})")
    with files.new_folder(folder) as new:
      evaluate(run, config, new)
  return folder / _EVALUATION


def _check_records(path: str | list[str]) -> None:
  """Raises a ValueError where there are no records to evaluate on."""
  try:
    record_paths.match_files(path)
  except ValueError as error:
    reason = str(error).removeprefix("input_path: ")
    raise ValueError(
      f"validation data: {reason}; accepted: --records with record files, a folder or a pattern"
    ) from error


def fingerprint(run: export_lib.TrainedRun, config: detector_config.MtlDetection) -> str:
  """Returns 16 hexadecimal digits: others for other weights, settings, classes or records.

  Raises:
    ValueError: there are no records.
  """
  # Of the weights, the index has a checksum each.
  weights = served_detector.digest([f"{run.checkpoint}.index", run.label_map_file])
  stats = []
  for file in record_paths.match_files(config.validation_data.input_path):
    stat = tf.io.gfile.stat(file)
    stats.append((os.path.abspath(file), stat.length, stat.mtime_nsec))
  settings = repr((weights, stats, config.as_dict()))
  return hashlib.sha256(settings.encode()).hexdigest()[:16]


def evaluate(
  run: export_lib.TrainedRun, config: detector_config.MtlDetection, folder: pathlib.Path
) -> None:
  """Evaluates a checkpoint as training does; leaves the result files in `folder`/evaluation.

  Args:
    run: the checkpoint.
    config: of `evaluation_config`.
    folder: takes the files.

  Raises:
    ValueError: the records are at fault, or hold no object.
    OSError: the files cannot be written.
  """
  data = config.validation_data
  task = mtl_detection.MtlDetectionTask(config)
  evaluation = detection_evaluation.DetectionEvaluation(
    config.evaluation.replace(results_dir=str(folder)),
    task.class_names,
    data.input_path,
    config.label_map,
  )
  evaluation.prepare()
  model = export_lib.build_model(run)
  step = tf.function(
    lambda images, labels: task.validation_step((images, labels), model), autograph=False
  )
  num_images = record_paths.count_examples(data.input_path)
  if not num_images:
    raise ValueError(f"{data.input_path}: no image; accepted: records with a box")
  progress_line = progress_lines.Progress("evaluating images", num_images, _LOGGER.info)
  for images, labels in task.build_inputs(data):
    rows = evaluation.update_batch(
      {name: [values.numpy()] for name, values in step(images, labels).items()}
    )
    progress_line.step(len(rows))
  figures = evaluation.result()
  for line in task.evaluation_warnings(figures):
    _LOGGER.warning(line)


def same_images(first: ground_truth.GroundTruth, other: ground_truth.GroundTruth) -> bool:
  """Whether two evaluations are of the same objects in the same images, in one order."""
  return first.class_names == other.class_names and [
    (image.image_id, image.classes.tolist(), image.boxes.corners.tolist()) for image in first.images
  ] == [
    (image.image_id, image.classes.tolist(), image.boxes.corners.tolist()) for image in other.images
  ]
