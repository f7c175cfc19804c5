"""Pretrainings of the study: what each one starts from, its command, its record, its weights.

In the output folder:

  DATA/pretrained/ARM/  a pretraining: settings.json, overlay.yaml, train.log, model (checkpoints),
                        start.yaml (the field that starts a detector from it), and run.json when it
                        is complete
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.accuracy import arms as accuracy_arms
from benchmarks.accuracy import data as data_lib
from benchmarks.accuracy import runs as accuracy_runs
from mtl_ssl_tf.comparison import processes

ARM_FOLDER = "benchmarks/pretraining/arms"
# The published form, which the others differ from in a field or two.
PUBLISHED = "insloc"
RUN_FILE, SETTINGS_FILE, START_FILE = "run.json", "settings.json", "start.yaml"
_BATCH_SIZE, _LONGEST_QUEUE = 64, 4096
# Along a pretraining; the last is at its end.
_NUM_PROBES = 4
_STEPS_PER_LOOP = 10
_TRAINING, _PROBE = "train/", "validation/probe/"
_MEASURES = ("contrastive", "accuracy", "spread")


@dataclasses.dataclass(frozen=True)
class Pretraining:
  """A pretraining on the images of a data set's training records.

  Attributes:
    data: whose training images are used, without their boxes.
    arm: name, `PUBLISHED` or of a file in `ARM_FOLDER`.
    config_file: YAML file that the arm's is applied after.
    steps: of the pretraining.
    seed: of weights, order of images and all that is drawn.
  """

  data: data_lib.DataSet
  arm: str
  config_file: str
  steps: int
  seed: int = 0

  @property
  def folder(self) -> pathlib.Path:
    """Folder of the pretraining."""
    return self.data.folder / "pretrained" / self.arm

  @property
  def model_dir(self) -> pathlib.Path:
    """Folder of its checkpoints."""
    return self.folder / "model"

  @property
  def start_file(self) -> pathlib.Path:
    """YAML file that makes a detector start from it."""
    return self.folder / START_FILE

  @property
  def name(self) -> str:
    """Returns what the pretraining is called in messages."""
    return f"{self.data.name} pretraining {self.arm}"

  @property
  def is_complete(self) -> bool:
    """Whether it need not be carried out again."""
    return (self.folder / RUN_FILE).exists()

  @property
  def config_files(self) -> tuple[str, ...]:
    """Its configuration, later files win."""
    own = () if self.arm == PUBLISHED else (f"{ARM_FOLDER}/{self.arm}.yaml",)
    return (self.config_file, *own)

  def overlay(self) -> dict[str, Any]:
    """Returns the fields that are applied after the configuration."""
    interval = max(self.steps // _NUM_PROBES, 1)
    images = accuracy_runs.read_json(self.data.coco("train"))["images"]
    return {
      "task": {
        "seed": self.seed,
        "picture_interval": 0,
        "queue_size": queue_size(len(images)),
        "train_data": {
          "input_path": self.data.records("train"),
          "seed": self.seed,
          "global_batch_size": _BATCH_SIZE,
        },
        "validation_data": {"input_path": self.data.records("train")},
      },
      "trainer": {
        "train_steps": self.steps,
        "validation_interval": interval,
        "checkpoint_interval": interval,
        "steps_per_loop": min(_STEPS_PER_LOOP, interval),
        "max_to_keep": 1,
        "best_checkpoint_export_subdir": "",
        "early_stopping_patience": 0,
      },
    }

  def command(self) -> list[str]:
    """Returns the command that pretrains; the same command resumes."""
    files = [*self.config_files, str(self.folder / "overlay.yaml")]
    return [
      sys.executable,
      "train.py",
      "--experiment=insloc",
      "--mode=train_and_eval",
      f"--model_dir={self.model_dir}",
      *(f"--config_file={path}" for path in files),
    ]


def queue_size(num_images: int) -> int:
  """Returns keys that end before an epoch does.

  A longer queue would hold other composites of the query's own image, which it is then to be told
  from.
  """
  batches = min(num_images, _LONGEST_QUEUE) // _BATCH_SIZE - 1
  return max(batches, 1) * _BATCH_SIZE


def arms() -> list[str]:
  """Returns the names of all pretrainings, the published one first."""
  folder = data_lib.ROOT / ARM_FOLDER
  return [PUBLISHED, *sorted(path.stem for path in folder.glob("*.yaml"))]


def claim(run: Pretraining) -> None:
  """Makes the folder of a pretraining.

  Raises:
    ValueError: it holds one of other settings.
  """
  path = run.folder / SETTINGS_FILE
  content = {
    "config": accuracy_arms.Ours(run.arm, run.config_files).signature(),
    "steps": run.steps,
    "seed": run.seed,
  }
  if not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    accuracy_runs.write_json(path, content)
  elif accuracy_runs.read_json(path) != content:
    raise ValueError(
      f"{run.name}: {run.folder} holds one of other settings; accepted: those of {path}, or another"
      " folder"
    )


def carry_out(run: Pretraining, processor: int) -> dict[str, Any]:
  """Pretrains and leaves `run.json` and `start.yaml`; what was stopped is resumed.

  Returns:
    The content of `run.json`.

  Raises:
    RunError: the command failed.
  """
  accuracy_arms.write_overlay(run.folder / "overlay.yaml", run.overlay())
  is_resumed = run.model_dir.exists()
  usage = processes.check(run.command(), run.folder / "train.log", processor, data_lib.ROOT)
  record = {
    "data": run.data.name,
    "arm": run.arm,
    "steps": run.steps,
    "seed": run.seed,
    "commit": accuracy_runs.commit(),
    # Of a resumed run the cost of its first part is not known.
    "cpu_minutes": None if is_resumed else usage.cpu_s / 60.0,
    **read_measures(run.model_dir),
  }
  accuracy_arms.write_overlay(
    run.start_file, {"task": {"init_checkpoint": str(run.model_dir.resolve())}}
  )
  accuracy_runs.write_json(run.folder / RUN_FILE, record)
  return record


def read_measures(model_dir: pathlib.Path) -> dict[str, dict[str, float]]:
  """Returns `last`, measures of the last steps, and `probe`, per cent right by step."""
  # TensorBoard takes a while to load.
  from mtl_ssl_tf.visualization import curves

  found = curves.read_scalars(str(model_dir))
  last = {
    name: values[-1]
    for name in _MEASURES
    for _, values in [found.get(f"{_TRAINING}{name}", ((), ()))]
    if values
  }
  steps, values = found.get(f"{_PROBE}accuracy", ((), ()))
  probe = {str(step): value for step, value in zip(steps, values, strict=True)}
  return {"last": last, "probe": probe}


def table(found: Sequence[Mapping[str, Any]]) -> str:
  """Returns a table of pretrainings, contents of `run.json`."""
  lines = [
    "| images of | pretraining | steps | CPU min | loss | accuracy % | spread | probe, % right |",
    "|---|---|---|---|---|---|---|---|",
  ]
  for run in found:
    last, minutes = run["last"], run["cpu_minutes"]
    probe = [value for _, value in sorted(run["probe"].items(), key=lambda pair: int(pair[0]))]
    cells = [
      run["data"],
      run["arm"],
      str(run["steps"]),
      "" if minutes is None else f"{minutes:.1f}",
      f"{last['contrastive']:.2f}",
      f"{100.0 * last['accuracy']:.1f}",
      f"{last['spread']:.2f}",
      ", ".join(f"{value:.1f}" for value in probe),
    ]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"
