"""Detections of the images of an audit: from files, from a run, or of detectors trained for it.

With folds, the images are drawn into parts, and the images of each part are judged by a detector
that was trained on the others alone: it has not been taught that what lacks a box is background
there. In the folder of the folds:

  records/partN-*.tfrecord   the parts
  foldN.yaml                 which of them a detector is trained on, and which one it detects in
  foldN/seed_S/              its training, as in `comparison.runs`
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from mtl_ssl_tf import written_files
from mtl_ssl_tf.auditing import inputs
from mtl_ssl_tf.comparison import arms as arms_lib
from mtl_ssl_tf.comparison import runs
from mtl_ssl_tf.data import faults, schema
from mtl_ssl_tf.data.ground_truth import detection_files, truth_readers
from mtl_ssl_tf.data.ground_truth import objects as ground_truth
from mtl_ssl_tf.data.records import manifests
from mtl_ssl_tf.data.records import paths as record_paths
from mtl_ssl_tf.data.records import writer as record_writer
from mtl_ssl_tf.reporting import evaluated
from mtl_ssl_tf.serving import export_lib

COMMAND = "audit_labels"  # As the list of what it wrote is called.
_SECTION = "audit"
_MAX_FOLDS = 20
_NUM_EVALUATIONS = 4  # Checkpoints too, so that a fold that was stopped does not begin again.


def of_run(
  model_dir: str, checkpoint: str | None, data: inputs.Input, cache_dir: pathlib.Path
) -> list[detection_files.Detections]:
  """Returns what a run's checkpoint detects in each image, as its evaluation does.

  Args:
    model_dir: of the run.
    checkpoint: of it, as `export_lib.read_run` takes it.
    data: the images.
    cache_dir: folder that keeps the detections for the next time.

  Raises:
    ValueError: the run is at fault, or has other classes.
    OSError: files cannot be written.
  """
  run = export_lib.read_run(model_dir, checkpoint)
  if tuple(run.class_names) != data.truth.class_names:
    raise ValueError(
      f"--model_dir {model_dir!r} has the classes {faults.listing(run.class_names)}; accepted: a"
      f" run with those of --data, in their order: {faults.listing(data.truth.class_names)}"
    )
  source = evaluated.obtain(model_dir, run, data.records, cache_dir)
  return _by_id(data.truth, [(source.truth, source.found)])


@dataclasses.dataclass(frozen=True)
class Folds:
  """Trainings of an audit.

  Attributes:
    runs: one for each fold.
    schedule: of all of them.
  """

  runs: tuple[runs.Run, ...]
  schedule: runs.Schedule


def plan(
  data: inputs.Input,
  folder: pathlib.Path,
  num_folds: int,
  config_files: Sequence[str],
  overrides: str,
  seed: int,
) -> list[arms_lib.Arm]:
  """Writes the parts of the data, unless they are there; returns an arm for each fold.

  Args:
    data: the images.
    folder: takes all files.
    num_folds: parts.
    config_files: YAML files of the configuration.
    overrides: fields over it, as `--params_override` takes them.
    seed: of the drawing.

  Raises:
    ValueError: there are fewer images than folds, or too many folds, or a file is missing.
    OSError: files cannot be written.
  """
  num_images = len(data.truth.images)
  if not 2 <= num_folds <= min(num_images, _MAX_FOLDS):
    raise ValueError(
      f"--folds is {num_folds}; accepted: 2 to {min(num_images, _MAX_FOLDS)}, with {num_images}"
      " images"
    )
  for path in config_files:
    if not os.path.isfile(path):
      raise ValueError(f"--config_file {path!r} is missing; accepted: a YAML file")
  records = folder / "records"
  _write_parts(data, records, num_folds, seed)
  written, arms = written_files.WrittenFiles(folder, COMMAND), []
  for number in range(num_folds):
    path = folder / f"fold{number}.yaml"
    parts = [_part_files(records, part) for part in range(num_folds)]
    task = {
      "label_map": str(records / schema.LABEL_MAP_FILE),
      "train_data": {
        "input_path": [file for part, names in enumerate(parts) if part != number for file in names]
      },
      "validation_data": {"input_path": parts[number]},
    }
    written.write_text(path.name, yaml.safe_dump({"task": task}, sort_keys=False))
    arms.append(arms_lib.Arm(f"fold{number}", (*config_files, str(path)), overrides))
  return arms


def claim(
  arms: Sequence[arms_lib.Arm],
  resolved: Mapping[str, Mapping[str, Any]],
  data: inputs.Input,
  folder: pathlib.Path,
  seed: int,
  *,
  steps: int | None = None,
  init: str = "",
  experiment: str = "mtl_frcnn",
) -> Folds:
  """Makes the folders of the trainings; returns them.

  Args:
    arms: of `plan`.
    resolved: all fields of each by their path with dots, by the arm's name.
    data: the images.
    folder: as in `plan`.
    seed: of the trainings.
    steps: of each; None takes those of the configuration.
    init: start weights, as `--init` of training takes them.
    experiment: name, as `--experiment` of training takes it.

  Raises:
    ValueError: a folder holds a training of other settings or data.
  """
  steps = arms_lib.equal_steps(resolved, steps)
  schedule = runs.Schedule(steps, -(-steps // _NUM_EVALUATIONS), init, experiment)
  for arm in arms:
    digest = f"{arms_lib.digest(resolved[arm.name])}-{data.fingerprint}"
    runs.claim(folder, arm.name, digest, schedule)
  return Folds(tuple(runs.Run(arm, seed, folder) for arm in arms), schedule)


def of_folds(folds: Folds, truth: ground_truth.GroundTruth) -> list[detection_files.Detections]:
  """Returns what was detected in each image by the detector that was not trained on it.

  Raises:
    ValueError: a file of results is at fault.
  """
  parts = []
  for run in folds.runs:
    results, ground_truth_file = run.results(folds.schedule.steps)
    part = truth_readers.read(str(ground_truth_file))
    parts.append((part, detection_files.read_predictions(str(results), part)))
  return _by_id(truth, parts)


def write_results(
  folder: pathlib.Path,
  truth: ground_truth.GroundTruth,
  found: Sequence[detection_files.Detections],
) -> None:
  """Writes the detections of all folds as COCO results, for later audits.

  Raises:
    OSError: the file cannot be written, or is not of this command.
  """
  written = written_files.WrittenFiles(folder, COMMAND)
  with written.replacing(detection_files.COCO_RESULTS_FILE) as part:
    rows = zip(truth.coco_image_ids, found, strict=True)
    detection_files.write_coco_results(part, rows, truth.category_ids)


def _by_id(
  truth: ground_truth.GroundTruth,
  parts: Sequence[tuple[ground_truth.GroundTruth, Sequence[detection_files.Detections]]],
) -> list[detection_files.Detections]:
  found = {
    image.image_id: detections
    for part, of_part in parts
    for image, detections in zip(part.images, of_part, strict=True)
  }
  return [found.get(image.image_id, detection_files.no_detections()) for image in truth.images]


def parts_of(image_ids: Sequence[str], num_folds: int, seed: int) -> np.ndarray:
  """The part of each image, int64 [I]: equal parts, by a hash of seed and id.

  The same images get the same parts, whatever their order.
  """
  keys = [hashlib.sha256(os.fsencode(f"{seed}/{image_id}")).digest() for image_id in image_ids]
  order = sorted(range(len(keys)), key=keys.__getitem__)
  parts = np.zeros(len(keys), np.int64)
  parts[order] = np.arange(len(keys)) % num_folds
  return parts


def _write_parts(data: inputs.Input, folder: pathlib.Path, num_folds: int, seed: int) -> None:
  about = {"data": data.fingerprint, "folds": num_folds, "seed": seed}
  about |= {"files": _stats(data.records)}
  if all(_about(folder, number) == about for number in range(num_folds)):
    return
  parts = parts_of([image.image_id for image in data.truth.images], num_folds, seed)
  counts = np.bincount(parts, minlength=num_folds)
  with contextlib.ExitStack() as stack:
    writers = [
      stack.enter_context(
        record_writer.SplitWriter(
          folder,
          _part_name(number),
          data.truth.class_names,
          num_images=int(counts[number]),
          num_shards=min(4, int(counts[number])),
        )
      )
      for number in range(num_folds)
    ]
    positions = np.zeros(num_folds, np.int64)
    for part, record in zip(parts, inputs.examples(data.records), strict=True):
      example = tf.train.Example.FromString(record)
      _name_classes(example, data.truth.class_names)
      writers[part].write(example, int(positions[part]))
      positions[part] += 1
    for one in writers:
      one.commit(**{_SECTION: about})


def _name_classes(example: tf.train.Example, class_names: Sequence[str]) -> None:
  """Adds the names that the manifest counts objects by, which records of others may lack."""
  features = example.features.feature
  labels = features[schema.OBJECT_LABEL].int64_list.value
  names = features[schema.OBJECT_TEXT].bytes_list
  if len(names.value) != len(labels):
    names.value[:] = [class_names[label - 1].encode() for label in labels]


def _stats(records: str) -> str:
  stats = []
  for file in record_paths.match_files(records):
    stat = tf.io.gfile.stat(file)
    stats.append((os.path.abspath(file), stat.length, stat.mtime_nsec))
  return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:16]


def _about(folder: pathlib.Path, number: int) -> Any:
  path = folder / schema.manifest_file(_part_name(number))
  return manifests.load(path).get(_SECTION) if path.exists() else None


def _part_files(folder: pathlib.Path, number: int) -> list[str]:
  manifest = manifests.load(folder / schema.manifest_file(_part_name(number)))
  return [str(folder / shard["file"]) for shard in manifest["shards"]]


def _part_name(number: int) -> str:
  return f"part{number}"
