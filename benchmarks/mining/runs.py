"""Runs of the study of Co-mining: sparse training sets, trainings of a number of steps, figures.

In the output folder:

  DATA/                           the data set, see `accuracy/data.py`; the sparse splits lie with
                                  its records
  DATA/SET/ARM/STEPSsteps_seedN/  a run: settings.json, overlay.yaml, train.log, result files, and
                                  run.json when it is complete
"""

import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.accuracy import arms as accuracy_arms
from benchmarks.accuracy import data as data_lib
from benchmarks.accuracy import runs as accuracy_runs
from benchmarks.mining import arms as arms_lib
from mtl_ssl_tf.comparison import processes

RUN_FILE, SETTINGS_FILE = "run.json", "settings.json"
FULL = "full"
# Training set -> flags of `sparse_annotations`.
SETS: dict[str, Sequence[str]] = {
  FULL: (),
  "easy": ("--protocol=easy",),
  "hard": ("--protocol=hard",),
  "extreme": ("--protocol=extreme",),
  **{f"{percent}miss": ("--protocol=miss", f"--share={percent / 100}") for percent in (30, 50, 70)},
}
METRICS = {"mAP50": "voc/mAP50_area", "AP": "coco/AP"}
# Checkpoints of a run, so that a stopped one does not begin again.
_NUM_CHECKPOINTS = 8
_STEPS_PER_LOOP = 10
_MEASURES = "train/mining/"


@dataclasses.dataclass(frozen=True)
class Run:
  """A training of one arm on one training set.

  Attributes:
    data: ready for training.
    set_name: one of `SETS`.
    arm: how to train.
    config_file: YAML file that the arm's fields are applied after.
    steps: of the training.
    num_views: of images in a step.
    seed: of weights, order of images and augmentation.
  """

  data: data_lib.DataSet
  set_name: str
  arm: arms_lib.Arm
  config_file: str
  steps: int
  num_views: int
  seed: int

  @property
  def folder(self) -> pathlib.Path:
    """Folder of the run."""
    name = f"{self.steps}steps_seed{self.seed}"
    return self.data.folder / self.set_name / self.arm.name / name

  @property
  def name(self) -> str:
    """Returns what the run is called in messages."""
    return f"{self.data.name} {self.set_name} {self.arm.name} seed {self.seed}"

  @property
  def is_complete(self) -> bool:
    """Whether the run need not be carried out again."""
    return (self.folder / RUN_FILE).exists()

  @property
  def train_split(self) -> str:
    """Name of the split to train on."""
    return "train" if self.set_name == FULL else f"train_{self.set_name}"

  def overlay(self) -> dict[str, Any]:
    """Returns the fields that are applied after the configuration."""
    fields = accuracy_arms.overlay(self.data, self.seed, self.steps, self.folder / "results")
    task = _merged(fields["task"], self.arm.task)
    task["train_data"] |= {
      "input_path": self.data.records(self.train_split),
      "global_batch_size": self.num_views // self.arm.num_views,
    }
    task["evaluation"]["metrics"] = ["voc", "coco"]
    interval = max(self.steps // _NUM_CHECKPOINTS // _STEPS_PER_LOOP, 1) * _STEPS_PER_LOOP
    trainer = fields["trainer"] | {
      "checkpoint_interval": interval,
      "max_to_keep": 1,
      "best_checkpoint_export_subdir": "",
      "early_stopping_patience": 0,
    }
    return {"task": task, "trainer": trainer}

  def command(self, overlay: pathlib.Path, model_dir: pathlib.Path) -> list[str]:
    """Returns the command that trains and evaluates; the same command resumes."""
    command = [
      sys.executable,
      "train.py",
      f"--experiment={self.arm.experiment}",
      "--mode=train_and_eval",
      f"--model_dir={model_dir}",
      f"--config_file={self.config_file}",
      f"--config_file={overlay}",
    ]
    if self.arm.overrides:
      command.append(f"--params_override={self.arm.overrides}")
    return command


def make_set(data: data_lib.DataSet, set_name: str) -> None:
  """Erases annotations of the training records, unless that was done; seed 0.

  Raises:
    ValueError: the records cannot be read.
  """
  manifest = data.folder / "records" / f"manifest_train_{set_name}.json"
  if set_name != FULL and not manifest.exists():
    folder = f"--input_dir={data.folder / 'records'}"
    data_lib.run_module(
      "mtl_ssl_tf.data.sparse_annotations", folder, "--split=train", *SETS[set_name]
    )


def claim(run: Run) -> None:
  """Makes the folder of a run.

  Raises:
    ValueError: it holds a run of other settings.
  """
  path = run.folder / SETTINGS_FILE
  content = {
    "arm": run.arm.content(),
    "config": accuracy_arms.Ours(run.arm.name, (run.config_file,)).signature(),
    "num_views": run.num_views,
  }
  if path.exists():
    if accuracy_runs.read_json(path) != content:
      raise ValueError(
        f"{run.name}: {run.folder} holds a run of other settings; accepted: those of {path}, or"
        " another folder"
      )
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  accuracy_runs.write_json(path, content)


def carry_out(run: Run, processor: int, keep_model: bool = False) -> dict[str, Any]:
  """Trains, evaluates and leaves `run.json`; a training that was stopped is resumed.

  Args:
    run: what to do.
    processor: the only one that is used.
    keep_model: whether the last checkpoint stays.

  Returns:
    The content of `run.json`.

  Raises:
    RunError: the command failed.
  """
  overlay, model_dir = run.folder / "overlay.yaml", run.folder / "model"
  accuracy_arms.write_overlay(overlay, run.overlay())
  is_resumed = model_dir.exists()
  command = run.command(overlay, model_dir)
  usage = processes.check(command, run.folder / "train.log", processor, data_lib.ROOT)
  figures = accuracy_runs.read_json(run.folder / "results" / f"step_{run.steps}" / "figures.json")
  record = {
    "data": run.data.name,
    "set": run.set_name,
    "arm": run.arm.name,
    "seed": run.seed,
    "steps": run.steps,
    "views": run.num_views,
    "commit": accuracy_runs.commit(),
    # Of a resumed run the cost of its first part is not known.
    "cpu_minutes": None if is_resumed else usage.cpu_s / 60.0,
    **{name: 100.0 * figures[key] for name, key in METRICS.items()},
    "curve": read_curve(model_dir),
  }
  if not keep_model:
    shutil.rmtree(model_dir)
  accuracy_runs.write_json(run.folder / RUN_FILE, record)
  return record


def read_curve(model_dir: pathlib.Path) -> list[dict[str, float]]:
  """Returns the measures of mining at each step that the log has; none of an arm without mining."""
  # TensorBoard takes a while to load.
  from mtl_ssl_tf.visualization import curves

  points: dict[int, dict[str, float]] = {}
  for name, (steps, values) in curves.read_scalars(os.fspath(model_dir)).items():
    if name.startswith(_MEASURES):
      for step, value in zip(steps, values, strict=True):
        points.setdefault(step, {})[name.removeprefix(_MEASURES)] = value
  return [{"step": step, **points[step]} for step in sorted(points)]


def _merged(fields: dict[str, Any], others: Any) -> dict[str, Any]:
  """Nested fields with others over them."""
  merged = dict(fields)
  for name, value in others.items():
    is_group = isinstance(value, dict) and isinstance(merged.get(name), dict)
    merged[name] = _merged(merged[name], value) if is_group else value
  return merged
